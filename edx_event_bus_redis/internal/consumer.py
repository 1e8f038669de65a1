"""
The consuming loop of one process. In each round it

1. reads the next entries, if it has none, and acknowledges those that are gone;
2. prepares the application and handles one entry;
3. acknowledges, once the ack window is over.

It ends when a stop is requested and what it had read is handled or the time for that is over; what is left stays
pending under its name, which reads it first at the next start. It raises TooManyErrors at the limit of consecutive
errors: any error counts, only an event that was handled begins a new row.

An entry is acknowledged when it was handled, when its receivers failed, or when it cannot be decoded; never before, and
never because the server or a database could not be reached.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Protocol

from edx_event_bus_redis.internal.dispatch import emit, prepare
from edx_event_bus_redis.internal.errors import (
    EventBusRedisError,
    GroupMissing,
    ReceiverError,
    ServerError,
    TooManyErrors,
    UnusableMessageError,
)
from edx_event_bus_redis.internal.group import make_group_anew
from edx_event_bus_redis.internal.message import Entry, Message, parse_entry
from edx_event_bus_redis.internal.pace import AckWindow, Pace
from edx_event_bus_redis.internal.reader import Batch, Reader
from edx_event_bus_redis.internal.settings import ConsumerSettings
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.telemetry import RunContext

logger = logging.getLogger(__name__)

# Seconds that a blocking read takes at the most, however long the poll timeout: so soon a stop is noticed.
_LONGEST_BLOCK = 1.0

# Delays between failures double up to so many times the first, or up to so many seconds, whichever is more.
_LONGEST_SLEEP_FACTOR = 5
_LONGEST_SLEEP = 5.0

# Share of the shutdown timeout, and seconds at the most, that are kept for the event in hand.
_LAST_SHARE = 0.1
_LAST_SECONDS = 1.0


class Stop(Protocol):
    """Whether and until when to stop; see ``pool.Stop``."""

    @property
    def requested(self) -> bool:
        """Whether to take nothing new."""

    @property
    def time_left(self) -> float:
        """Seconds until what is left must be let go."""

    def wait(self, seconds: float) -> bool:
        """Block for so many seconds or until a stop is requested; return whether it is."""


class Progress(Protocol):
    """Where a consumer leaves word of what it does, for others to see."""

    def idle(self) -> None:
        """Nothing is in hand."""

    def begin(self, entry_id: bytes) -> None:
        """An entry is in hand."""

    def succeeded(self) -> None:
        """The entry in hand was handled."""

    def failed(self) -> None:
        """The entry in hand cannot be handled."""

    def errors(self, in_a_row: int) -> None:
        """So many errors have occurred since an event was handled."""

    def held(self, count: int) -> None:
        """So many entries are read and not acknowledged."""

    def seen(self, entry_id: bytes) -> None:
        """No entry up to this one is new to this consumer."""

    def furthest_seen(self) -> bytes:
        """Return the furthest entry that this consumer or one of its siblings has seen."""


class Consumer:
    """
    Consumes in this process.

    Arguments:
        settings: of the consumer or of the pool that it belongs to.
        consumer_name: its own name in the group.
        stream: to consume; its client's time-out must be longer than ``block``.
        block: seconds that one read may block.
        stop: when to leave.
        progress: where to leave word.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        consumer_name: str,
        stream: Stream,
        *,
        block: float,
        stop: Stop,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._group = settings.group
        self._name = consumer_name
        self._block = min(block, settings.poll_timeout, settings.shutdown_timeout / 2, _LONGEST_BLOCK)
        self._stop = stop
        self._progress = progress
        self._context = RunContext(stream.key, settings.group, consumer_name)
        self._reader = Reader(stream, settings.group, consumer_name, settings.claim_msgs_older_than)
        self._ahead: deque[Entry] = deque()
        self._acks = AckWindow()
        self._pace = Pace()
        self._errors = 0
        self._failures = 0
        self._reported_idle = time.monotonic()

    def run(self) -> None:
        """Consume until a stop is requested. Raises TooManyErrors."""
        self._context.log_running()
        try:
            self._consume()
        finally:
            self._leave()

    def _consume(self) -> None:
        while self._go_on():
            try:
                if not self._ahead:
                    self._take(self._reader.read(self._pace.batch_size(), self._acks.ids, self._block))
                # After a failure nothing new is begun before what was handled is acknowledged.
                elif self._acks.ids and (self._failures or self._acks.is_over()):
                    self._acknowledge()
                elif not self._handle_next():
                    continue
                self._failures = 0
            except GroupMissing as error:
                self._make_group_anew(error)
            except ServerError as error:
                self._on_failure(error)

    def _go_on(self) -> bool:
        if not self._stop.requested:
            return True
        if not self._ahead or self._failures:
            return False
        timeout = self._settings.shutdown_timeout
        return self._stop.time_left > min(timeout * _LAST_SHARE, _LAST_SECONDS)

    def _take(self, batch: Batch) -> None:
        """Take what was read; what was to be acknowledged with the read is acknowledged."""
        self._acks.clear()
        self._ahead.extend(batch.entries)
        self._progress.held(len(self._ahead))
        if batch.entries:
            self._progress.seen(batch.entries[-1].id)
        else:
            self._report_idle()
        if batch.gone or batch.gone_already:
            logger.error(
                "Lost %d events: they were pending in group %s, and stream %s has been trimmed or they were deleted",
                len(batch.gone) + batch.gone_already,
                self._group,
                self._stream.key,
            )
        if batch.gone:
            self._stream.acknowledge(self._group, batch.gone)

    def _report_idle(self) -> None:
        self._progress.idle()
        if time.monotonic() - self._reported_idle >= self._settings.poll_timeout:
            self._reported_idle = time.monotonic()
            self._context.set_attributes(None)

    def _handle_next(self) -> bool:
        """Handle the next entry that was read; return False if it was not even begun and is to be tried again."""
        entry = self._ahead[0]
        try:
            message = parse_entry(entry, self._stream.key)
        except UnusableMessageError as unusable:
            self._progress.begin(entry.id)
            self._done(entry, None, time.monotonic(), unusable)
            return True
        event_type = message.metadata.event_type
        if self._acks.ids and self._pace.is_slow(event_type):
            self._acknowledge()
        if not self._prepare(message):
            return False
        self._progress.begin(entry.id)
        began = time.monotonic()
        error = self._emit(message)
        self._done(entry, message, began, error)
        self._pace.handled(event_type, time.monotonic() - began)
        return True

    def _prepare(self, message: Message) -> bool:
        try:
            prepare()
        except Exception as error:  # noqa: BLE001 -- each database backend has its own
            # No receiver has seen the event, and none could do anything with it: it waits.
            self._on_failure(error, message)
            return False
        return True

    def _emit(self, message: Message) -> EventBusRedisError | None:
        self._context.set_attributes(message)
        self._context.log_received(message)
        try:
            emit(message)
        except (ReceiverError, UnusableMessageError) as error:
            return error
        self._context.log_processed()
        return None

    def _done(self, entry: Entry, message: Message | None, began: float, error: EventBusRedisError | None) -> None:
        """Close the books on the entry in hand: it is to be acknowledged, whether it was handled or failed."""
        self._ahead.popleft()
        self._acks.add(entry.id, began)
        self._progress.held(len(self._ahead))
        if error is None:
            self._progress.succeeded()
            self._errors = 0
        else:
            self._progress.failed()
            self._context.record_error(error, message, entry.id)
            self._count_error()

    def _on_failure(self, error: Exception, message: Message | None = None, *, sleep: bool = True) -> None:
        """Record a failure that is no event's fault, and wait before the next try."""
        self._reader.failed()
        self._failures += 1
        self._context.record_error(error, message)
        self._count_error()
        if sleep:
            first = self._settings.poll_failure_sleep
            longest = max(first * _LONGEST_SLEEP_FACTOR, _LONGEST_SLEEP)
            self._stop.wait(min(first * 2.0 ** min(self._failures - 1, 16), longest))

    def _count_error(self) -> None:
        self._errors += 1
        self._progress.errors(self._errors)
        limit = self._settings.consecutive_errors_limit
        if limit is not None and self._errors >= limit:
            raise TooManyErrors(f"Too many consecutive errors, exiting ({self._errors} in a row)")

    def _make_group_anew(self, error: GroupMissing) -> None:
        # At once the first time, so that little is trimmed meanwhile; not in a loop if somebody keeps deleting it.
        self._on_failure(error, sleep=self._failures > 0)
        try:
            make_group_anew(self._stream, self._group, self._progress.furthest_seen())
        except ServerError as another:
            self._on_failure(another)

    def _acknowledge(self) -> None:
        self._stream.acknowledge(self._group, self._acks.ids)
        self._acks.clear()

    def _leave(self) -> None:
        """Acknowledge what was handled and leave word of what stays pending under this name."""
        left = len(self._ahead) + len(self._acks.ids)
        try:
            if self._acks.ids:
                self._acknowledge()
            left = self._stream.pending_count(self._group, self._name)
        except ServerError as error:
            logger.error(
                "Consumer %s leaves without its server: %d handled events may be repeated, %d were not begun: %r",
                self._name,
                len(self._acks.ids),
                len(self._ahead),
                error,
            )
        self._progress.held(left)
