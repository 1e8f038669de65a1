"""
Sends events to streams. ``create_producer`` is what the setting ``EVENT_BUS_PRODUCER`` names.

A producer works inside of web requests, so it holds one up for a few seconds at the most, and never raises into it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from openedx_events.data import EventsMetadata
from openedx_events.event_bus import EventBusProducer
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal import connection_url
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.errors import ServerUnavailable
from edx_event_bus_redis.internal.message import encode_fields
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.settings import load_connection_url, load_producer_settings
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.telemetry import ProducingContext

# Seconds that connecting to one address, and that one reply, may take. A healthy server needs milliseconds. A new
# connection needs three replies at the most. Resolving a host name cannot be bounded from here.
_CONNECT_TIMEOUT = 1.0
_TIMEOUT = 2.0

# The same after a time-out, for so long: a request that sends many events must not wait for each. A server that is
# back again is quick enough.
_IMPATIENT_TIMEOUT = 0.2
_IMPATIENCE = 10.0

# A connection that was reset, by a restart or by a proxy, works at the second try. There is one, unless the first has
# taken so many seconds.
_RETRY_WITHIN = 0.5


class RedisEventProducer(EventBusProducer):
    """
    Sends events. One instance serves all threads of a process, and goes on to after a fork.

    Arguments:
        url: of the Redis server.

    Raises:
        ConfigurationError: the URL cannot work.
    """

    def __init__(self, url: str) -> None:
        self._patient = make_client(url, timeout=_TIMEOUT, connect_timeout=_CONNECT_TIMEOUT)
        self._impatient = make_client(url, timeout=_IMPATIENT_TIMEOUT, connect_timeout=_IMPATIENT_TIMEOUT)
        self._impatient_until = 0.0

    def send(
        self,
        *,
        signal: OpenEdxPublicSignal,
        topic: str,
        event_key_field: str,
        event_data: Mapping[str, Any],
        event_metadata: EventsMetadata,
    ) -> None:
        """
        Append an event to its topic's stream.

        Returns when Redis has it. Never raises: a failure is logged with all that is needed to send the event again by
        hand (``manage.py produce_event``), and recorded in the monitoring system. Blocks for a few seconds at the most.

        Arguments:
            signal: the signal that the event was sent to.
            topic: without the prefix.
            event_key_field: not used by this event bus.
            event_data: the data that the signal was sent with.
            event_metadata: the metadata that the signal was sent with.
        """
        context = self._context(signal, topic, event_key_field, event_data, event_metadata)
        try:
            self._deliver(context)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the caller's request goes on
            context.record_error(error)

    def deliver(
        self,
        *,
        signal: OpenEdxPublicSignal,
        topic: str,
        event_key_field: str,
        event_data: Mapping[str, Any],
        event_metadata: EventsMetadata,
    ) -> bytes:
        """
        Do what ``send`` does, but return the entry's id, and raise what fails.

        Raises:
            ConfigurationError: a setting cannot work.
            ServerError: Redis did not take the event.
            Exception: whatever openedx-events raises if the data does not fit the signal.
        """
        return self._deliver(self._context(signal, topic, event_key_field, event_data, event_metadata))

    @staticmethod
    def _context(
        signal: OpenEdxPublicSignal,
        topic: str,
        event_key_field: str,
        event_data: Mapping[str, Any],
        event_metadata: EventsMetadata,
    ) -> ProducingContext:
        return ProducingContext(
            signal=signal,
            initial_topic=topic,
            event_key_field=event_key_field,
            event_data=event_data,
            event_metadata=event_metadata,
        )

    def _deliver(self, context: ProducingContext) -> bytes:
        settings = load_producer_settings()
        context.full_topic = stream_key(context.initial_topic, settings.topic_prefix)
        data = codec_for(context.signal).encode(context.event_data)
        fields = encode_fields(context.event_metadata, data)
        entry_id = self._append(context.full_topic, fields, settings.stream_max_len)
        context.log_delivered(entry_id)
        return entry_id

    def _append(self, key: str, fields: Sequence[bytes], max_len: int) -> bytes:
        began = time.monotonic()
        patient = began >= self._impatient_until
        stream = Stream(self._patient if patient else self._impatient, key)
        try:
            try:
                entry_id = stream.append(fields, max_len)
            except ServerUnavailable:
                if time.monotonic() - began > _RETRY_WITHIN or not patient:
                    raise
                entry_id = stream.append(fields, max_len)
        except ServerUnavailable:
            # Only after a patient try: a server that is merely slow must not look as if it were away for ever.
            if patient:
                self._impatient_until = time.monotonic() + _IMPATIENCE
            raise
        self._impatient_until = 0.0
        return entry_id


def create_producer() -> RedisEventProducer | None:
    """
    Return a producer, for ``openedx_events.event_bus.get_producer`` to keep; None if no URL is set, with a warning.

    Raises:
        ConfigurationError: ``EVENT_BUS_REDIS_CONNECTION_URL`` cannot work. openedx-events makes a warning of it.
    """
    url = load_connection_url()
    if url is None:
        warnings.warn(f"Cannot configure event-bus-redis: Missing setting {connection_url.SETTING}", stacklevel=2)
        return None
    return RedisEventProducer(url)
