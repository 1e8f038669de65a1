"""
Sending many events, a chunk of them in each round trip.

1. Events are taken until a chunk is full. One that cannot be encoded, or is too large, is left out; the others go on.
2. The chunk is sent, once. The replies say which of its events are in their streams.
3. Ends when there are no more events, when the server has not taken one, or when too many could not be encoded.

What was sent and got no reply is not sent again from here: whether a repeated event does harm only the caller knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from edx_event_bus_redis.internal.appending import Appender, Wait, append_command, trim_command
from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.confirmations import Confirmations
from edx_event_bus_redis.internal.errors import OptionUnknown, ServerError
from edx_event_bus_redis.internal.message import encode_fields
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.outgoing import Delivered, EventsNotDelivered, OutgoingEvent, Undelivered
from edx_event_bus_redis.internal.settings import ProducerSettings, load_producer_settings
from edx_event_bus_redis.internal.telemetry import ProducingContext, deliveries_are_logged
from edx_event_bus_redis.internal.trimming import KeepUnacked, Trim

# A chunk is full with so many events or bytes, whichever comes first. It is what may be repeated after a connection was
# lost, so it is no larger than it takes to make the round trip cheap.
_CHUNK_EVENTS = 100
_CHUNK_BYTES = 256 * 1024

# After this many seconds no more replies to a chunk are waited for. A healthy server needs milliseconds.
_CHUNK_SECONDS = 10.0

# When so many events could not be encoded, there is something wrong with all of them, and each fills the log.
_MOST_FAILURES = 1000

OnDelivered = Callable[[Sequence[Delivered]], object]

# Position, event, key of the stream, and the entry's id.
_Delivered = tuple[int, OutgoingEvent, str, bytes]


@attrs.define
class _Chunk:
    """Events that go in one round trip: of each its position, itself, its stream's key and its command."""

    events: list[tuple[int, OutgoingEvent, str]] = attrs.field(factory=list)
    commands: list[bytes] = attrs.field(factory=list)
    # Streams that are to be trimmed. Behind the events: the server's refusal then leaves their order as it is.
    trims: dict[str, bytes] = attrs.field(factory=dict)
    size: int = 0

    def add(self, position: int, event: OutgoingEvent, key: str, command: bytes) -> None:
        self.events.append((position, event, key))
        self.commands.append(command)
        self.size += len(command)

    def is_full(self) -> bool:
        return len(self.events) >= _CHUNK_EVENTS or self.size >= _CHUNK_BYTES

    def by_stream(self) -> list[_Chunk]:
        """Return the same as chunks that have one stream each."""
        parts: dict[str, _Chunk] = {}
        for (position, event, key), command in zip(self.events, self.commands, strict=True):
            parts.setdefault(key, _Chunk()).add(position, event, key, command)
        for key, trim in self.trims.items():
            parts[key].trims[key] = trim
        return list(parts.values())


