"""
Joins pool and bus: ``RedisEventConsumer``, its exit statuses, and what the supervisor says in the log.

Exit statuses: 0 stopped by SIGTERM or SIGINT, or consumers are disabled; 1 gave up; 2 a bad option or setting. They
leave as SystemExit, because ``consume_events`` logs every other exception and ends with 0.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

import attrs
from django.core.cache import close_caches
from django.db import connections
from openedx_events.event_bus import EventBusConsumer

from edx_event_bus_redis.internal.consumer import Consumer
from edx_event_bus_redis.internal.errors import ConfigurationError, TooManyErrors
from edx_event_bus_redis.internal.message import Entry, join_id, split_id
from edx_event_bus_redis.internal.names import shard_consumer_name
from edx_event_bus_redis.internal.protocols import Progress
from edx_event_bus_redis.internal.settings import ConsumerSettings, consumers_enabled, load_consumer_settings
from edx_event_bus_redis.internal.start import connect, longest_block, set_up
from edx_event_bus_redis.internal.suspects import Death as EntryDeath
from edx_event_bus_redis.internal.telemetry import consumer_logger
from pool import (
    EXIT_TOO_MANY_ERRORS,
    Child,
    Death,
    Event,
    ForkFailed,
    GaveUp,
    Item,
    Outcome,
    PoolConfig,
    Slot,
    Slots,
    Stop,
    Stopped,
    Stopping,
    Supervisor,
    WorkerDied,
    WorkerStarted,
    blocked,
    stop_on_signals,
)

logger = logging.getLogger(__name__)

_STOPPING = (signal.SIGTERM, signal.SIGINT)

EXIT_GAVE_UP = 1
EXIT_BAD_CONFIGURATION = 2


class RedisEventConsumer(EventBusConsumer):
    """
    Consumes the events of a topic; ``EVENT_BUS_CONSUMER`` names this class.

    Arguments:
        topic: without the prefix.
        group_id: consumer group.
        consumer_name: unique in the group; of a pool, the stem of its workers' names.
        last_read_msg_id, check_backlog, claim_msgs_older_than, extra: the other keys of ``--extra``; see
            ``ConsumerSettings``.

    Nothing is validated here: openedx-events swallows every exception of a constructor.
    """

    def __init__(  # noqa: PLR0917 -- as many by position as the published package takes
        self,
        /,
        topic: str,
        group_id: str,
        consumer_name: str | None = None,
        last_read_msg_id: str | None = None,
        check_backlog: bool = False,
        claim_msgs_older_than: int | None = None,
        **extra: Any,
    ) -> None:
        self._topic = topic
        self._group = group_id
        self._extra = {
            "consumer_name": consumer_name,
            "last_read_msg_id": last_read_msg_id,
            "check_backlog": check_backlog,
            "claim_msgs_older_than": claim_msgs_older_than,
            **extra,
        }

    def consume_indefinitely(self) -> None:
        """
        Consume until SIGTERM or SIGINT: in this process, or with ``workers`` in a pool that it supervises.

        Raises:
            SystemExit: with status 1 if it gave up, 2 if an option or a setting cannot work.
        """
        if not consumers_enabled():
            consumer_logger.error("Redis consumers not enabled, exiting.")
            return
        try:
            settings = load_consumer_settings(self._topic, self._group, self._extra)
            if settings.workers is None:
                _consume_here(settings)
            else:
                _consume_in_pool(settings, settings.workers)
        except ConfigurationError as error:
            sys.stderr.write(f"edx-event-bus-redis: {error}\n")
            raise SystemExit(EXIT_BAD_CONFIGURATION) from None
        except TooManyErrors as error:
            logger.error("%s", error)
            raise SystemExit(EXIT_GAVE_UP) from None
        except Exception:
            # consume_events would log it too, and end with status 0.
            logger.exception("Consumer %s failed", self._extra["consumer_name"])
            raise SystemExit(EXIT_GAVE_UP) from None


def _consume_here(settings: ConsumerSettings) -> None:
    with stop_on_signals(settings.shutdown_timeout) as stop:
        cursor = set_up(settings, stop)
        if cursor is not None:
            slots = Slots(1)
            # There is no supervisor to end a handler that hangs.
            progress = _SlotProgress(slots[0], slots, cursor, watchdog=settings.handler_timeout)
            _consume(settings, settings.consumer_name, stop, progress)


def _consume_in_pool(settings: ConsumerSettings, workers: int) -> None:
    with contextlib.ExitStack() as held_back:
        with stop_on_signals(settings.shutdown_timeout) as stop:
            cursor = set_up(settings, stop)
            # Until the supervisor answers them, so that none falls between the two.
            held_back.enter_context(blocked(_STOPPING))
            requested = stop.requested
        if cursor is not None and not requested:
            _supervise(settings, workers, cursor)


@attrs.frozen
class _SlotProgress:
    """A consumer's progress, left in its slot for the supervisor and for its siblings."""

    slot: Slot
    slots: Slots
    floor: bytes
    """The group's cursor at the start."""
    watchdog: float | None = None
    """Seconds after which this process writes its stacks to stderr and leaves, if an entry is still in hand."""

    def idle(self) -> None:
        self.slot.idle()

    def begin(self, entry: Entry) -> None:
        self.slot.begin(*_item_of(entry))
        if self.watchdog is not None:
            faulthandler.dump_traceback_later(self.watchdog, exit=True)

    def succeeded(self) -> None:
        self._let_go()
        self.slot.succeeded()

    def failed(self) -> None:
        self._let_go()
        self.slot.failed()

    def _let_go(self) -> None:
        if self.watchdog is not None:
            faulthandler.cancel_dump_traceback_later()

    def disposed_of(self) -> None:
        self.slot.disposed_of()

    def errors(self, in_a_row: int) -> None:
        self.slot.errors(in_a_row)

    def held(self, count: int) -> None:
        self.slot.held(count)

    def seen(self, entry_id: bytes) -> None:
        furthest = split_id(entry_id)
        # Pending and claimed entries are older than what was seen.
        if furthest > self.slot.furthest:
            self.slot.mark(*furthest)

    def furthest_seen(self) -> bytes:
        return join_id(*max(self.slots.furthest(), split_id(self.floor)))


