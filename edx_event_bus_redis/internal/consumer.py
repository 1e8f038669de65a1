"""
The consuming loop of one process. In each round it does one of these, the first that is due:

1. settles what could not be handled: a retry later, or a dead letter;
2. reads the next entries, if it has none: of those to be delivered again, once a second, else of the topic's stream;
3. acknowledges, once the ack window is over;
4. prepares the application and handles one entry.

It ends when a stop is requested and what it had read is handled, or the time for that is over, or another process of
its pool goes on with it; what is left stays pending under its name, which reads it first at the next start. It raises
TooManyErrors at the limit of consecutive errors: any error counts, only an event that was handled begins a new row.

An entry leaves the pending entries list when it was handled, when it is put aside for a retry, or as a dead letter;
never before, and never because the server or a database could not be reached.

Which entries come next ``reader`` decides, and what becomes of a failed event ``delivery``; processes, and when they
are replaced, are the pool's business.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

import attrs
import redis

from edx_event_bus_redis.internal.again import AgainStream
from edx_event_bus_redis.internal.audit_log import AuditLog
from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.death import Death
from edx_event_bus_redis.internal.dispatch import emit, is_known, prepare
from edx_event_bus_redis.internal.errors import (
    EventBusRedisError,
    GroupMissing,
    ReceiverError,
    ServerError,
    UnusableMessageError,
)
from edx_event_bus_redis.internal.failures import Doing, Failures
from edx_event_bus_redis.internal.group import known_of_group, make_group_anew
from edx_event_bus_redis.internal.intake import Intake
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.log_lines import COULD_NOT_FINISH, LOST_WITH_WORKER
from edx_event_bus_redis.internal.message import Entry, Message, parse_entry
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.options import ConsumerSettings
from edx_event_bus_redis.internal.outcomes import Outcomes
from edx_event_bus_redis.internal.pace import Pace
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.protocols import Progress, Stop
from edx_event_bus_redis.internal.reader import Reader
from edx_event_bus_redis.internal.spans import CONSUME, EMIT, within_span
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.suspects import Suspects
from edx_event_bus_redis.internal.takeover import Membership, TakeOver
from edx_event_bus_redis.internal.telemetry import RunContext
from edx_event_bus_redis.internal.tenure import Tenure
from edx_event_bus_redis.internal.troubles import Troubles

logger = logging.getLogger(__name__)

# Seconds that a blocking read takes at the most, however long the poll timeout: so soon a stop is noticed.
_LONGEST_BLOCK = 1.0

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
        board: where the monitor of its pool leaves word.
        membership: of its pool; None if it has none.
        death: how its predecessor in the pool died of an entry; None if it did not.
        replaces: whether it had a predecessor in the pool.
        quiet: whether to say less of its start, as its predecessor's death was one of many.
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
        board: Board,
        membership: Membership | None = None,
        death: Death | None = None,
        replaces: bool = False,
        quiet: bool = False,
    ) -> None:
        group = settings.group
        self._settings = settings
        self._group = group
        self._name = consumer_name
        self._quiet = quiet
        self._block = min(block, settings.poll_timeout, settings.shutdown_timeout / 2, _LONGEST_BLOCK)
        self._stop = stop
        self._progress = progress
        self._board = board

        largest = settings.max_event_bytes
        self._stream = Stream(client, stream_key(settings.topic, settings.topic_prefix), largest)
        self._ledger = Ledger(self._stream, group, consumer_name)
        self._store = GroupStore(client, self._stream.key, group, consumer_name)
        self._context = RunContext(self._stream.key, group, consumer_name)
        self._audit_log = AuditLog(self._context)
        troubles = Troubles(self._context, settings.poll_failure_sleep)
        self._failures = Failures(troubles, settings.consecutive_errors_limit, progress)
        self._suspects = Suspects(self._store, settings.max_deliveries, death, replaces=replaces)
        self._outcomes = Outcomes(self._store, self._stream.key, settings, consumer_name, progress)
        self._pace = Pace()
        self._tenure = Tenure(client, self._stream.key, group, membership)

        def reader(stream: Stream, ledger: Ledger | None) -> Reader:
            take_over = TakeOver(
                client,
                stream,
                topic_stream=self._stream.key,
                group=group,
                claimant=consumer_name,
                older_than=settings.claim_msgs_older_than,
                membership=membership,
                board=board,
            )
            return Reader(stream, group, consumer_name, take_over, ledger)

        self._intake = Intake(
            reader(self._stream, self._ledger),
            reader(AgainStream(client, self._store.again, largest), None),
            ledger=self._ledger,
            store=self._store,
            suspects=self._suspects,
            failures=self._failures,
            progress=progress,
        )
        self._unsettled: Callable[[], None] | None = self._inherit if replaces else None
        self._prepared = True
        self._reported_idle = time.monotonic()

    def run(self) -> None:
        """Consume until a stop is requested. Raises TooManyErrors."""
        self._context.log_running(quiet=self._quiet)
        in_order = False
        try:
            self._consume()
            in_order = True
        finally:
            self._ledger.say_all()
            self._leave(in_order=in_order)
            self._outcomes.say_all()

    def _consume(self) -> None:
        while self._go_on():
            try:
                self._step()
                if self._prepared:
                    self._failures.over()
            except GroupMissing as error:
                self._make_group_anew(error)
            except ServerError as error:
                self._on_failure(error)

    def _step(self) -> None:
        """Do what is due first, unless nothing is its business any more."""
        intake = self._intake
        self._failures.doing = Doing.READ
        if self._tenure.is_due or self._unsettled is not None:
            intake.hear()
            self._tenure.holds()
        if self._tenure.is_lost:
            self._progress.idle()
            self._stop.wait(_LONGEST_BLOCK)
        elif self._unsettled is not None:
            self._failures.doing = Doing.SETTLE
            self._settle()
        elif not intake.ahead:
            self._read()
        # After a failure, or a slow event, nothing new is begun before what was handled is acknowledged.
        elif intake.acks.count and (intake.acks.has_slow or intake.is_stale or self._failures.in_trouble):
            self._failures.doing = Doing.READ
            intake.acknowledge()
        elif intake.acks.is_over():
            self._failures.doing = Doing.READ
            intake.send_acknowledgements()
        elif intake.is_stale:
            intake.forget_what_is_ahead()
        else:
            self._failures.doing = Doing.HANDLE
            self.consume_next()

    def _go_on(self) -> bool:
        if not self._stop.requested:
            return True
        if self._tenure.is_lost or self._failures.in_trouble or not (self._intake.ahead or self._unsettled):
            return False
        if self._stop.hands_over and self._unsettled is None:
            return False
        timeout = self._settings.shutdown_timeout
        return self._stop.time_left > min(timeout * _LAST_SHARE, _LAST_SECONDS)

    def _read(self) -> None:
        self._outcomes.say_what_is_due()
        self._intake.read(self._pace.batch_size(), self._block)
        if not self._intake.ahead:
            self._report_idle()
        else:
            self._pace.read(max(entry.size for entry in self._intake.ahead))

    def _report_idle(self) -> None:
        self._progress.idle()
        if time.monotonic() - self._reported_idle >= self._settings.poll_timeout:
            self._reported_idle = time.monotonic()
            self._context.set_attributes(None)

    def consume_next(self) -> None:
        """Handle the next entry that was read, or leave it there if the application cannot be prepared for it."""
        within_span(CONSUME, self._handle, self._intake.ahead[0])

    def _handle(self, entry: Entry) -> None:
        try:
            message = parse_entry(entry, self._stream.key, self._settings.max_event_bytes)
        except UnusableMessageError as unusable:
            self._progress.begin(entry)
            self._failed(entry, None, unusable, None)
            return
        event_type = message.metadata.event_type
        is_suspect = self._suspects.is_suspect(entry)
        if is_suspect or self._pace.is_slow(event_type):
            self._intake.acknowledge()
        self._prepare(message)
        if not self._prepared or (is_suspect and not self._may_begin_suspect(entry, message)):
            return
        self._progress.begin(entry)
        began = time.monotonic()
        error = self._emit(message)
        seconds = time.monotonic() - began
        if error is None:
            self._intake.acks.add(entry.id, began, seconds)
            if is_suspect:
                self._unsettled = functools.partial(self._acquit, entry)
            self._pace.handled(event_type, seconds)
            self._intake.next_is_done()
            self._progress.succeeded(event_type, seconds)
            self._failures.begin_new_row()
        else:
            self._failed(entry, message, error, None if isinstance(error, UnusableMessageError) else seconds)

    def _prepare(self, message: Message) -> None:
        try:
            prepare()
        except Exception as error:  # noqa: BLE001 -- each database backend has its own
            # No receiver has seen the event, and none could do anything with it: it waits.
            self._prepared = False
            self._on_failure(error, message)
        else:
            self._prepared = True

    def _may_begin_suspect(self, entry: Entry, message: Message) -> bool:
        """Count a start of a suspect; make it a dead letter instead if it has had enough of them."""
        starts = self._suspects.begin(entry)
        if starts > 0:
            death = self._suspects.certain_death_by(entry)
            if death is not None and not self._quiet:
                self._outcomes.started_again(entry, starts, death)
            return True
        self._outcomes.killed(entry, -starts, self._suspects.last_death_by(entry, -starts))
        self._suspects.clear(entry)
        self._intake.next_is_done()
        self._progress.disposed_of(_known_type(message))
        return False

    def _emit(self, message: Message) -> EventBusRedisError | None:
        self._context.set_attributes(message)
        is_audited = self._audit_log.is_wanted
        if is_audited:
            self._audit_log.received(message)
        try:
            within_span(EMIT, emit, message)
        except (ReceiverError, UnusableMessageError) as error:
            return error
        if is_audited:
            self._audit_log.processed()
        return None

    def _failed(self, entry: Entry, message: Message | None, error: EventBusRedisError, seconds: float | None) -> None:
        """Close the books on the entry in hand, which was not handled."""
        self._intake.next_is_done()
        self._unsettled = functools.partial(self._outcomes.failed, entry, error)
        self._suspects.clear(entry)
        self._progress.failed(_known_type(message), seconds)
        self._context.record_error(error, message, entry.original_id)
        self._failures.count()

    def _acquit(self, entry: Entry) -> None:
        """Acknowledge a suspect that was handled, and forget that it was one."""
        self._intake.acknowledge()
        self._store.clear_suspect(entry)
        self._suspects.clear(entry)

    def _inherit(self) -> None:
        """Take up what the predecessor had, and count the start that it died of."""
        held = self._progress.inherited()
        reclaimed = self._store.reclaim(held.ids, again=held.again, largest=self._settings.max_event_bytes)
        if reclaimed.lost is not None:
            LOST_WITH_WORKER.log(logger, group=self._group, stream=self._stream.key, **attrs.asdict(reclaimed.lost))
        self._suspects.count_death()
        self._intake.take_up(reclaimed.entries, again=held.again)

    def _settle(self) -> None:
        assert self._unsettled is not None
        self._unsettled()
        self._unsettled = None
        self._intake.expect_retry()

    def _on_failure(self, error: Exception, message: Message | None = None, *, sleep: bool = True) -> None:
        """Record a failure that is no event's fault, and wait before the next try."""
        self._intake.failed()
        seconds = self._failures.happened(error, message)
        # It is alive, though it does not get anything done.
        self._progress.idle()
        if sleep:
            self._stop.wait(seconds)

    def _make_group_anew(self, error: GroupMissing) -> None:
        # At once the first time, so that little is trimmed meanwhile; not in a loop if somebody keeps deleting it.
        self._on_failure(error, sleep=self._failures.in_trouble)
        try:
            known = known_of_group(self._board, self._progress.held_in_all())
            make_group_anew(self._ledger, self._progress.furthest_seen(), known)
        except ServerError as another:
            self._on_failure(another)

    def _leave(self, *, in_order: bool) -> None:
        """Close the books as far as the server lets it, and leave word of what stays pending under this name."""
        ahead, acks = self._intake.ahead, self._intake.acks
        left = len(ahead) + acks.count
        if self._failures.in_trouble and not acks.count and self._unsettled is None:
            # Nothing would be saved by waiting for a server that does not answer.
            self._progress.held(left)
            return
        try:
            left = self._close_the_books(in_order=in_order)
        except ServerError as error:
            COULD_NOT_FINISH.log(logger, consumer_name=self._name, handled=acks.count, ahead=len(ahead), error=error)
        self._progress.held(left)

    def _close_the_books(self, *, in_order: bool) -> int:
        """
        Acknowledge and settle what was handled; return the number of entries that stay pending under this name.

        Who leaves on purpose has nothing in hand, so whoever takes over what it had read ahead blames none of it.
        """
        if not self._tenure.holds():
            # What was handled nobody has to handle again. The rest is the business of who has the name now.
            self._intake.acknowledge()
            return 0
        if self._unsettled is not None:
            self._settle()
        self._intake.acknowledge()
        ahead = self._intake.ahead
        self._store.put_back(ahead)
        left = self._stream.pending_count(self._group, self._name)
        if self._stop.requested:
            if ahead and not in_order:
                # What has ended this process, by whatever exception, may be that.
                self._store.mark_suspects([ahead[0]])
            self._store.leave()
        return left


def _known_type(message: Message | None) -> str | None:
    """Return the event type, unless there is none or somebody has made it up: such ones may be any number."""
    return message.metadata.event_type if message is not None and is_known(message.metadata.event_type) else None
