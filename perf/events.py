"""Streams full of events, made once per server and copied for each measurement."""

from __future__ import annotations

from typing import cast

import django
import redis
from django.conf import settings

if not settings.configured:
    settings.configure(INSTALLED_APPS=["openedx_events"], USE_TZ=True)
    django.setup()

from openedx_events.data import EventsMetadata
from openedx_events.event_bus.avro.serializer import serialize_event_data_to_bytes

from edx_event_bus_redis.internal.headers import encode_headers
from perf.project.handlers.events import SIGNAL, TOPIC, enrollment

__all__ = ["SIGNAL", "TOPIC", "Backlogs", "new_entry", "stream_of"]

GROUP = "group"

# Of event data; ids and times of the events differ all.
_DISTINCT = 1000

_PER_REQUEST = 500

_encoded: list[bytes] = []


def stream_of(prefix: str) -> str:
    """Return the key of the stream of a topic prefix."""
    return f"{prefix}-{TOPIC}"


def new_entry(number: int) -> tuple[str, list[bytes]]:
    """Return the id of a new event, and the fields of its entry."""
    if not _encoded:
        # By openedx-events' own code: what is to be consumed does not depend on the code that is measured.
        _encoded.extend(
            cast("bytes", serialize_event_data_to_bytes(enrollment(each), SIGNAL)) for each in range(_DISTINCT)
        )
    metadata = EventsMetadata(SIGNAL.event_type)
    return str(metadata.id), [*encode_headers(metadata), b"event_data", _encoded[number % _DISTINCT]]


class Backlogs:
    """
    Streams of events of any length on one server.

    Arguments:
        client: of the server.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def copy(self, key: str, count: int) -> None:
        """Make a stream of so many new events."""
        self._client.execute_command("COPY", self.make(count), key)

    def make(self, count: int) -> str:
        """Return the key of the stream that those of so many events are copied from."""
        source = f"perf-backlog-{count}"
        if not self._client.exists(source):
            self._fill(source, count)
        return source

    def _fill(self, key: str, count: int) -> None:
        for first in range(0, count, _PER_REQUEST):
            pipeline = self._client.pipeline(transaction=False)
            for number in range(first, min(first + _PER_REQUEST, count)):
                pipeline.execute_command("XADD", key, "*", *new_entry(number)[1])
            pipeline.execute()
