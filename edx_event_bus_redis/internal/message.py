"""An entry of a stream, and the message that it holds."""

from __future__ import annotations

from typing import NamedTuple

from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal.errors import UnusableMessageError
from edx_event_bus_redis.internal.headers import decode_headers, encode_headers


class Entry(NamedTuple):
    """
    One entry as Redis gives it.

    Attributes:
        id: ``<milliseconds>-<sequence>``.
        fields: field names and values, alternating; None if the entry is pending and its data is gone.
        origin: the id that it had in the topic's stream, if it is delivered again; else None.
        failures: how often receivers have failed to handle it before.
        history: JSON list of what it was a dead letter for before, oldest first; empty if it was none.
    """

    id: bytes
    fields: list[bytes] | None
    origin: bytes | None = None
    failures: int = 0
    history: bytes = b""

    @property
    def original_id(self) -> bytes:
        """The id that the entry has or had in the topic's stream."""
        return self.origin or self.id


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


def encode_fields(metadata: EventsMetadata, event_data: bytes) -> list[bytes]:
    """Return the eight fields of an entry, names and values alternating, in the order of the published package."""
    return [*encode_headers(metadata), b"event_data", event_data]


def parse_entry(entry: Entry, stream: str) -> Message:
    """
    Return the message that an entry holds.

    Raises:
        UnusableMessageError: a field is missing or wrong.
    """
    raw = entry.fields or []
    fields = dict(zip(raw[::2], raw[1::2], strict=True))
    event_data = fields.get(b"event_data")
    if event_data is None:
        raise UnusableMessageError("field 'event_data' is missing")
    return Message(stream, entry.original_id, decode_headers(fields), event_data)


def split_id(entry_id: bytes) -> tuple[int, int]:
    """Return milliseconds and sequence of an entry's id; ids of one stream compare as these pairs do."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def join_id(milliseconds: int, sequence: int) -> bytes:
    """Return the id of these milliseconds and this sequence."""
    return b"%d-%d" % (milliseconds, sequence)
