"""
Shared memory between a pool's processes: one slot a shard, written by its child alone, read by all.

Every field is one aligned 64-bit number, so that a reader sees the old or the new value and never a mix; fields may be
from different moments. An item is a pair of unsigned 64-bit numbers, wide enough for the ids of most queues.
"""

from __future__ import annotations

import enum
import mmap
import time
from collections.abc import Iterator
from typing import NamedTuple

from pool.deaths import Deaths

_FIELDS = 16
_SLOT_BYTES = _FIELDS * 8

# Position of each field in its slot. The last two hold floats: seconds of the monotonic clock, which is one clock for
# all processes of a machine.
_STATE, _PID, _ITEM_HIGH, _ITEM_LOW, _HANDLED, _FAILED, _ERRORS, _MARK_HIGH, _MARK_LOW, _HELD, _SETTLED, _UNREPORTED = (
    range(12)
)
_BEAT, _SINCE = 14, 15


# Seconds that the supervisor sleeps at the most: so often, and no oftener, one that hangs can be told from one that has
# nothing to do.
SUPERVISOR_SECONDS = 5.0


class State(enum.IntEnum):
    """What a child is doing."""

    GONE = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3


class Item(NamedTuple):
    """The id of one piece of work, as two unsigned 64-bit numbers."""

    high: int
    low: int


class Slot:
    """
    One shard's slot.

    Counts (handled, failed) go on over replacements: they are the shard's, not the process's.
    """

    __slots__ = ("_floats", "_numbers", "memory")

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self._numbers = memory.cast("Q")
        self._floats = memory.cast("d")

    # Written by the child.

    def started(self, pid: int) -> None:
        """Begin a process's life in this slot: nothing in hand, nothing held, no errors."""
        numbers = self._numbers
        numbers[_PID] = pid
        numbers[_ITEM_HIGH] = numbers[_ITEM_LOW] = numbers[_ERRORS] = numbers[_HELD] = numbers[_UNREPORTED] = 0
        self._floats[_BEAT] = time.monotonic()
        numbers[_STATE] = State.STARTING

    def idle(self) -> None:
        """Say that nothing is in hand and that the child is alive."""
        self._floats[_BEAT] = time.monotonic()
        self._numbers[_STATE] = State.IDLE

    def begin(self, high: int, low: int) -> None:
        """Take an item in hand. What kills the process from here on is blamed on it."""
        numbers = self._numbers
        numbers[_ITEM_HIGH] = high
        numbers[_ITEM_LOW] = low
        self._floats[_SINCE] = self._floats[_BEAT] = time.monotonic()
        numbers[_STATE] = State.BUSY

    def succeeded(self) -> None:
        """Count the item in hand as handled and let go of it; the row of errors is over."""
        numbers = self._numbers
        self._floats[_BEAT] = time.monotonic()
        numbers[_STATE] = State.IDLE
        numbers[_HANDLED] += 1
        numbers[_SETTLED] += 1
        numbers[_ERRORS] = 0

    def failed(self) -> None:
        """Count the item in hand as failed and let go of it."""
        numbers = self._numbers
        self._floats[_BEAT] = time.monotonic()
        numbers[_STATE] = State.IDLE
        numbers[_FAILED] += 1

    def disposed_of(self) -> None:
        """Count an item that killed workers as out of the way: replacements are not in vain. It is failed as well."""
        self.failed()
        self._numbers[_SETTLED] += 1

    def errors(self, in_a_row: int) -> None:
        """Record how many errors in a row the child has seen."""
        self._numbers[_ERRORS] = in_a_row

    def held(self, count: int, unreported: int = 0) -> None:
        """Record how many items the child has taken and not finished, and how many it has finished and not said so."""
        self._numbers[_UNREPORTED] = unreported
        self._numbers[_HELD] = count

    def mark(self, high: int, low: int) -> None:
        """Record the furthest item that the child has seen; it must not go back."""
        # The low half first: who reads between the two may get an older item, never one that nobody has seen.
        self._numbers[_MARK_LOW] = low
        self._numbers[_MARK_HIGH] = high

    # Written by the supervisor, when no child lives in the slot.

    def gone(self) -> None:
        """Say that no process lives in this slot."""
        self._numbers[_STATE] = State.GONE

    # Read by all.

    @property
    def state(self) -> State:
        """What the child was last doing."""
        return State(self._numbers[_STATE])

    @property
    def pid(self) -> int:
        """Process id of the child that lives here or lived here last."""
        return self._numbers[_PID]

    @property
    def item(self) -> Item | None:
        """The item in hand, None when there is none. Never half of one item and half of the next."""
        numbers = self._numbers
        while numbers[_STATE] == State.BUSY:
            item = Item(numbers[_ITEM_HIGH], numbers[_ITEM_LOW])
            # The child lets go of one item before it writes the next: what reads the same while it is busy is one.
            if numbers[_STATE] == State.BUSY and item == (numbers[_ITEM_HIGH], numbers[_ITEM_LOW]):
                return item
        return None

    @property
    def seconds_in_hand(self) -> float:
        """For how long the item has been in hand; 0 when there is none."""
        return time.monotonic() - self._floats[_SINCE] if self._numbers[_STATE] == State.BUSY else 0.0

    @property
    def handled_count(self) -> int:
        """Items handled in this shard since the pool's start."""
        return self._numbers[_HANDLED]

    @property
    def settled_count(self) -> int:
        """Items that this shard has handled or disposed of since the pool's start."""
        return self._numbers[_SETTLED]

    @property
    def failed_count(self) -> int:
        """Items failed in this shard since the pool's start."""
        return self._numbers[_FAILED]

    @property
    def consecutive_errors(self) -> int:
        """Errors in a row that the child has seen."""
        return self._numbers[_ERRORS]

    @property
    def held_count(self) -> int:
        """Items that the child has taken and not finished."""
        return self._numbers[_HELD]

    @property
    def left_count(self) -> int:
        """Items that somebody gets again if the child is gone: not finished, or finished and nobody knows it."""
        return self._numbers[_HELD] + self._numbers[_UNREPORTED]

    @property
    def furthest(self) -> Item:
        """The furthest item that this shard has seen, (0, 0) if none."""
        return Item(self._numbers[_MARK_HIGH], self._numbers[_MARK_LOW])

    @property
    def beat(self) -> float:
        """When the child last said that it is alive, in seconds of the monotonic clock."""
        return self._floats[_BEAT]


