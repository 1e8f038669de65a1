"""Event data of every signal, encoded and decoded by what was compiled for it."""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any, get_args, get_origin
from uuid import UUID

import attrs
import pytest
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opaque_keys.edx.keys import CourseKey, UsageKey
from openedx_events.event_bus.avro.custom_serializers import DEFAULT_CUSTOM_SERIALIZERS
from openedx_events.event_bus.avro.deserializer import deserialize_bytes_to_event_data
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from edx_event_bus_redis.internal.codec import SignalCodec, codec_for
from edx_event_bus_redis.internal.openedx_codec import OpenedxCodec
from tests.acceptance.project import examples

pytestmark = pytest.mark.parametrize("event_type", examples.event_types())

FEW = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


class TextSubclass(str):
    """Not exactly a str, but JSON takes it for one."""

    __slots__ = ()


class TextOfItsOwn(str):
    """Has bytes that JSON does not ask for."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"else"


class TextEnum(str, Enum):  # noqa: UP042 -- the older way, as choices of Django models have it
    AUDIT = "audit"


class NumberSubclass(int):
    pass


class Moment(datetime):
    """As libraries that set the time in tests have it."""


class NoOffset(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None


COURSE, BLOCK = examples.EXAMPLES["CourseKey"], examples.EXAMPLES["UsageKey"]

# What an attribute of any type may wrongly or rarely hold.
ODD_VALUES: dict[str, Any] = {
    "none": None,
    "empty text": "",
    "text": "Ada",
    "text that is a time": "2026-02-03T04:05:06+00:00",
    "text that is a key": str(COURSE),
    "long text": "ä" * 5000,
    "text of a subclass": TextSubclass("Ada"),
    "text with bytes of its own": TextOfItsOwn("Ada"),
    "text of an enumeration": TextEnum.AUDIT,
    "text in translation": gettext_lazy("Ada"),
    "half a character": "\ud83d",
    "a character in halves": "\ud83d\ude80",
    "null byte": "\x00",
    "bytes": b"Ada",
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "negative": -1,
    "integer of a subclass": NumberSubclass(7),
    "smallest long": -(1 << 63),
    "greatest long": (1 << 63) - 1,
    "below the smallest long": -(1 << 63) - 1,
    "above the greatest long": 1 << 63,
    "above everything": 1 << 70,
    "integer with too many digits": 10**5000,
    "float": 0.5,
    "whole float": 1.0,
    "negative zero": -0.0,
    "infinity": -math.inf,
    "not a number": math.nan,
    "not a number, negative": math.copysign(math.nan, -1),
    "decimal": Decimal("1.5"),
    "complex": 1j,
    "time": datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
    "time without fraction": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    "time without zone": datetime(2026, 2, 3, 4, 5, 6, 7),  # noqa: DTZ001 -- that is what is odd
    "time without offset": datetime(2026, 2, 3, tzinfo=NoOffset()),
    "time of a subclass": Moment(2026, 2, 3, tzinfo=UTC),
    "date": date(2026, 2, 3),
    "UUID": UUID(int=1),
    "course": COURSE,
    "library as a course": CourseKey.from_string("library-v1:Org+Library"),
    "course in old spelling": CourseKey.from_string("Org/Course/Run"),
    "block": BLOCK,
    "block in old spelling": UsageKey.from_string("i4x://Org/Course/video/intro"),
    "empty list": [],
    "list of integers": [1, -300],
    "list of texts": ["Ada", ""],
    "list of a null": [None],
    "list of booleans": [True],
    "list of floats": [1.0],
    "list of lists": [[1]],
    "long list": list(range(1000)),
    "tuple": (1, 2),
    "pair for a union": ("string", "Ada"),
    "set": {1},
    "generator": (number for number in [1]),
    "empty dict": {},
    "dict of texts": {"b": "1", "a": "2", "Ä": "\U0001f680"},
    "dict in another order": OrderedDict(b="1", a="2"),
    "dict of integers": {"b": 1},
    "dict by integers": {1: "1"},
    "dict by nulls": {None: "1"},
    "dict of a null": {"a": None},
    "type": str,
    "object": object(),
    # Of all kinds of keys that this release of openedx-events has.
    **{
        cls.__name__: cls.from_string(examples.KEYS[cls.__name__])
        for cls in (serializer.cls for serializer in DEFAULT_CUSTOM_SERIALIZERS)
        if cls.__name__ in examples.KEYS
    },
}


def outcome(function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """What a function returns, or the type and the text of its error, addresses of objects left out."""
    try:
        returned = function(*arguments)
    except Exception as error:  # noqa: BLE001 -- any
        return type(error), re.sub(r"0x[0-9a-f]+", "0x", str(error))
    return (returned if isinstance(returned, bytes) else json.dumps(examples.described(returned)),)


def deserialize(data: bytes, signal: Any) -> dict[str, Any]:
    return dict(deserialize_bytes_to_event_data(data, signal))


def is_error(result: tuple[Any, ...]) -> bool:
    return len(result) == 2


def compiled(event_type: str) -> SignalCodec:
    """A codec whose compiled functions are known to be there."""
    codec = codec_for(examples.signal_of(event_type))
    assert codec._encode != codec._by_openedx.encode
    assert codec._decode != codec._by_openedx.decode
    return codec


def variations(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with each odd value, in place of itself and of each attribute at any depth."""
    yield from ODD_VALUES.items()
    if attrs.has(type(value)):
        subclass = attrs.make_class("Subclass", ["more"], bases=(type(value),), frozen=True, kw_only=True)
        same = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
        yield "subclass", subclass(**same, more="more")
        for field in attrs.fields(type(value)):
            for label, odd in variations(getattr(value, field.name)):
                changed = object.__new__(type(value))
                changed.__dict__.update(same, **{field.name: odd})
                yield f"{field.name} {label}", changed


