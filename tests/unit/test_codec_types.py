"""Event data of types that openedx-events does not have, or not yet: compiled or left to openedx-events' own code."""

import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self

import attr
import attrs
import pytest
from opaque_keys.edx.keys import CourseKey
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.schema import schema_from_signal
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from edx_event_bus_redis.internal.codec import SignalCodec
from tests.acceptance.project import examples

COURSE = CourseKey.from_string("course-v1:Example+Bus101+2026")


def signal_of(**data: Any) -> Any:
    """What openedx-events' serializers ask of a signal; a true one would be there for all other tests as well."""
    return SimpleNamespace(event_type="org.openedx.test.v1", init_data=data)


def is_compiled(codec: SignalCodec) -> tuple[bool, bool]:
    """Whether encoding and decoding are compiled."""
    return codec._encode != codec._by_openedx.encode, codec._decode != codec._by_openedx.decode


def assert_same(signal: Any, data: dict[str, Any], codec: SignalCodec) -> dict[str, Any]:
    """Check bytes and objects against those of openedx-events; return the objects."""
    expected = serialize_event_data_to_bytes(data, signal)
    assert codec.encode(data) == expected
    decoded = codec.decode(expected)
    assert examples.described(decoded) == examples.described(dict(deserialize_bytes_to_event_data(expected, signal)))
    return decoded


def no_negative(_: object, __: object, value: int) -> None:
    if value < 0:
        raise ValueError("negative")


def doubled(value: int) -> int:
    return value * 2


@attrs.define
class Inner:
    numbers: list[int] = attrs.field(factory=list)
    texts: list[str] = attrs.field(factory=list)


@attrs.define(kw_only=True)
class Checked:
    number: int = attrs.field(validator=no_negative)
    twice: int = attrs.field(converter=doubled)
    inner: Inner
    course: CourseKey = COURSE
    yes: bool = True
    seven: int = 7
    share: float = 0.5
    text: str = attrs.Factory(lambda self: f"text {self.number}", takes_self=True)
    # What openedx-events calls this: None is allowed where it is the default.
    time: datetime = None  # type: ignore[assignment]


CHECKED = signal_of(checked=Checked, number=int, course=CourseKey, numbers=list[int], texts=list[str], on=bool)


def checked(**changed: Any) -> dict[str, Any]:
    values = {"number": 1, "twice": 2, "inner": Inner(numbers=[1, -(1 << 60)], texts=["b", ""]), **changed}
    return {
        "checked": Checked(**values),
        "number": 0,
        "course": COURSE,
        "numbers": [],
        "texts": ["z", "a"],
        "on": False,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"inner": Inner(numbers=[], texts=[])},
        {"yes": False, "seven": 0, "share": 0.0, "text": "", "time": None},
        {"yes": True, "seven": 1 << 40, "share": -1.5, "text": "Ä" * 100, "time": datetime(2026, 2, 3, tzinfo=UTC)},
        {"number": (1 << 63) - 1},
    ],
)
def test_defaults_converters_and_factories_are_the_constructors(changed: dict[str, Any]) -> None:
    """Compiled code leaves defaults, converters and factories to the constructor, as openedx-events does."""
    codec = SignalCodec(CHECKED)

    decoded = assert_same(CHECKED, checked(**changed), codec)

    assert is_compiled(codec) == (True, True)
    # What is false is left out, and gets the default, whatever was sent.
    assert decoded["checked"].yes is True


def test_the_errors_of_validators_come_through() -> None:
    """An object that its validator refuses is an error of decoding."""
    codec = SignalCodec(CHECKED)
    encoded = codec.encode(checked(number=1))
    assert encoded[0] == 2

    with pytest.raises(ValueError, match="negative"):
        codec.decode(b"\x01" + encoded[1:])