class Slots:
    """
    The slots of a pool, in memory that forked children share.

    Arguments:
        count: number of shards, from 1.
        most: number of shards that there may be; None for no more than ``count``.

    The memory is anonymous: it has no name that could outlive the processes. Every slot can be had by its number; only
    those of shards that the pool has at present are counted and iterated over.

    Attributes:
        deaths: of the children, written by the supervisor.
    """

    def __init__(self, count: int, most: int | None = None) -> None:
        most = count if most is None else most
        self._memory = mmap.mmap(-1, most * _SLOT_BYTES + 16)
        whole = memoryview(self._memory)
        self.deaths = Deaths(most)
        self._slots = tuple(Slot(whole[n * _SLOT_BYTES : (n + 1) * _SLOT_BYTES]) for n in range(most))
        self._present = whole[most * _SLOT_BYTES : most * _SLOT_BYTES + 8].cast("Q")
        self._supervised = whole[most * _SLOT_BYTES + 8 :].cast("d")
        self.resize(count)
        self.supervise()

    def resize(self, count: int) -> None:
        """Say how many shards the pool has; called by the supervisor, before a new one begins, after one has ended."""
        self._present[0] = count

    def supervise(self) -> None:
        """Give a sign of life; called by the supervisor, more often than every SUPERVISOR_SECONDS."""
        self._supervised[0] = time.monotonic()

    @property
    def seconds_unsupervised(self) -> float:
        """Since the supervisor gave its last sign of life."""
        return time.monotonic() - self._supervised[0]

    def __getitem__(self, shard: int) -> Slot:
        return self._slots[shard]

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots[: len(self)])

    def __len__(self) -> int:
        return self._present[0]

    def handled(self) -> int:
        """Return how many items all shards together have handled, those included that have ended."""
        return sum(slot.handled_count for slot in self._slots)

    def furthest(self) -> Item:
        """Return the furthest item that any shard has ever seen, (0, 0) if none."""
        return max(slot.furthest for slot in self._slots)