def any_value(kind: Any) -> st.SearchStrategy[Any]:
    """Any valid value of a type."""
    if attrs.has(kind):
        fields = attrs.fields(kind)
        required = {field.name: any_value(field.type) for field in fields if field.default is attrs.NOTHING}
        others = {
            field.name: any_value(field.type) if field.default is not None else st.none() | any_value(field.type)
            for field in fields
            if field.default is not attrs.NOTHING
        }
        return st.fixed_dictionaries(required, optional=others).map(lambda values: kind(**values))
    arguments = get_args(kind)
    if get_origin(kind) is list:
        return st.lists(any_value(arguments[0]))
    if get_origin(kind) is dict:
        return st.dictionaries(st.text(), any_value(arguments[1]))
    if kind is datetime:
        zones = st.none() | st.just(UTC) | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
        return st.datetimes(timezones=zones) | st.datetimes().map(lambda moment: moment.replace(microsecond=0))
    simple = {
        bool: st.booleans(),
        int: st.integers(-(1 << 63), (1 << 63) - 1),
        float: st.floats(),
        str: st.text(),
        UUID: st.uuids(),
    }
    if kind in simple:
        return simple[kind]
    parts = st.text("abcXYZ019._-ä", min_size=1, max_size=12)
    if kind is CourseKey:
        return st.builds("course-v1:{}+{}+{}".format, parts, parts, parts).map(kind.from_string) | st.just(COURSE)
    return st.just(kind.from_string(examples.KEYS[kind.__name__]) if kind.__name__ in examples.KEYS else BLOCK)


@pytest.mark.parametrize("variant", ["full", "least"])
def test_an_example_is_encoded_and_decoded_by_compiled_functions(event_type: str, variant: str) -> None:
    """What was compiled for a signal gives the bytes and the objects of openedx-events, without asking it."""
    signal, codec = examples.signal_of(event_type), compiled(event_type)
    data = examples.event_data(signal, variant)
    expected = serialize_event_data_to_bytes(data, signal)

    assert codec._encode(data) == expected
    decoded = codec._decode(expected)

    assert decoded == deserialize_bytes_to_event_data(expected, signal) == data
    assert examples.described(decoded) == examples.described(data)


