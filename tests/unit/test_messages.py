"""Entries to messages and back."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.test import override_settings
from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal.errors import EventTooLarge, UnusableMessageError
from edx_event_bus_redis.internal.headers import (
    HEADER_NAMES,
    _attributes_of_sender,
    decode_headers,
    decode_usual_headers,
)
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


USUAL = dict(zip(HEADER_NAMES, encode_fields(METADATA, b"avro")[1:14:2], strict=True))


def decoded(fields: dict[bytes, bytes]) -> EventsMetadata | str:
    """The metadata of header fields, or what is wrong with them."""
    try:
        return parse_entry(Entry(b"1-0", [*sum(fields.items(), ()), b"event_data", b"avro"]), "stream").metadata
    except UnusableMessageError as error:
        return str(error)


@pytest.mark.parametrize("time", ["2026-11-23T17:20:00+00:00", "2026-11-23T17:20:00.5Z", "20261123T172000+0000"])
@pytest.mark.parametrize("event_id", [str(METADATA.id), "6A0AC5C28D9C11EE8D0F0242AC120002"])
def test_usual_headers_make_the_metadata_that_the_constructor_makes(time: str, event_id: str) -> None:
    """Metadata of the fast way has the values, their types and their order, of one that the constructor checked."""
    usual = {**USUAL, b"id": event_id.encode(), b"time": time.encode()}

    fast = decode_usual_headers(list(usual.values()))

    checked = decode_headers(usual)
    assert fast == checked
    assert hash(fast) == hash(checked)
    assert list(vars(fast).items()) == list(vars(checked).items())
    assert [type(value) for value in vars(fast).values()] == [type(value) for value in vars(checked).values()]
    with pytest.raises(AttributeError):
        fast.source = "other"


@pytest.mark.parametrize("event_id", ["{6A0AC5C28D9C11EE8D0F0242AC120002}", METADATA.id.urn])
def test_an_id_that_is_written_in_a_rare_way_is_read(event_id: str) -> None:
    """The fast way leaves it alone, and the metadata has it all the same."""
    rare = {**USUAL, b"id": event_id.encode()}

    assert decode_usual_headers(list(rare.values())) is None
    assert decoded(rare) == decode_headers({**USUAL, b"id": str(UUID(event_id)).encode()})


@pytest.mark.parametrize("field", HEADER_NAMES)
@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b"\xff", b"secret", b"0", b"-1", b"1.5", b"1_0", b" 7 ", "\u0664".encode(), b"1.2.3", b"9" * 5000),
        *(b"2026-11-23", b"2026-11-23T17:20:00", b"2026-11-23T17:20:00+01:00", b"2026-11-23T17:20:00+00:00:00.000001"),
        *(b"a" * 200, b"a" * 201, b"a" * 700, b"a\nb", b"\x00", "ä".encode()),
    ],
)
def test_a_header_is_the_same_or_as_wrong_whichever_way_it_is_decoded(field: bytes, value: bytes) -> None:
    """Whatever a header holds, the metadata or the error is that of headers in an unusual order."""
    headers = {**USUAL, field: value}
    reordered = dict(reversed(headers.items()))

    usual, unusual = decoded(headers), decoded(reordered)

    if not value and field in {b"id", b"time"}:
        # Made up anew for each event.
        assert isinstance(usual, EventsMetadata)
    else:
        assert usual == unusual


def test_defaults_of_headers_are_those_of_the_moment() -> None:
    """What an empty header leaves to the default is not remembered from another event."""
    for name in ("lms", "cms"):
        with override_settings(EVENTS_SERVICE_NAME=name):
            assert decoded({**USUAL, b"source": b""}).source == f"openedx/{name}/web"


def test_what_is_remembered_of_headers_is_bounded() -> None:
    """Neither many senders nor long headers fill the memory."""
    for number in range(1000):
        decode_usual_headers(list({**USUAL, b"sourcehost": b"host-%d" % number}.values()))
    full = _attributes_of_sender.cache_info()

    assert decoded({**USUAL, b"sourcehost": b"h" * 600}) == decode_headers({**USUAL, b"sourcehost": b"h" * 600})

    assert full.currsize == full.maxsize == 512
    assert _attributes_of_sender.cache_info() == full


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


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"6a0ac5c2-8d9c-11ee-8d0f-0242ac120002", "6a0ac5c2-8d9c-11ee-8d0f-0242ac120002"),
        (b"6A0AC5C28D9C11EE8D0F0242AC120002", "6a0ac5c2-8d9c-11ee-8d0f-0242ac120002"),
        (b"ada@example.org", None),
        (b"a\nb\x1b[0m", None),
        (b"\xff", None),
        (b"6" * 1_000_000, None),
    ],
)
def test_log_lines_have_an_id_and_nothing_else_that_stands_in_its_place(raw: bytes, shown: str | None) -> None:
    """It may be anything, also personal, before it was found to be none."""
    assert Entry(b"1-0", [b"id", raw]).event_id == shown


def test_an_event_may_have_so_many_bytes() -> None:
    """Names and values of all fields count, and one byte more is too much."""
    fields = encode_fields(METADATA, b"avro")
    size = sum(map(len, fields))

    assert encode_fields(METADATA, b"avro", size) == fields
    assert parse_entry(Entry(b"1-0", fields, size=size), "stream", size).event_data == b"avro"
    for too_large in (
        lambda: encode_fields(METADATA, b"avro", size - 1),
        lambda: parse_entry(Entry(b"1-0", fields, size=size), "stream", size - 1),
    ):
        with pytest.raises(EventTooLarge, match=f"has {size} bytes, more than the {size - 1} that"):
            too_large()
