"""
What workers leave in the memory that they share, in terms of the bus: written by each worker, read by its siblings, by
the monitor and by whoever replaces it.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Callable, Sequence

import attrs

from edx_event_bus_redis.internal.counts import WorkerCounts
from edx_event_bus_redis.internal.death import Death as EntryDeath
from edx_event_bus_redis.internal.holdings import Holding, Holdings
from edx_event_bus_redis.internal.message import Entry, join_id, split_id
from edx_event_bus_redis.internal.names import shard_consumer_name
from edx_event_bus_redis.internal.protocols import Held, InHand, WorkerLook
from pool import COMMON_KINDS, REST, Death, Item, ServiceManager, Slot, Slots, State


@attrs.frozen
class SlotProgress:
    """A consumer's progress, left in its slot for the supervisor and for its siblings."""

    slot: Slot
    slots: Slots
    holdings: Holdings
    holding: Holding
    """Of these the one that is its own."""
    floor: bytes
    """The group's cursor at the start."""
    watchdog: float | None = None
    """Seconds after which this process writes its stacks to stderr and leaves, if an entry is still in hand."""
    counts: WorkerCounts | None = None
    """Where to count for ``/metrics``; None if nobody can ask for it."""

    def idle(self) -> None:
        self.slot.idle()

    def begin(self, entry: Entry) -> None:
        self.slot.begin(*_item_of(entry))
        if self.watchdog is not None:
            faulthandler.dump_traceback_later(self.watchdog, exit=True)

    def succeeded(self, event_type: str, seconds: float) -> None:
        self._let_go()
        self.slot.succeeded()
        if self.counts is not None:
            self.counts.handled(event_type, seconds)

    def failed(self, event_type: str | None, seconds: float | None) -> None:
        self._let_go()
        self.slot.failed()
        if self.counts is not None:
            self.counts.failed(event_type or REST, seconds)

    def retried(self) -> None:
        if self.counts is not None:
            self.counts.retried()

    def _let_go(self) -> None:
        if self.watchdog is not None:
            faulthandler.cancel_dump_traceback_later()

    def disposed_of(self, event_type: str | None) -> None:
        self.slot.disposed_of()
        if self.counts is not None:
            self.counts.failed(event_type or REST, None)

    def errors(self, in_a_row: int) -> None:
        self.slot.errors(in_a_row)

    def took(self, entries: Sequence[Entry]) -> None:
        self.holding.took(entries)
        self.slot.held(len(entries))

    def held(self, count: int, unacknowledged: int = 0) -> None:
        self.holding.left(count)
        self.slot.held(count, unacknowledged)

    def inherited(self) -> Held:
        return self.holding.held

    def held_in_all(self) -> int:
        return self.holdings.count(range(len(self.slots)))

    def seen(self, entry_id: bytes) -> None:
        furthest = split_id(entry_id)
        # Pending and claimed entries are older than what was seen.
        if furthest > self.slot.furthest:
            self.slot.mark(*furthest)

    def furthest_seen(self) -> bytes:
        return _furthest_seen(self.slots, self.floor)


@attrs.frozen
class ServiceProgress(SlotProgress):
    """The same of a consumer without a supervisor, which tells the service manager itself that it lives."""

    service: ServiceManager = attrs.field(kw_only=True)

    def idle(self) -> None:
        SlotProgress.idle(self)
        self.service.keep_time()

    def begin(self, entry: Entry) -> None:
        self.service.keep_time()
        SlotProgress.begin(self, entry)


# Ids of the topic's stream and of the group's own one are told apart by a bit that no sequence number reaches.
_AGAIN = 1 << 63


def _item_of(entry: Entry) -> tuple[int, int]:
    milliseconds, sequence = split_id(entry.id)
    return milliseconds, sequence | _AGAIN if entry.origin else sequence


def id_of_item(item: Item) -> tuple[bytes, bool]:
    """Return the id of the entry, and whether it is one of the group's own stream."""
    return join_id(item.high, item.low & ~_AGAIN), bool(item.low & _AGAIN)


