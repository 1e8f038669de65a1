"""Entries to messages and back."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal.errors import UnusableMessageError
from edx_event_bus_redis.internal.message import Entry, encode_fields, join_id, parse_entry, split_id

METADATA = EventsMetadata(
    event_type="org.openedx.some.type.v1",
    id=UUID("6a0ac5c2-8d9c-11ee-8d0f-0242ac120002"),
    minorversion=3,
    source="openedx/lms/web",
    sourcehost="host",
    time=datetime(2026, 11, 23, 17, 20, 0, 123456, tzinfo=UTC),
    sourcelib=(10, 5, 0),
)


def test_the_eight_fields_are_those_of_the_published_package() -> None:
    """Names, order and text of the fields are fixed."""
    assert encode_fields(METADATA, b"avro") == [
        *(b"type", b"org.openedx.some.type.v1"),
        *(b"id", b"6a0ac5c2-8d9c-11ee-8d0f-0242ac120002"),
        *(b"source", b"openedx/lms/web"),
        *(b"time", b"2026-11-23T17:20:00.123456+00:00"),
        *(b"minorversion", b"3"),
        *(b"sourcehost", b"host"),
        *(b"sourcelib", b"10.5.0"),
        *(b"event_data", b"avro"),
    ]


def test_metadata_round_trips() -> None:
    """What was encoded is decoded to the same metadata and data."""
    message = parse_entry(Entry(b"1-0", encode_fields(METADATA, b"avro")), "stream")

    assert message.metadata == METADATA
    assert (message.stream, message.entry_id, message.event_data) == ("stream", b"1-0", b"avro")


def test_missing_headers_get_the_defaults_of_the_metadata() -> None:
    """Only the type and the data are required, as in the published package."""
    message = parse_entry(Entry(b"1-0", [b"type", b"some.type", b"event_data", b"avro"]), "stream")

    assert message.metadata.event_type == "some.type"
    assert message.metadata.minorversion == 0


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        (b"type", b"", "header 'type' is missing"),
        (b"type", b"\xff", "header 'type' is not text"),
        (b"type", b"ada@example.org", "header 'type' is not the name of an event type"),
        (b"type", b"t" * 201, "header 'type' is not the name of an event type"),
        (b"id", b"secret", "header 'id' is not a UUID"),
        (b"time", b"secret", "header 'time' is not an ISO 8601 time in UTC"),
        (b"time", b"2026-11-23T17:20:00", "header 'time' is not in UTC"),
        (b"minorversion", b"secret", "header 'minorversion' is not a number"),
        (b"sourcelib", b"1.secret", "header 'sourcelib' is not numbers joined by dots"),
    ],
)
def test_a_wrong_header_is_named_and_not_quoted(field: bytes, value: bytes, complaint: str) -> None:
    """The error says which header is wrong and never what it holds."""
    fields = encode_fields(METADATA, b"avro")
    fields[fields.index(field) + 1] = value

    with pytest.raises(UnusableMessageError) as caught:
        parse_entry(Entry(b"1-0", fields), "stream")

    assert str(caught.value) == complaint
    assert caught.value.__cause__ is None


def test_an_entry_without_data_is_unusable() -> None:
    """The field with the event data is required."""
    with pytest.raises(UnusableMessageError, match="'event_data' is missing"):
        parse_entry(Entry(b"1-0", encode_fields(METADATA, b"avro")[:-2]), "stream")


def test_a_message_shows_no_payload() -> None:
    """What a log line shows of a message identifies it and holds none of its data."""
    shown = repr(parse_entry(Entry(b"1-0", encode_fields(METADATA, b"secret")), "stream"))

    assert "6a0ac5c2-8d9c-11ee-8d0f-0242ac120002" in shown
    assert "secret" not in shown


def test_ids_split_and_join() -> None:
    """Ids become pairs of numbers, which compare as ids do, and back."""
    assert split_id(b"1679676448892-3") == (1679676448892, 3)
    assert split_id(b"0") == (0, 0)
    assert join_id(*split_id(b"10-2")) == b"10-2"
    assert split_id(b"10-2") > split_id(b"9-10")
