"""
What the workers of a pool count for ``/metrics``, in memory that they share with their monitor.

Each shard has a part of its own, which its worker alone writes and its next worker goes on with. So no counter ever
goes down while the pool lives, whoever dies in it, and none needs a lock. A count costs a worker less than half a
microsecond; it is made only where there is a port to ask for it.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from itertools import accumulate

import attrs

from pool import NamedCounters, totals

# Event types that are told apart; what comes when so many were seen is counted as "other". A topic has a few.
MOST_EVENT_TYPES = 32

# Upper bounds of the histogram's buckets, in seconds: from handlers that only look at an event to those that take as
# long as an operator lets them.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_HANDLED, _FAILED = range(2)

_TYPES_BYTES = NamedCounters.size(MOST_EVENT_TYPES, 2)

# Numbers behind the counters by event type, the last of them the first of the buckets, of which the last has no bound.
_RETRIED, _SECONDS, _BUCKETS = range(3)
_NUMBERS = _BUCKETS + len(BOUNDS) + 1
_SHARD_BYTES = _TYPES_BYTES + 8 * _NUMBERS


class WorkerCounts:
    """
    What the workers of one shard count, one after the other.

    Arguments:
        memory: of the shard.
    """

    def __init__(self, memory: memoryview) -> None:
        self._by_type = NamedCounters(memory[:_TYPES_BYTES], 2)
        self._numbers = memory[_TYPES_BYTES:].cast("Q")
        self._floats = memory[_TYPES_BYTES:].cast("d")

    def handled(self, event_type: str, seconds: float) -> None:
        """Count an event that was handled, and how long that took."""
        self._by_type.add_one(event_type, _HANDLED)
        self._numbers[_BUCKETS + bisect_left(BOUNDS, seconds)] += 1
        self._floats[_SECONDS] += seconds

    def failed(self, event_type: str, seconds: float | None) -> None:
        """Count one that was not, and how long that took; None if no receiver was called, or nobody knows."""
        self._by_type.add_one(event_type, _FAILED)
        if seconds is not None:
            self._numbers[_BUCKETS + bisect_left(BOUNDS, seconds)] += 1
            self._floats[_SECONDS] += seconds

    def retried(self) -> None:
        """Count an event that was put aside for a retry."""
        self._numbers[_RETRIED] += 1

    def read(self) -> tuple[NamedCounters, int, float, list[int]]:
        """Return what was counted: by type, retries, seconds, and calls by bucket."""
        return self._by_type, self._numbers[_RETRIED], self._floats[_SECONDS], list(self._numbers[_BUCKETS:])


@attrs.frozen
class Totals:
    """
    What the workers of a pool have counted since its start.

    Attributes:
        handled: events that were handled, by event type.
        failed: events that were not, by event type.
        retried: events that were put aside for a retry.
        buckets: calls of receivers that took no longer than each of BOUNDS, and, last, all of them.
        seconds: that they took together.
    """

    handled: dict[str, int]
    failed: dict[str, int]
    retried: int
    buckets: list[int]
    seconds: float


class PoolCounts:
    """
    What the workers of a pool count.

    Arguments:
        shards: number of shards that the pool may have. Memory is taken only for those that it has.
    """

    def __init__(self, shards: int) -> None:
        self._memory = memoryview(mmap.mmap(-1, shards * (8 + _SHARD_BYTES)))
        # Whether a shard has ever counted: looking at memory that nobody has written to would take it.
        self._used = self._memory[: 8 * shards].cast("Q")

    def of_worker(self, shard: int) -> WorkerCounts:
        """Return what the worker that has this shard counts with; called in its process."""
        self._used[shard] = 1
        return self._of(shard)

    def totals(self) -> Totals:
        """Return what all workers have counted, those included whose shards there are no more."""
        found = [self._of(shard).read() for shard, used in enumerate(self._used) if used]
        by_type = totals(tables for tables, *_ in found)
        empty = [0] * (len(BOUNDS) + 1)
        in_buckets = [sum(column) for column in zip(empty, *(buckets for *_, buckets in found), strict=True)]
        return Totals(
            handled={name: counters[_HANDLED] for name, counters in by_type.items() if counters[_HANDLED]},
            failed={name: counters[_FAILED] for name, counters in by_type.items() if counters[_FAILED]},
            retried=sum(retried for _, retried, _, _ in found),
            buckets=list(accumulate(in_buckets)),
            seconds=sum(seconds for _, _, seconds, _ in found),
        )

    def _of(self, shard: int) -> WorkerCounts:
        start = 8 * len(self._used) + shard * _SHARD_BYTES
        return WorkerCounts(self._memory[start : start + _SHARD_BYTES])
