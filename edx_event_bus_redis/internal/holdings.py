"""
The ids of what the workers of a pool have read and not finished, in memory that they share.

It outlives the worker: who replaces it learns what it had, also when Redis has forgotten that.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence

from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.pace import BATCH_LIMIT
from edx_event_bus_redis.internal.protocols import Held

# Two numbers of 64 bits, what is between them, and what is between two ids.
_ID_BYTES = 20 + 1 + 20 + 1
_TEXT_BYTES = (BATCH_LIMIT * _ID_BYTES + 7) // 8 * 8

# Positions of the numbers before the text: entries not finished, bytes of the text, whether they are delivered again.
_LEFT, _LENGTH, _AGAIN = range(3)
_NUMBERS_BYTES = 8 * 3
_SHARD_BYTES = _NUMBERS_BYTES + _TEXT_BYTES


class Holding:
    """What one shard has. Written by its worker, one at a time, and read by the next one and by its siblings."""

    def __init__(self, memory: memoryview) -> None:
        self._numbers = memory[:_NUMBERS_BYTES].cast("Q")
        self._text = memory[_NUMBERS_BYTES:]

    def took(self, entries: Sequence[Entry]) -> None:
        """Take note of what was read, BATCH_LIMIT entries of one stream at the most; those before are finished."""
        text = b" ".join([entry.id for entry in entries])
        numbers = self._numbers
        numbers[_LEFT] = 0
        self._text[: len(text)] = text
        numbers[_LENGTH] = len(text)
        numbers[_AGAIN] = bool(entries) and entries[0].origin is not None
        numbers[_LEFT] = len(entries)

    def left(self, count: int) -> None:
        """Take note that all but the last so many are finished; what is finished stays so."""
        self._numbers[_LEFT] = min(count, self._numbers[_LEFT])

    @property
    def count(self) -> int:
        """How many are not finished."""
        return self._numbers[_LEFT]

    @property
    def held(self) -> Held:
        """What is not finished. To be asked for when its worker is dead, or by itself."""
        ids = bytes(self._text[: self._numbers[_LENGTH]]).split()
        return Held(ids[len(ids) - self.count :], bool(self._numbers[_AGAIN]))


class Holdings:
    """
    What the shards of a pool have.

    Arguments:
        most: number of shards that there may be.
    """

    def __init__(self, most: int) -> None:
        whole = memoryview(mmap.mmap(-1, most * _SHARD_BYTES))
        self._shards = [Holding(whole[n * _SHARD_BYTES : (n + 1) * _SHARD_BYTES]) for n in range(most)]

    def __getitem__(self, shard: int) -> Holding:
        return self._shards[shard]

    def count(self, shards: Iterable[int]) -> int:
        """Return how many entries these shards have, those included that the dead have left and nobody has taken up."""
        return sum(self._shards[shard].count for shard in shards)