def test_text_of_an_object_outside_of_attributes_stays_itself() -> None:
    """Outside of attributes openedx-events goes by the value alone: text in place of a key is sent as it is."""
    for value in (COURSE, str(COURSE), 7, None):
        data = {**checked(), "course": value}
        try:
            expected = serialize_event_data_to_bytes(data, CHECKED)
        except Exception as error:  # noqa: BLE001 -- any
            with pytest.raises(type(error)):
                SignalCodec(CHECKED).encode(data)
        else:
            assert SignalCodec(CHECKED).encode(data) == expected


@attrs.define
class Point:
    x: int
    name: str = ""


@attrs.define
class Nested:
    points: list[Point]
    rows: list[list[int]]
    by_name: dict[str, Point]
    more: dict[str, list[dict[str, str]]] = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "nested",
    [
        Nested([], [], {}),
        Nested([Point(1), Point(2, "b")], [[1, 2], []], {"b": Point(1), "a": Point(0, "Ä" * 100)}, {}),
        Nested([Point(0)] * 200, [[]], {"": Point(0)}, {"b": [{"d": "1", "c": ""}, {}], "a": []}),
    ],
)
def test_what_lists_and_dicts_hold_is_compiled_too(nested: Nested) -> None:
    """Objects, lists and dicts in lists and dicts are encoded, decoded and refused as in openedx-events."""
    signal = signal_of(nested=Nested, points=list[Point])
    try:
        schema_from_signal(signal)
    except TypeError:
        with pytest.raises(TypeError):
            SignalCodec(signal)
        return
    codec = SignalCodec(signal)

    assert_same(signal, {"nested": nested, "points": nested.points}, codec)

    assert is_compiled(codec) == (True, True)


@attrs.define
class WithTime:
    time: datetime = None  # type: ignore[assignment]


def test_an_empty_text_is_as_good_as_none() -> None:
    """An empty text in place of an object is left out, as anything else that is false, and not parsed."""
    signal = signal_of(data=WithTime)

    assert deserialize_bytes_to_event_data(b"\x02\x00", signal) == {"data": WithTime()}
    assert SignalCodec(signal)._decode(b"\x02\x00") == {"data": WithTime()}


def test_a_number_without_end_is_not_waited_for() -> None:
    """Megabytes of a number that goes on are an error after a few of them; reading all takes hours."""
    with pytest.raises(Exception):  # noqa: B017, PT011 -- whatever fastavro makes of it
        SignalCodec(signal_of(number=int)).decode(b"\xff" * 3_000_000)


@attrs.define
class WithBytes:
    payload: bytes


def test_bytes_can_be_decoded_only() -> None:
    """JSON has no bytes: encoding them is left to openedx-events, whose error it is; decoding is compiled."""
    signal = signal_of(data=WithBytes)
    codec = SignalCodec(signal)
    with pytest.raises(Exception) as expected:  # noqa: PT011 -- whatever it is
        serialize_event_data_to_bytes({"data": WithBytes(b"\x00")}, signal)

    with pytest.raises(expected.type):
        codec.encode({"data": WithBytes(b"\x00")})

    assert codec.decode(b"\x04\xff\x00") == {"data": WithBytes(b"\xff\x00")}
    assert is_compiled(codec) == (False, True)


@attrs.define(init=False)
class OwnConstructor:
    number: int

    def __init__(self, **arguments: Any) -> None:
        self.number = arguments["number"] + 1


@attrs.define
class NotInConstructor:
    number: int
    computed: int = attrs.field(default=0, init=False)


@attrs.define
class Private:
    _number: int = 0


@attrs.define
class Chain:
    number: int
    rest: "Chain" = None  # type: ignore[assignment]


attrs.resolve_types(Chain)


@attrs.frozen(slots=False)
class OwnTime(datetime):
    day_of_month: int

    def __new__(cls, day_of_month: int) -> Self:
        return super().__new__(cls, 2026, 2, day_of_month)


@attrs.define
class Holder:
    held: OwnTime


