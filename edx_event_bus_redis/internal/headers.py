"""
EventsMetadata to and from the header fields of an entry.

The fields, their order and their text are those of the published package, which other versions on the same stream
read: ``type``, ``id``, ``source``, ``time``, ``minorversion``, ``sourcehost``, ``sourcelib``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from openedx_events.data import EventsMetadata

from edx_event_bus_redis.internal.errors import UnusableMessageError

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