def death_by_entry(former: Death | None) -> EntryDeath | None:
    """Return how the worker's predecessor died of an entry; None if it had none in hand, or did not die of it."""
    if former is None or former.item is None or former.cause.too_many_errors:
        return None
    entry_id, again = id_of_item(former.item)
    timed_out = former.cause.timed_out_after
    if timed_out is not None:
        cause = f"timed out after {timed_out:.1f} s"
    elif former.cause.memory is not None:
        cause = f"its worker had {former.cause.memory}"
    elif former.cause.overstayed is not None:
        cause = f"not done within {former.cause.overstayed:.1f} s when its worker had to leave"
    elif former.cause.exit_code < 0:
        cause = f"killed its worker: {former.cause}"
    else:
        cause = f"ended its worker: {former.cause}"
    return EntryDeath(entry_id, again, cause, str(former.cause), former.stack)


@attrs.frozen
class SlotCrew:
    """
    The workers of a pool, by their slots, as their monitor sees them.

    Attributes:
        pool: name of the pool.
        own: slot of the monitor.
        slots: of the workers.
        holdings: of the workers.
        floor: the group's cursor at the start.
        wish: takes how many workers there should be.
    """

    pool: str
    own: Slot
    slots: Slots
    holdings: Holdings
    floor: bytes
    wish: Callable[[int], None]

    def load(self) -> tuple[int, int, int]:
        return len(self.slots), sum(map(_is_busy, self.slots)), self.slots.handled()

    def wish_for_workers(self, number: int) -> None:
        self.wish(number)

    def beat(self) -> None:
        self.own.idle()

    def in_hand(self) -> list[InHand]:
        return [
            InHand(shard_consumer_name(self.pool, shard), *id_of_item(item), slot.seconds_in_hand)
            for shard, slot in enumerate(self.slots)
            if (item := slot.item) is not None
        ]

    def held_in_all(self) -> int:
        return self.holdings.count(range(len(self.slots)))

    def workers(self) -> list[WorkerLook]:
        return [self._look_at(shard, slot) for shard, slot in enumerate(self.slots)]

    def seconds_unsupervised(self) -> float:
        return self.slots.seconds_unsupervised

    def deaths(self) -> dict[str, int]:
        return dict.fromkeys(COMMON_KINDS, 0) | self.slots.deaths.by_kind()

    def furthest_seen(self) -> bytes:
        return _furthest_seen(self.slots, self.floor)

    def _look_at(self, shard: int, slot: Slot) -> WorkerLook:
        item, seconds = slot.item, slot.seconds_in_hand
        entry_id, again = (None, False) if item is None else id_of_item(item)
        deaths, settled = self.slots.deaths.of(shard), slot.settled_count
        # Nobody has ever been here if there was no sign of life: then it counts from the pool's start.
        silent = time.monotonic() - slot.beat if slot.beat else self.slots.deaths.seconds_watched
        gone = slot.state is State.GONE
        return WorkerLook(
            shard=shard,
            pid=slot.pid,
            state=slot.state.name.lower(),
            entry=None if entry_id is None else entry_id.decode(),
            again=again,
            seconds=round(seconds, 3),
            handled=slot.handled_count,
            failed=slot.failed_count,
            errors=slot.consecutive_errors,
            restarts=deaths.number,
            last_death=deaths.last,
            seconds_since_death=deaths.seconds_ago,
            deaths_in_a_row=deaths.in_a_row if deaths.settled == settled else 0,
            # Its last sign of life may have been when it began what it died of.
            seconds_silent=max(0.0, min(silent, deaths.seconds_ago) if gone else silent),
        )


# Errors in a row from which a worker counts as in trouble: one or two may be due to the events.
_TROUBLE = 3


def _is_busy(slot: Slot) -> bool:
    """Whether a worker has something to do, and gets on with it."""
    has_work = slot.item is not None or slot.held_count > 0
    return has_work and slot.state is not State.GONE and slot.consecutive_errors < _TROUBLE


def _furthest_seen(slots: Slots, floor: bytes) -> bytes:
    return join_id(*max(slots.furthest(), split_id(floor)))
