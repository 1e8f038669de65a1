"""
The consuming loop of one process. In each round it does one of these, the first that is due:

1. settles what could not be handled: a retry later, or a dead letter;
2. reads the next entries, if it has none: of those to be delivered again, once a second, else of the topic's stream;
3. acknowledges, once the ack window is over;
4. prepares the application and handles one entry.

It ends when a stop is requested and what it had read is handled or the time for that is over; what is left stays
pending under its name, which reads it first at the next start. It raises TooManyErrors at the limit of consecutive
errors: any error counts, only an event that was handled begins a new row.

An entry leaves the pending entries list when it was handled, when it is put aside for a retry, or as a dead letter;
never before, and never because the server or a database could not be reached.
"""

from __future__ import annotations

import functools
import logging
import random
import time
from collections import deque
from collections.abc import Callable

import redis

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
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.outcomes import Outcomes
from edx_event_bus_redis.internal.pace import AckWindow, Pace
from edx_event_bus_redis.internal.private import AgainStream, GroupStore
from edx_event_bus_redis.internal.protocols import Progress, Stop
from edx_event_bus_redis.internal.reader import Batch, Reader
from edx_event_bus_redis.internal.settings import ConsumerSettings
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.suspects import Death, Suspects
from edx_event_bus_redis.internal.telemetry import RunContext
from edx_event_bus_redis.internal.troubles import Troubles

logger = logging.getLogger(__name__)

# Seconds that a blocking read takes at the most, however long the poll timeout: so soon a stop is noticed.
_LONGEST_BLOCK = 1.0
_SHORTEST_BLOCK = 0.001

# Seconds between two looks for events to be delivered again; sooner when one is known to be due sooner.
_AGAIN_INTERVAL = 1.0

# Share of the shutdown timeout, and seconds at the most, that are kept for the event in hand.
_LAST_SHARE = 0.1
_LAST_SECONDS = 1.0


