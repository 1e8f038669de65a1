"""
EventsMetadata to and from the header fields of an entry.

The fields, their order and their text are those of the published package, which other versions on the same stream
read: ``type``, ``id``, ``source``, ``time``, ``minorversion``, ``sourcehost``, ``sourcelib``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal.errors import UnusableMessageError
from edx_event_bus_redis.internal.uuids import read_usual_uuid

# Like org.openedx.learning.auth.session.login.completed.v1.
_EVENT_TYPE = re.compile(r"[\w.-]{1,200}", re.ASCII)

# field of the entry -> (attribute of EventsMetadata, from text, what the text should be)
_HEADERS: dict[bytes, tuple[str, Callable[[str], Any], str]] = {
    b"type": ("event_type", str, "text"),
    b"id": ("id", UUID, "a UUID"),
    b"source": ("source", str, "text"),
    b"time": ("time", datetime.fromisoformat, "an ISO 8601 time in UTC"),
    b"minorversion": ("minorversion", int, "a number"),
    b"sourcehost": ("sourcehost", str, "text"),
    b"sourcelib": ("sourcelib", lambda text: tuple(map(int, text.split("."))), "numbers joined by dots"),
}

# The order that encode_headers has.
HEADER_NAMES = list(_HEADERS)

# All but id and time is the same for all events of one type from one host. How many of these are remembered, and how
# many bytes of fields make one; other processes send them, who shall not fill our memory.
_MOST_SENDERS = 512
_LONGEST_SENDER = 600

# Whether an object of EventsMetadata consists of these attributes in a __dict__, as it does in all known versions.
_HAS_PLAIN_OBJECTS = [attribute.name for attribute in attrs.fields(EventsMetadata)] == [
    *("event_type", "id", "minorversion", "source", "sourcehost", "time", "sourcelib")
] and not any(hasattr(EventsMetadata, name) for name in ("__slots__", "__attrs_post_init__", "__attrs_pre_init__"))


def encode_headers(metadata: EventsMetadata) -> list[bytes]:
    """Return the header fields and values, alternating, in their fixed order."""
    return [
        b"type",
        metadata.event_type.encode(),
        b"id",
        str(metadata.id).encode(),
        b"source",
        metadata.source.encode(),
        b"time",
        metadata.time.isoformat().encode(),
        b"minorversion",
        str(metadata.minorversion).encode(),
        b"sourcehost",
        metadata.sourcehost.encode(),
        b"sourcelib",
        ".".join(map(str, metadata.sourcelib)).encode(),
    ]


def decode_usual_headers(values: Sequence[bytes]) -> EventsMetadata | None:
    """
    Return the metadata of header fields as most entries have them, or None if ``decode_headers`` has to look.

    Arguments:
        values: of all header fields, in the order of HEADER_NAMES.
    """
    event_type, event_id, source, time, minorversion, sourcehost, sourcelib = values
    sender = (event_type, source, minorversion, sourcehost, sourcelib)
    if not _HAS_PLAIN_OBJECTS or len(b"".join(sender)) > _LONGEST_SENDER:
        return None
    try:
        attributes = _attributes_of_sender(*sender)
        parsed_id = read_usual_uuid(event_id)
        parsed_time = datetime.fromisoformat(time.decode())
    except (ValueError, UnusableMessageError):
        return None
    if parsed_time.tzinfo != UTC:
        return None
    # With this, all that the constructor checks is checked; it would take more time than everything else here.
    metadata = object.__new__(EventsMetadata)
    object.__setattr__(metadata, "__dict__", attributes | {"id": parsed_id, "time": parsed_time})
    return metadata


@functools.lru_cache(_MOST_SENDERS)
def _attributes_of_sender(
    event_type: bytes, source: bytes, minorversion: bytes, sourcehost: bytes, sourcelib: bytes
) -> dict[str, Any]:
    """Return the attributes of metadata with these fields, in order; id and time stand for those of any event."""
    fields = {
        b"type": event_type,
        b"source": source,
        b"minorversion": minorversion,
        b"sourcehost": sourcehost,
        b"sourcelib": sourcelib,
    }
    if not all(fields.values()):
        # Defaults are those of the moment. What is raised is not remembered.
        raise UnusableMessageError("a header is empty")
    return dict(vars(decode_headers(fields)))


def decode_headers(fields: Mapping[bytes, bytes]) -> EventsMetadata:
    """
    Return the metadata that an entry's fields hold; what is missing or empty gets the defaults of EventsMetadata.

    Raises:
        UnusableMessageError: ``type`` is missing, or a field's text is wrong; names the field, never its content.
    """
    values = {}
    for field, (attribute, from_text, expected) in _HEADERS.items():
        raw = fields.get(field)
        if raw:
            try:
                values[attribute] = from_text(raw.decode())
            except ValueError:
                raise UnusableMessageError(f"header {field.decode()!r} is not {expected}") from None
    if "event_type" not in values:
        raise UnusableMessageError("header 'type' is missing")
    if not _EVENT_TYPE.fullmatch(values["event_type"]):
        # It is going to stand in log lines.
        raise UnusableMessageError("header 'type' is not the name of an event type")
    try:
        return EventsMetadata(**values)
    except ValueError:
        raise UnusableMessageError("header 'time' is not in UTC") from None
