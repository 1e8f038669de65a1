"""What each peer does with an event, and the URL of the server."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

from edx_event_bus_redis.internal.dispatch import emit
from edx_event_bus_redis.internal.message import Entry, parse_entry
from perf.events import SIGNAL, new_entry

URL = os.environ["PERF_URL"]

EVENT_DATA = b"event_data"


def handle(header: Mapping[str, str], event_data: bytes) -> None:
    """Decode an event and send its signal."""
    fields = [part for pair in header.items() for part in (pair[0].encode(), pair[1].encode())]
    emit(parse_entry(Entry(b"0-1", [*fields, EVENT_DATA, event_data]), "stream"))


def new_message(number: int) -> tuple[dict[str, str], bytes]:
    """Return header fields and Avro bytes of a new event."""
    _, fields = new_entry(number)
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    event_data = found.pop(EVENT_DATA)
    return {name.decode(): value.decode() for name, value in found.items()}, event_data


def as_text(event_data: bytes) -> str:
    """Return the bytes as what JSON can hold."""
    return base64.b64encode(event_data).decode()


def from_text(text: str) -> bytes:
    """Return the bytes that the text stands for."""
    return base64.b64decode(text)


def _do_nothing(**_: Any) -> None:
    pass


SIGNAL.connect(_do_nothing, weak=False)