class BulkSending:
    """
    One call of a producer's ``send_many``.

    Arguments:
        appender: for the server.
        keep_unacked: the producer's.
        confirmations: the producer's.
        on_delivered: called after each chunk with what is in its stream from then on.
    """

    def __init__(
        self,
        appender: Appender,
        keep_unacked: KeepUnacked,
        confirmations: Confirmations,
        on_delivered: OnDelivered | None,
    ) -> None:
        self._appender = appender
        self._keep_unacked = keep_unacked
        self._confirmations = confirmations
        self._on_delivered = on_delivered
        self._taken = 0
        self._failures: list[Undelivered] = []
        self._goes_on = True

    def run(self, events: Iterable[OutgoingEvent]) -> int:
        """Send events and return how many, all of them. Raises what ``send_many`` does."""
        source = iter(events)
        while self._goes_on:
            # First, so that no event is taken if a setting cannot work.
            settings = load_producer_settings()
            chunk = _Chunk()
            try:
                self._fill(chunk, source, settings)
            except Exception:
                # Somebody else's error, of where the events come from. What was taken before it is not lost by it.
                self._send(chunk, settings)
                raise
            self._send(chunk, settings)
        if self._failures:
            raise EventsNotDelivered(sorted(self._failures, key=lambda failure: failure.position), self._taken)
        return self._taken

    def _fill(self, chunk: _Chunk, source: Iterator[OutgoingEvent], settings: ProducerSettings) -> None:
        for event in source:
            if not isinstance(event, OutgoingEvent):
                raise TypeError(f"send_many() takes instances of OutgoingEvent, not of {type(event).__name__}")
            position, key = self._taken, stream_key(event.topic, settings.topic_prefix)
            self._taken += 1
            try:
                data = codec_for(event.signal).encode(event.event_data)
                fields = encode_fields(event.event_metadata, data, settings.max_event_bytes)
                command = append_command(key, fields, settings.stream_max_len, self._trim(chunk, key, settings))
            except Exception as error:  # noqa: BLE001 -- too large, or what openedx-events likes; the others go on
                self._fail(position, event, key, error)
                if len(self._failures) >= _MOST_FAILURES:
                    self._goes_on = False
                    return
            else:
                chunk.add(position, event, key, command)
                if chunk.is_full():
                    return
        self._goes_on = False

    def _trim(self, chunk: _Chunk, key: str, settings: ProducerSettings) -> Trim:
        trim = self._keep_unacked.next_trim(key) if settings.keep_unacked else Trim.OLDEST
        if trim is Trim.ACKNOWLEDGED:
            chunk.trims[key] = trim_command(key, settings.stream_max_len)
            return Trim.NOTHING
        return trim

    def _send(self, chunk: _Chunk, settings: ProducerSettings) -> None:
        if not chunk.events:
            return
        delivered: list[_Delivered] = []
        for part in [chunk] if self._appender.takes_all_at_once else chunk.by_stream():
            delivered += self._send_part(part, settings.wait_replicas)
        self._tell(sorted(delivered, key=lambda each: each[0]))

    def _send_part(self, chunk: _Chunk, replicas: int) -> list[_Delivered]:
        """Send a chunk in one go; return the positions of the events that are delivered, and what ``_tell`` takes."""
        commands = [*chunk.commands, *chunk.trims.values()]
        wait = Wait(replicas, self._confirmations.seconds) if replicas else None
        appended = self._appender.append_all(chunk.events[0][2], commands, _CHUNK_SECONDS, wait)
        replies = appended.replies
        delivered: list[_Delivered] = []
        for (position, event, key), reply in zip(chunk.events, replies, strict=False):
            if isinstance(reply, ServerError):
                self._goes_on = False
                self._fail(position, event, key, reply)
            else:
                delivered.append((position, event, key, reply))
        if appended.lost is not None:
            self._goes_on = False
            error = appended.lost
            if appended.uncertain:
                error = type(error)(f"{error} (the event may be in its stream all the same)")
            for position, event, key in chunk.events[len(replies) :]:
                self._fail(position, event, key, error, uncertain=appended.uncertain)
        if any(isinstance(reply, OptionUnknown) for reply in replies[len(chunk.events) :]):
            self._keep_unacked.refused()
        if appended.confirmed is not None and delivered:
            _, _, key, entry_id = delivered[-1]
            self._confirmations.told(replicas, appended.confirmed, len(delivered), key, entry_id)
        return delivered

    def _tell(self, delivered: Sequence[_Delivered]) -> None:
        if deliveries_are_logged():
            for _, event, key, entry_id in delivered:
                _context(event, key).log_delivered(entry_id)
        if self._on_delivered is not None and delivered:
            self._on_delivered([Delivered(event, entry_id) for _, event, _, entry_id in delivered])

    def _fail(
        self, position: int, event: OutgoingEvent, key: str, error: Exception, *, uncertain: bool = False
    ) -> None:
        self._failures.append(Undelivered(position, event, error, uncertain))
        _context(event, key).record_error(error)


def _context(event: OutgoingEvent, key: str) -> ProducingContext:
    return ProducingContext(
        full_topic=key,
        signal=event.signal,
        initial_topic=event.topic,
        event_key_field=event.event_key_field,
        event_data=event.event_data,
        event_metadata=event.event_metadata,
    )