@FEW
@given(data=st.data())
def test_any_valid_data_has_the_bytes_and_the_objects_of_openedx_events(event_type: str, data: st.DataObject) -> None:
    """Whatever valid data a signal is given, its bytes and what they are read as are those of openedx-events."""
    signal = examples.signal_of(event_type)
    event_data = {name: data.draw(any_value(kind), label=name) for name, kind in signal.init_data.items()}

    encoded = outcome(codec_for(signal).encode, event_data)

    assert encoded == outcome(serialize_event_data_to_bytes, event_data, signal)
    # Some defaults of openedx-events 11 are no valid data.
    assume(not is_error(encoded))
    assert outcome(codec_for(signal).decode, *encoded) == outcome(deserialize, *encoded, signal)


def test_odd_data_has_the_bytes_or_the_error_of_openedx_events(event_type: str) -> None:
    """With anything at all in place of any value an event has the bytes, or else the error, of openedx-events."""
    signal, codec = examples.signal_of(event_type), compiled(event_type)
    example = examples.event_data(signal)
    for name, value in example.items():
        for label, odd in variations(value):
            data = {**example, name: odd}
            ours = outcome(codec.encode, data)

            # Numbers of objects in memory are part of some errors, and equal as the objects are the same.
            assert ours == outcome(serialize_event_data_to_bytes, data, signal), f"{name} {label}"
            if not is_error(ours):
                assert outcome(codec.decode, *ours) == outcome(deserialize, *ours, signal), f"{name} {label}"


def test_event_data_of_another_form_has_the_bytes_or_the_error_of_openedx_events(event_type: str) -> None:
    """Missing and additional data, and mappings that are not a dict, fare as in openedx-events."""
    signal, codec = examples.signal_of(event_type), compiled(event_type)
    example = examples.event_data(signal)
    first = next(iter(example))
    for data in (
        {},
        {**example, "more": "more"},
        {**example, "more": object},
        {**example, 1: "more"},
        {name: value for name, value in example.items() if name != first},
        {"more" if name == first else name: value for name, value in example.items()},
        OrderedDict(example),
        MappingProxyType(example),
        None,
    ):
        assert outcome(codec.encode, data) == outcome(serialize_event_data_to_bytes, data, signal)


def test_bytes_that_end_early_are_an_error(event_type: str) -> None:
    """An event that is cut off anywhere is an error, even where a text could be shorter."""
    signal = examples.signal_of(event_type)
    data = serialize_event_data_to_bytes(examples.event_data(signal), signal)
    for size in range(len(data)):
        assert is_error(outcome(codec_for(signal).decode, data[:size])), size
    assert codec_for(signal).decode(data + b"more") == codec_for(signal).decode(data)


def test_damaged_bytes_are_read_as_openedx_events_reads_them(event_type: str) -> None:
    """With any byte changed an event is what openedx-events makes of it, an error or other data."""
    signal = examples.signal_of(event_type)
    codec, by_openedx = compiled(event_type), OpenedxCodec(signal)
    data = serialize_event_data_to_bytes(examples.event_data(signal), signal)
    for position, byte in enumerate(data):
        for other in {0x00, 0x02, 0x80, 0xFF, byte ^ 1, (byte + 2) % 256} - {byte}:
            damaged = data[:position] + bytes([other]) + data[position + 1 :]
            assert outcome(codec.decode, damaged) == outcome(by_openedx.decode, damaged), (position, other)


def test_bytes_that_promise_too_much_are_an_error(event_type: str) -> None:
    """Sizes and counts far beyond the end are an error."""
    codec = compiled(event_type)
    for data in (b"", b"\xff" * 1000, b"\x80" * 1000, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" * 40, b"\x01" * 3):
        assert is_error(outcome(codec.decode, data))