class Consumer:
    """
    Consumes in this process.

    Arguments:
        settings: of the consumer or of the pool that it belongs to.
        consumer_name: its own name in the group.
        client: of ``make_client``, used by nobody else; its time-out must be longer than ``block``.
        block: seconds that one read may block.
        stop: when to leave.
        progress: where to leave word.
        death: how its predecessor in the pool died of an entry; None if it did not.
        replaces: whether it had a predecessor in the pool.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        consumer_name: str,
        client: redis.Redis,
        *,
        block: float,
        stop: Stop,
        progress: Progress,
        death: Death | None = None,
        replaces: bool = False,
    ) -> None:
        group = settings.group
        self._settings = settings
        self._group = group
        self._name = consumer_name
        self._block = min(block, settings.poll_timeout, settings.shutdown_timeout / 2, _LONGEST_BLOCK)
        self._stop = stop
        self._progress = progress

        self._stream = Stream(client, stream_key(settings.topic, settings.topic_prefix))
        self._reader = Reader(self._stream, group, consumer_name, settings.claim_msgs_older_than)
        self._store = GroupStore(client, self._stream.key, group)
        self._again_stream = AgainStream(client, self._store.again)
        self._again_reader = Reader(self._again_stream, group, consumer_name, settings.claim_msgs_older_than)
        self._again_due = 0.0
        self._topics_turn = False

        self._context = RunContext(self._stream.key, group, consumer_name)
        self._troubles = Troubles(self._context, settings.poll_failure_sleep)
        self._suspects = Suspects(self._store, settings.max_deliveries, death, replaces=replaces)
        self._outcomes = Outcomes(self._store, self._stream.key, settings, consumer_name)
        self._pace = Pace()

        self._source: Stream = self._stream
        self._ahead: deque[Entry] = deque()
        self._acks = AckWindow()
        self._unsettled: Callable[[], None] | None = None
        self._errors = 0
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
                if self._step():
                    self._troubles.over()
            except GroupMissing as error:
                self._make_group_anew(error)
            except ServerError as error:
                self._on_failure(error)

    def _step(self) -> bool:
        """Do what is due first; return False if a fault, which is recorded, keeps it from being done."""
        if self._unsettled is not None:
            self._settle()
        elif not self._ahead:
            self._read()
        # After a failure nothing new is begun before what was handled is acknowledged.
        elif self._acks.ids and (self._troubles.count or self._acks.is_over()):
            self._acknowledge()
        else:
            return self._handle_next()
        return True

    def _go_on(self) -> bool:
        if not self._stop.requested:
            return True
        if self._troubles.count or not (self._ahead or self._unsettled):
            return False
        timeout = self._settings.shutdown_timeout
        return self._stop.time_left > min(timeout * _LAST_SHARE, _LAST_SECONDS)

    def _read(self) -> None:
        size, now = self._pace.batch_size(), time.monotonic()
        if now >= self._again_due and not self._topics_turn and self._read_again(size, now):
            # More may wait, but the topic must not: the two take turns.
            self._topics_turn = True
            return
        self._topics_turn = False
        # Only what came from the topic's stream can be acknowledged together with a read of it.
        if self._acks.ids and self._source is not self._stream:
            self._acknowledge()
        block = max(_SHORTEST_BLOCK, min(self._block, self._again_due - now))
        self._take(self._reader.read(size, self._acks.ids, block), self._stream)

    def _read_again(self, size: int, now: float) -> bool:
        """Read what is to be delivered again; return whether there was something."""
        # First of all, so that a fault here does not keep the consumer from its topic.
        self._again_due = now + _AGAIN_INTERVAL * random.uniform(0.8, 1.2)
        if self._acks.ids:
            self._acknowledge()
        promoted = self._store.promote()
        if promoted.next_due is not None:
            self._again_due = min(self._again_due, now + promoted.next_due)
        if not promoted.waiting:
            return False
        batch = self._again_reader.read(size)
        self._take(batch, self._again_stream)
        if batch.entries:
            self._again_due = now
        return bool(batch.entries)

    def _take(self, batch: Batch, source: Stream) -> None:
        """Take what was read; what was to be acknowledged with the read is acknowledged."""
        self._acks.clear()
        self._suspects.look_at(batch)
        self._source = source
        self._ahead.extend(batch.entries)
        self._progress.held(len(self._ahead))
        if not batch.entries:
            self._report_idle()
        elif source is self._stream:
            self._progress.seen(batch.entries[-1].id)
        if batch.gone or batch.gone_already:
            logger.error(
                "Lost %d events: they were pending in group %s, and stream %s has been trimmed or they were deleted",
                len(batch.gone) + batch.gone_already,
                self._group,
                source.key,
            )
        if batch.gone:
            source.acknowledge(self._group, batch.gone)

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
            self._progress.begin(entry)
            self._done(entry, None, unusable)
            return True
        event_type = message.metadata.event_type
        is_suspect = self._suspects.is_suspect(entry)
        if self._acks.ids and (is_suspect or self._pace.is_slow(event_type)):
            self._acknowledge()
        if not self._prepare(message):
            return False
        if is_suspect and not self._may_begin_suspect(entry):
            return True
        self._progress.begin(entry)
        began = time.monotonic()
        error = self._emit(message)
        if error is None:
            self._acks.add(entry.id, began)
            if is_suspect:
                self._unsettled = functools.partial(self._acquit, entry)
            self._pace.handled(event_type, time.monotonic() - began)
        self._done(entry, message, error)
        return True

    def _prepare(self, message: Message) -> bool:
        try:
            prepare()
        except Exception as error:  # noqa: BLE001 -- each database backend has its own
            # No receiver has seen the event, and none could do anything with it: it waits.
            self._on_failure(error, message)
            return False
        return True

    def _may_begin_suspect(self, entry: Entry) -> bool:
        """Count a start of a suspect; make it a dead letter instead if it has had enough of them."""
        starts = self._suspects.begin(entry)
        if starts > 0:
            return True
        self._outcomes.killed(entry, -starts, self._suspects.death_by(entry))
        self._suspects.clear(entry)
        self._ahead.popleft()
        self._progress.held(len(self._ahead))
        self._progress.disposed_of()
        return False

    def _emit(self, message: Message) -> EventBusRedisError | None:
        self._context.set_attributes(message)
        self._context.log_received(message)
        try:
            emit(message)
        except (ReceiverError, UnusableMessageError) as error:
            return error
        self._context.log_processed()
        return None

    def _done(self, entry: Entry, message: Message | None, error: EventBusRedisError | None) -> None:
        """Close the books on the entry in hand."""
        self._ahead.popleft()
        self._progress.held(len(self._ahead))
        if error is None:
            self._progress.succeeded()
            self._errors = 0
        else:
            self._unsettled = functools.partial(self._outcomes.failed, entry, error)
            self._suspects.clear(entry)
            self._progress.failed()
            self._context.record_error(error, message, entry.original_id)
            self._count_error()

    def _acquit(self, entry: Entry) -> None:
        """Acknowledge a suspect that was handled, and forget that it was one."""
        if self._acks.ids:
            self._acknowledge()
        self._store.clear_suspect(entry)
        self._suspects.clear(entry)

    def _settle(self) -> None:
        assert self._unsettled is not None
        self._unsettled()
        self._unsettled = None

    def _on_failure(self, error: Exception, message: Message | None = None, *, sleep: bool = True) -> None:
        """Record a failure that is no event's fault, and wait before the next try."""
        self._reader.failed()
        self._again_reader.failed()
        seconds = self._troubles.happened(error, message)
        self._count_error()
        if sleep:
            self._stop.wait(seconds)

    def _count_error(self) -> None:
        self._errors += 1
        self._progress.errors(self._errors)
        limit = self._settings.consecutive_errors_limit
        if limit is not None and self._errors >= limit:
            raise TooManyErrors(f"Too many consecutive errors, exiting ({self._errors} in a row)")

    def _make_group_anew(self, error: GroupMissing) -> None:
        # At once the first time, so that little is trimmed meanwhile; not in a loop if somebody keeps deleting it.
        self._on_failure(error, sleep=self._troubles.count > 0)
        try:
            make_group_anew(self._stream, self._group, self._progress.furthest_seen())
        except ServerError as another:
            self._on_failure(another)

    def _acknowledge(self) -> None:
        self._source.acknowledge(self._group, self._acks.ids)
        self._acks.clear()

    def _leave(self) -> None:
        """Acknowledge and settle what was handled, and leave word of what stays pending under this name."""
        left = len(self._ahead) + len(self._acks.ids)
        if self._troubles.count and not self._acks.ids and self._unsettled is None:
            # Nothing would be saved by waiting for a server that does not answer.
            self._progress.held(left)
            return
        try:
            if self._unsettled is not None:
                self._settle()
            if self._acks.ids:
                self._acknowledge()
            left = self._stream.pending_count(self._group, self._name)
            if self._stop.requested:
                self._stream.leave(self._group, self._name)
        except ServerError as error:
            logger.error(
                "Consumer %s could not finish: %d handled events may be repeated, %d were not begun: %r",
                self._name,
                len(self._acks.ids),
                len(self._ahead),
                error,
            )
        self._progress.held(left)
