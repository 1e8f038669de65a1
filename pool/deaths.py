"""What the workers of a pool have died of, in memory that forked children share; written by the supervisor alone."""

from __future__ import annotations

import math
import mmap
import time
from typing import NamedTuple

from pool.counters import NamedCounters, totals

_TEXT_BYTES = 80
_BEGUN, _COUNT, _AT, _ROW, _SETTLED, _LENGTH = range(6)
_FIELDS = 6
_SHARD_BYTES = 8 * _FIELDS + _TEXT_BYTES

# Kinds of causes that are told apart: more than what workers die of in practice.
_KINDS = 32

# Seconds after which a death does not belong to the row of those before it, as little as anybody did in between.
_ROW_SECONDS = 300.0


class ShardDeaths(NamedTuple):
    """
    The deaths of one shard's workers.

    Attributes:
        number: how many.
        last: what the last one died of, None if none died, or if that is being written just now.
        seconds_ago: since the last death; infinite if there was none.
        in_a_row: deaths up to the last, no more than minutes apart, between which the shard has settled nothing.
        settled: items that the shard had settled at the last death.
    """

    number: int
    last: str | None
    seconds_ago: float
    in_a_row: int
    settled: int


class Deaths:
    """
    The deaths of a pool's workers, but for those that leave when the pool stops.

    Arguments:
        shards: number of shards that the pool may have.
    """

    def __init__(self, shards: int) -> None:
        kinds = NamedCounters.size(_KINDS, 1)
        whole = memoryview(mmap.mmap(-1, kinds + shards * _SHARD_BYTES))
        self._kinds = NamedCounters(whole[:kinds], 1)
        self._shards = [whole[kinds + n * _SHARD_BYTES :][:_SHARD_BYTES] for n in range(shards)]
        self._began = time.monotonic()

    def record(self, shard: int, cause: str, kind: str, settled: int) -> None:
        """
        Record a death; called by the supervisor.

        Arguments:
            shard: whose worker died.
            cause: in words.
            kind: the same in words of which there are few.
            settled: items that the shard has settled up to now.
        """
        memory = self._shards[shard]
        numbers, floats = memory.cast("Q"), memory.cast("d")
        now, text = time.monotonic(), cause.encode(errors="replace")[:_TEXT_BYTES]
        is_next = numbers[_COUNT] > 0 and numbers[_SETTLED] == settled and now - floats[_AT] < _ROW_SECONDS
        numbers[_BEGUN] += 1
        memory[8 * _FIELDS :][: len(text)] = text
        numbers[_LENGTH], numbers[_SETTLED], floats[_AT] = len(text), settled, now
        numbers[_ROW] = numbers[_ROW] + 1 if is_next else 1
        numbers[_COUNT] += 1
        self._kinds.add_one(kind, 0)

    def of(self, shard: int) -> ShardDeaths:
        """Return the deaths of a shard's workers since the pool's start."""
        memory = self._shards[shard]
        numbers, floats = memory.cast("Q"), memory.cast("d")
        count = numbers[_COUNT]
        text = bytes(memory[8 * _FIELDS :][: numbers[_LENGTH]])
        # What was written meanwhile may be half of one text and half of the next.
        last = text.decode(errors="replace") if count and numbers[_BEGUN] == count else None
        seconds_ago = max(0.0, time.monotonic() - floats[_AT]) if count else math.inf
        return ShardDeaths(count, last, seconds_ago, numbers[_ROW], numbers[_SETTLED])

    def by_kind(self) -> dict[str, int]:
        """Return how many workers of the pool have died since its start, by the kind of cause."""
        return {kind: count for kind, (count,) in totals([self._kinds]).items()}

    @property
    def seconds_watched(self) -> float:
        """For how long deaths have been recorded: since the pool's start."""
        return time.monotonic() - self._began