def same_name(**attributes: type) -> type:
    return attrs.make_class("SameName", {name: attr.ib(type=kind) for name, kind in attributes.items()})


FIRST, LIKE_FIRST = same_name(number=int, text=str), same_name(number=int, text=str)
SHORTER, OTHER_TYPE = same_name(number=int), same_name(number=int, text=int)


@pytest.mark.parametrize(
    ("signal", "data", "compiled"),
    [
        (signal_of(data=OwnConstructor), {"data": OwnConstructor(number=1)}, (True, False)),
        (signal_of(data=NotInConstructor), {"data": NotInConstructor(number=1)}, (True, False)),
        (signal_of(data=Private), {"data": Private()}, (True, False)),
        (signal_of(data=Chain), {"data": Chain(1, Chain(2))}, (False, False)),
        (signal_of(data=Holder), {"data": Holder(OwnTime(3))}, (False, False)),
        (signal_of(a=FIRST, b=LIKE_FIRST), {"a": FIRST(1, "one"), "b": LIKE_FIRST(2, "two")}, (True, True)),
        (signal_of(a=FIRST, b=SHORTER), {"a": FIRST(1, "one"), "b": SHORTER(2)}, (False, False)),
        (signal_of(a=SHORTER, b=FIRST), {"a": SHORTER(1), "b": FIRST(2, "two")}, (False, False)),
        (signal_of(a=FIRST, b=OTHER_TYPE), {"a": FIRST(1, "one"), "b": OTHER_TYPE(2, 2)}, (False, False)),
        (signal_of(**{"class": int}), {"class": 1}, (False, False)),
        (signal_of(**{"not a name": int}), {"not a name": 1}, (False, False)),
    ],
)
def test_what_is_not_known_is_left_to_openedx_events(
    signal: Any, data: dict[str, Any], compiled: tuple[bool, bool]
) -> None:
    """A class or a schema that is not what compiling relies on fares as in openedx-events, objects or errors."""
    codec = SignalCodec(signal)

    try:
        expected = serialize_event_data_to_bytes(data, signal)
        expected_data = dict(deserialize_bytes_to_event_data(expected, signal))
    except Exception as error:  # noqa: BLE001 -- any
        with pytest.raises(type(error), match=re.escape(str(error))):
            codec.decode(codec.encode(data))
    else:
        assert codec.encode(data) == expected
        assert codec.decode(expected) == expected_data

    assert is_compiled(codec) == compiled


class Sentence:
    """A type that openedx-events gets to know in some future version."""

    def __init__(self, text: str) -> None:
        self.text = text


def test_a_type_without_a_schema_is_an_error_of_the_codec() -> None:
    """There is no codec for a signal that openedx-events has no schema for."""
    with pytest.raises(TypeError):
        SignalCodec(signal_of(sentence=Sentence))


def test_an_unexpected_schema_is_left_to_openedx_events() -> None:
    """If openedx-events should change its schema for a known type, nothing is compiled against it."""
    signal = signal_of(data=Inner)
    codec = SignalCodec(signal)
    schema = codec._by_openedx._serializer.schema
    # As if it had come to allow null where there is a default of any kind.
    texts = schema["fields"][0]["type"]["fields"][1]
    texts["type"] = ["null", texts["type"]]

    encoded = codec.encode({"data": Inner(numbers=[1], texts=["a"])})

    assert is_compiled(codec) == (False, False)
    assert codec.decode(encoded) == {"data": Inner(numbers=[1], texts=["a"])}


def test_arrays_in_several_blocks_are_read() -> None:
    """Lists may be in several blocks, and blocks have their size in front, as other writers do it."""
    codec = SignalCodec(signal_of(numbers=list[int]))

    assert codec.decode(b"\x02\x02\x02\x04\x00") == {"numbers": [1, 2]}
    assert codec.decode(b"\x03\x04\x02\x04\x00") == {"numbers": [1, 2]}