# Ids of the topic's stream and of the group's own one are told apart by a bit that no sequence number reaches.
_AGAIN = 1 << 63


def _item_of(entry: Entry) -> tuple[int, int]:
    milliseconds, sequence = split_id(entry.id)
    return milliseconds, sequence | _AGAIN if entry.origin else sequence


def _id_of(item: Item) -> tuple[bytes, bool]:
    """Return the id of the entry, and whether it is one of the group's own stream."""
    return join_id(item.high, item.low & ~_AGAIN), bool(item.low & _AGAIN)


def _death_by_entry(former: Death | None) -> EntryDeath | None:
    """Return how the worker's predecessor died of an entry; None if it had none in hand, or did not die of it."""
    if former is None or former.item is None or former.cause.too_many_errors:
        return None
    entry_id, again = _id_of(former.item)
    timed_out = former.cause.timed_out_after
    if timed_out is not None:
        cause = f"timed out after {timed_out:.1f} s"
    elif former.cause.exit_code < 0:
        cause = f"killed its worker: {former.cause}"
    else:
        cause = f"ended its worker: {former.cause}"
    return EntryDeath(entry_id, again, cause, str(former.cause), former.stack)


def _consume(
    settings: ConsumerSettings, consumer_name: str, stop: Stop, progress: Progress, former: Death | None = None
) -> None:
    client = connect(settings)
    try:
        Consumer(
            settings,
            consumer_name,
            client,
            block=longest_block(client),
            stop=stop,
            progress=progress,
            death=_death_by_entry(former),
            replaces=former is not None,
        ).run()
    finally:
        client.connection_pool.disconnect()


def _supervise(settings: ConsumerSettings, workers: int, cursor: bytes) -> None:
    def work(child: Child) -> None:
        name = shard_consumer_name(settings.consumer_name, child.shard)
        try:
            _consume(settings, name, child.stop, _SlotProgress(child.slot, child.slots, cursor), child.former)
        except TooManyErrors as error:
            logger.error("%s", error)
            raise SystemExit(EXIT_TOO_MANY_ERRORS) from None
        except Exception:
            logger.exception("Worker %s failed", name)
            raise SystemExit(EXIT_GAVE_UP) from None

    config = PoolConfig(
        name=settings.consumer_name,
        workers=workers,
        shutdown_timeout=settings.shutdown_timeout,
        item_timeout=settings.handler_timeout,
        deaths_per_item=settings.max_deliveries,
    )
    supervisor = Supervisor(
        config, work, on_event=_logger_of_events(settings.consumer_name), before_fork=_close_what_is_not_shared
    )
    if supervisor.run() is Outcome.GAVE_UP:
        raise SystemExit(EXIT_GAVE_UP)


def _close_what_is_not_shared() -> None:
    connections.close_all()
    close_caches()


def _logger_of_events(name: str) -> Callable[[Event], None]:
    """Return what logs the events of the pool of that name, one line each."""

    def log(event: Event) -> None:
        match event:
            case WorkerStarted(shard, pid, None):
                logger.info("Pool %s: started worker %d, pid %d", name, shard, pid)
            case WorkerStarted(shard, pid, former):
                logger.warning("Pool %s: replaced worker %d, pid %d, was %d", name, shard, pid, former)
            case WorkerDied(shard, pid, cause, item, seconds, delay):
                hand = "nothing in hand"
                if item is not None:
                    hand = f"entry {_id_of(item)[0].decode()} in hand for {seconds:.1f} s"
                then = "giving up" if delay is None else f"replacement in {delay:.1f} s"
                logger.error("Pool %s: worker %d, pid %d, died: %s; %s; %s", name, shard, pid, cause, hand, then)
            case ForkFailed(shard, error, delay):
                logger.error("Pool %s: worker %d cannot be forked: %s; next try in %.1f s", name, shard, error, delay)
            case GaveUp(replacements, last):
                logger.critical(
                    "Pool %s: gave up after %d replacements, the last of them without an event handled in between; "
                    "last cause of death: %s",
                    name,
                    replacements,
                    last,
                )
            case Stopping(reason, timeout):
                logger.info("Pool %s: stopping (%s), within %.1f s", name, reason, timeout)
            case Stopped(seconds, left, killed):
                logger.info(
                    "Pool %s: stopped after %.1f s with %d entries left pending, %d workers killed",
                    name,
                    seconds,
                    left,
                    killed,
                )

    return log
