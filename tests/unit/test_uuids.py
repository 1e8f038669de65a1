"""UUIDs are read as the constructor reads them."""

from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openedx_events.event_bus.avro.custom_serializers import DEFAULT_CUSTOM_SERIALIZERS, DatetimeAvroSerializer

from edx_event_bus_redis.internal.uuids import is_plain_uuid, read_usual_uuid

CANONICAL = "7c4b2a1e-9d3f-4e5a-8b6c-0f1e2d3c4b5a"


@pytest.mark.parametrize(
    "text",
    [
        CANONICAL,
        CANONICAL.upper(),
        CANONICAL.replace("-", ""),
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
)
def test_a_uuid_is_read_as_its_constructor_reads_it(text: str) -> None:
    """It is the object that the constructor makes, in all that can be asked of it."""
    read, made = read_usual_uuid(text.encode()), UUID(text)

    assert read == made
    assert (str(read), read.int, read.version, read.is_safe, hash(read)) == (
        *(str(made), made.int, made.version, made.is_safe, hash(made)),
    )
    with pytest.raises(TypeError):
        read.int = 1  # type: ignore[misc]


def by_constructor(text: bytes) -> UUID | None:
    with suppress(ValueError):
        return UUID(text.decode())
    return None


NEARLY = st.text("0123456789abcdefABCDEF-{}_ +xX\n\u0661", min_size=30, max_size=40)


@given(st.one_of(NEARLY.map(str.encode), st.binary(max_size=40), st.binary(min_size=32, max_size=32)))
def test_what_is_read_is_what_the_constructor_reads(text: bytes) -> None:
    """Whatever the text is, what is read here is the same UUID; the rest is left to the constructor."""
    read = None
    with suppress(ValueError):
        read = read_usual_uuid(text)

    assert read is None or read == by_constructor(text)


@pytest.mark.parametrize("text", [f"{{{CANONICAL}}}", f"urn:uuid:{CANONICAL}", CANONICAL[:-1], "g" * 32, ""])
def test_what_is_not_usual_is_an_error(text: str) -> None:
    """Rarer ways to write one, and what is none, are left to whoever knows the constructor."""
    with pytest.raises(ValueError):  # noqa: PT011 -- int() has its own words
        read_usual_uuid(text.encode())


def test_usual_ones_are_made_without_the_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual text is read directly: this is what makes it fast."""
    expected = uuid4()
    monkeypatch.setattr(UUID, "__init__", None)

    assert read_usual_uuid(str(expected).encode()) == expected


class Plain:
    """As openedx-events reads a UUID."""

    cls = UUID

    @staticmethod
    def deserialize(text: str) -> UUID:
        return UUID(text)


class Shouting:
    """Reads another UUID than the text says."""

    cls = UUID

    @staticmethod
    def deserialize(text: str) -> UUID:
        return UUID(int=UUID(text).int + 1)


def test_only_a_serializer_that_calls_the_constructor_is_replaced() -> None:
    """What openedx-events reads otherwise is read by openedx-events."""
    # Older releases have none for UUIDs.
    assert all(is_plain_uuid(each) for each in DEFAULT_CUSTOM_SERIALIZERS if each.cls is UUID)
    assert is_plain_uuid(Plain)
    assert not is_plain_uuid(DatetimeAvroSerializer)
    assert not is_plain_uuid(Shouting)
