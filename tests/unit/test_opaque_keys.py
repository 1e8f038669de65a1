"""Keys that are parsed once."""

import pytest
from opaque_keys import InvalidKeyError
from openedx_events.event_bus.avro.custom_serializers import (
    DEFAULT_CUSTOM_SERIALIZERS,
    CourseKeyAvroSerializer,
    DatetimeAvroSerializer,
)

from edx_event_bus_redis.internal.codec import SignalCodec
from edx_event_bus_redis.internal.opaque_keys import LONGEST, is_opaque_key, parsers
from tests.acceptance.project import examples

TEXTS = {**examples.KEYS, **{name: str(examples.EXAMPLES[name]) for name in ("CourseKey", "UsageKey")}}
KEYS = [serializer for serializer in DEFAULT_CUSTOM_SERIALIZERS if is_opaque_key(serializer)]


@pytest.mark.parametrize("serializer", KEYS, ids=lambda serializer: serializer.cls.__name__)
def test_events_share_a_key(serializer: type) -> None:
    """A text is parsed once, to the object that openedx-events would make; nobody can change it."""
    text = TEXTS[serializer.cls.__name__]
    parse, _ = parsers(serializer)

    key = parse(text.encode())

    assert parse(text.encode()) is key
    assert key == serializer.deserialize(text)
    assert type(key) is type(serializer.deserialize(text))
    with pytest.raises(AttributeError):
        key.org = "Other"


def test_only_opaque_keys_are_remembered() -> None:
    """Times and the like differ from event to event, and are not worth it."""
    assert not is_opaque_key(DatetimeAvroSerializer)
    assert {serializer.cls.__name__ for serializer in KEYS} <= set(TEXTS)


def test_a_text_that_is_no_key_is_an_error_each_time() -> None:
    """Errors are not remembered."""
    parse, _ = parsers(CourseKeyAvroSerializer)
    for _ in range(2):
        with pytest.raises(InvalidKeyError):
            parse(b"not a key")


def test_what_is_remembered_is_bounded() -> None:
    """Neither many keys nor long ones fill the memory."""
    codec = SignalCodec(examples.signal_of("org.openedx.content_authoring.course.created.v1"))
    remembering, _ = parsers(CourseKeyAvroSerializer)

    for number in range(3000):
        remembering(b"course-v1:Example+Bus101+%d" % number)
    full = remembering.cache_info()
    long = examples.event_data(codec._signal)
    long["course"] = type(long["course"])(
        **{
            **{field: getattr(long["course"], field) for field in long["course"].__dict__},
            "course_key": CourseKeyAvroSerializer.deserialize(f"course-v1:Example+{'B' * LONGEST}+2026"),
        }
    )

    assert codec.decode(codec.encode(long)) == long
    assert full.currsize == full.maxsize == 1024
    assert remembering.cache_info() == full
