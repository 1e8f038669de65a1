"""An entry of a stream, and the message that it holds. Event data stays as it is; ``dispatch`` has it decoded."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal.errors import EventTooLarge, UnusableMessageError
from edx_event_bus_redis.internal.headers import HEADER_NAMES, decode_headers, decode_usual_headers, encode_headers
from edx_event_bus_redis.internal.sizes import NO_LIMIT, size_of

_EVENT_DATA, _EVENT_ID = b"event_data", b"id"
_FIELD_NAMES = [*HEADER_NAMES, _EVENT_DATA]
_FIELD_COUNT = 2 * len(_FIELD_NAMES)


class Entry(NamedTuple):
    """
    One entry as Redis gives it.

    Attributes:
        id: ``<milliseconds>-<sequence>``.
        fields: field names and values, alternating; None if the entry is pending and its data is gone.
        origin: the id that it had in the topic's stream, if it is delivered again; else None.
        failures: how often receivers have failed to handle it before.
        history: JSON list of what it was a dead letter for before, oldest first; empty if it was none.
        size: bytes of the names and values of its event; ``fields`` has only the short ones if that is too many.
    """

    id: bytes
    fields: list[bytes] | None
    origin: bytes | None = None
    failures: int = 0
    history: bytes = b""
    size: int = 0

    @property
    def original_id(self) -> bytes:
        """The id that the entry has or had in the topic's stream."""
        return self.origin or self.id

    @property
    def is_gone(self) -> bool:
        """Whether its data was trimmed or deleted."""
        return not self.fields and not self.size

    @property
    def event_id(self) -> str | None:
        """The event's id, for log lines; None if there is none. What is no UUID may be anything, also personal data."""
        fields = self.fields or []
        raw = dict(zip(fields[::2], fields[1::2], strict=False)).get(_EVENT_ID, b"")
        try:
            return str(UUID(raw.decode()))
        except ValueError:
            return None


class Message(NamedTuple):
    """
    A decoded entry, but for its event data.

    Attributes:
        stream: key of the stream.
        entry_id: id of the entry.
        metadata: the event's original metadata.
        event_data: Avro bytes.
    """

    stream: str
    entry_id: bytes
    metadata: EventsMetadata
    event_data: bytes

    def __repr__(self) -> str:
        """Say what identifies the event; its data may be personal and stays out of the logs."""
        return (
            f"Message(stream={self.stream!r}, entry_id={self.entry_id!r}, event_type={self.metadata.event_type!r}, "
            f"id={self.metadata.id})"
        )


def encode_fields(metadata: EventsMetadata, event_data: bytes, largest: int = NO_LIMIT) -> list[bytes]:
    """
    Return the eight fields of an entry, names and values alternating, in the order of the published package.

    Raises:
        EventTooLarge: they have more bytes than ``largest``.
    """
    fields = [*encode_headers(metadata), _EVENT_DATA, event_data]
    size = size_of(fields)
    if size > largest:
        raise EventTooLarge(size, largest)
    return fields


def parse_entry(entry: Entry, stream: str, largest: int = NO_LIMIT) -> Message:
    """
    Return the message that an entry holds.

    Raises:
        EventTooLarge: it has more bytes than ``largest``.
        UnusableMessageError: a field is missing or wrong.
    """
    if entry.size > largest:
        raise EventTooLarge(entry.size, largest)
    raw = entry.fields or []
    if len(raw) == _FIELD_COUNT and raw[::2] == _FIELD_NAMES:
        *headers, data = raw[1::2]
        metadata = decode_usual_headers(headers)
        if metadata is not None:
            return Message(stream, entry.original_id, metadata, data)
    fields = dict(zip(raw[::2], raw[1::2], strict=True))
    event_data = fields.get(_EVENT_DATA)
    if event_data is None:
        raise UnusableMessageError("field 'event_data' is missing")
    return Message(stream, entry.original_id, decode_headers(fields), event_data)


def is_id(raw: bytes) -> bool:
    """Return whether this is the id of an entry, as Redis writes it: two numbers that 64 bits hold."""
    parts = raw.split(b"-")
    return len(parts) == 2 and all(part.isdigit() and len(part) <= 20 and int(part) < 2**64 for part in parts)


def split_id(entry_id: bytes) -> tuple[int, int]:
    """Return milliseconds and sequence of an entry's id; ids of one stream compare as these pairs do."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def join_id(milliseconds: int, sequence: int) -> bytes:
    """Return the id of these milliseconds and this sequence."""
    return b"%d-%d" % (milliseconds, sequence)
