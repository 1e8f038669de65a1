"""
Sends events to streams. ``create_producer`` is what the setting ``EVENT_BUS_PRODUCER`` names.

A producer works inside of web requests, so it holds one up for a few seconds at the most, and never raises into it.

Encoding is done by ``codec``, sending by ``appending``, and by ``bulk`` where it is many.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from openedx_events.data import EventsMetadata
from openedx_events.event_bus import EventBusProducer
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal import connection_url
from edx_event_bus_redis.internal.appending import Appender, Wait
from edx_event_bus_redis.internal.bulk import BulkSending
from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.confirmations import Confirmations
from edx_event_bus_redis.internal.errors import MemoryFull, OptionUnknown, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.message import encode_fields
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.outgoing import Delivered, OutgoingEvent
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.settings import ProducerSettings, load_producer_settings, load_server
from edx_event_bus_redis.internal.spans import SEND, SEND_MANY, span
from edx_event_bus_redis.internal.telemetry import ProducingContext, deliveries_are_logged
from edx_event_bus_redis.internal.trimming import KeepUnacked, Trim

# Seconds that connecting to one address, and that one reply, may take. A healthy server needs milliseconds. A new
# connection needs three replies at the most. Resolving a host name cannot be bounded from here.
_CONNECT_TIMEOUT = 1.0
_TIMEOUT = 2.0

# The same after a time-out, for so long: a request that sends many events must not wait for each. A server that is
# back again is quick enough.
_IMPATIENT_TIMEOUT = 0.2
_IMPATIENCE = 10.0

# The same for many events at once, which are not sent from within a request: a server that is busy for some seconds is
# no reason to give up what has taken hours.
_BULK_TIMEOUT = 10.0

# A connection that was reset, by a restart or by a proxy, works at the second try. There is one, unless the first has
# taken so many seconds.
_RETRY_WITHIN = 0.5


class RedisEventProducer(EventBusProducer):
    """
    Sends events. One instance serves all threads of a process, and goes on to after a fork.

    Arguments:
        server: where Redis is, or its URL.

    Raises:
        ConfigurationError: the URL cannot work.
    """

    def __init__(self, server: Server | str) -> None:
        def appender(timeout: float, connect_timeout: float) -> Appender:
            return Appender(Clients(server, timeout=timeout, connect_timeout=connect_timeout))

        self._patient = appender(_TIMEOUT, _CONNECT_TIMEOUT)
        self._impatient = appender(_IMPATIENT_TIMEOUT, _IMPATIENT_TIMEOUT)
        self._bulk = appender(_BULK_TIMEOUT, _CONNECT_TIMEOUT)
        self._impatient_until = 0.0
        self._keep_unacked = KeepUnacked()
        self._confirmations = Confirmations()

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

        Returns when Redis has it; with ``EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS`` when so many replicas have it too, or
        after a second more. Never raises: a failure is logged with all that is needed to send the event again by hand
        (``manage.py produce_event``), and recorded in the monitoring system. Blocks for a few seconds at the most.

        Arguments:
            signal: the signal that the event was sent to.
            topic: without the prefix.
            event_key_field: not used by this event bus.
            event_data: the data that the signal was sent with.
            event_metadata: the metadata that the signal was sent with.
        """
        context = self._context(signal, topic, event_key_field, event_data, event_metadata)
        try:
            with span(SEND):
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
            EventTooLarge: the event is larger than ``EVENT_BUS_REDIS_MAX_EVENT_BYTES``.
            ServerError: Redis did not take the event.
            Exception: whatever openedx-events raises if the data does not fit the signal.
        """
        return self._deliver(self._context(signal, topic, event_key_field, event_data, event_metadata))

    def send_many(
        self,
        events: Iterable[OutgoingEvent],
        *,
        on_delivered: Callable[[Sequence[Delivered]], object] | None = None,
    ) -> int:
        """
        Append many events to their topics' streams, many times faster than one by one: for back-fills and relays.

        Events of one stream keep their order. Chunks of at most 100 events (or 256 KiB) are sent in one round trip
        each, so that any number of events takes little memory. A chunk is sent when it is full, or when there are no
        more events; it is no transaction. A server that does not answer is given up after about ten seconds. Replicas
        are waited for once for each chunk, and in a cluster for each stream of it.

        An event whose data does not fit its signal, or is too large, is left out, and the others go on; after 1000 such
        it stops. The first event that the server does not take, or a lost connection, stops it after the chunk. Each
        event that is not delivered is logged with its data, as by ``send``.

        Nothing is sent twice. When a connection is lost in the middle of a chunk, the events of it that have no reply
        yet may be in the stream or not. It is for the caller to send these again or not.

        Arguments:
            events: may be a generator of any length, of signals and topics as they come.
            on_delivered: called after each chunk with its events that are in their streams now, in order: the place
                for noting how far it has come. What it raises is passed on; nothing more is sent then.

        Returns:
            The number of events, all of which are in their streams.

        Raises:
            EventsNotDelivered: some are not. It says which, which of these may be there all the same, and how many
                events were taken: what comes after them was not touched.
            ConfigurationError: a setting cannot work. No event was taken since ``on_delivered`` was called last.
            Exception: whatever ``events`` raises, after the events that were taken before have been sent.
        """
        with span(SEND_MANY):
            return BulkSending(self._bulk, self._keep_unacked, self._confirmations, on_delivered).run(events)

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
        fields = encode_fields(context.event_metadata, data, settings.max_event_bytes)
        entry_id = self._append(context.full_topic, fields, settings)
        if deliveries_are_logged():
            context.log_delivered(entry_id)
        return entry_id

    def _append(self, key: str, fields: Sequence[bytes], settings: ProducerSettings) -> bytes:
        began = time.monotonic()
        patient = began >= self._impatient_until
        appender = self._patient if patient else self._impatient
        try:
            try:
                entry_id = self._append_once(appender, key, fields, settings)
            except ServerUnavailable:
                if time.monotonic() - began > _RETRY_WITHIN or not patient:
                    raise
                entry_id = self._append_once(appender, key, fields, settings)
        except ServerUnavailable:
            # Only after a patient try: a server that is merely slow must not look as if it were away for ever.
            if patient:
                self._impatient_until = time.monotonic() + _IMPATIENCE
            raise
        self._impatient_until = 0.0
        return entry_id

    def _append_once(self, appender: Appender, key: str, fields: Sequence[bytes], settings: ProducerSettings) -> bytes:
        if not settings.keep_unacked:
            return self._append_so(appender, key, fields, settings, Trim.OLDEST)
        try:
            return self._append_so(appender, key, fields, settings, self._keep_unacked.next_trim(key))
        except OptionUnknown:
            self._keep_unacked.refused()
            return self._append_so(appender, key, fields, settings, Trim.OLDEST)
        except MemoryFull:
            # What is refused trims nothing, though there may be much by now that every group has acknowledged.
            if not self._makes_room(appender, key, settings):
                raise
            return self._append_so(appender, key, fields, settings, Trim.NOTHING)

    def _makes_room(self, appender: Appender, key: str, settings: ProducerSettings) -> bool:
        """Trim what may go, and return whether something has gone."""
        if not self._keep_unacked.may_make_room(key):
            return False
        try:
            return appender.trim(key, settings.stream_max_len) > 0
        except ServerError:
            # That the memory is full is what there is to say.
            return False

    def _append_so(
        self, appender: Appender, key: str, fields: Sequence[bytes], settings: ProducerSettings, trim: Trim
    ) -> bytes:
        if not settings.wait_replicas:
            return appender.append(key, fields, settings.stream_max_len, trim)
        wait = Wait(settings.wait_replicas, self._confirmations.seconds)
        entry_id, confirmed = appender.append_and_wait(key, fields, settings.stream_max_len, trim, wait)
        self._confirmations.told(wait.replicas, confirmed, 1, key, entry_id)
        return entry_id


def create_producer() -> RedisEventProducer | None:
    """
    Return a producer, for ``openedx_events.event_bus.get_producer`` to keep; None if no URL is set, with a warning.

    Raises:
        ConfigurationError: ``EVENT_BUS_REDIS_CONNECTION_URL`` or ``EVENT_BUS_REDIS_CONNECTION_OPTIONS`` cannot work.
            openedx-events makes a warning of it.
    """
    server = load_server()
    if server is None:
        warnings.warn(f"Cannot configure event-bus-redis: Missing setting {connection_url.SETTING}", stacklevel=2)
        return None
    return RedisEventProducer(server)
