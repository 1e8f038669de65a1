"""
What the monitor of a pool tells its workers, in memory that they share: a handful of numbers, written by one process.

A consumer without a pool has a board as well, on which nothing is ever written.
"""

from __future__ import annotations

import mmap
import time

_TAKE_OVER, _PENDING, _UNREAD, _LATER, _OLDEST_HIGH, _OLDEST_LOW, _LOOKS, _LOOKED_AT = range(8)
_FIELDS = 8


class Board:
    """Numbers in anonymous memory, which forked processes share. Each is aligned, so it is read whole."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, 8 * _FIELDS))
        self._numbers = memory.cast("Q")
        self._floats = memory.cast("d")

    # Written by the monitor.

    def call_for_take_over(self) -> None:
        """Say that somebody who is gone has left entries pending: workers look for them at once."""
        self._numbers[_TAKE_OVER] += 1

    def state_of_group(self, *, pending: int, unread: int, later: int, oldest: tuple[int, int]) -> None:
        """
        Leave word of what the group has, in case it is gone the next time that somebody looks.

        Arguments:
            pending: entries on its pending entries list.
            unread: entries that it has not read, as far as that is known; 0 if it is not.
            later: events that wait for a retry.
            oldest: the first id that any of these may have: what is older is settled.
        """
        numbers = self._numbers
        numbers[_PENDING], numbers[_UNREAD], numbers[_LATER] = pending, unread, later
        numbers[_OLDEST_LOW] = oldest[1]
        numbers[_OLDEST_HIGH] = oldest[0]
        numbers[_LOOKS] += 1
        self._floats[_LOOKED_AT] = time.monotonic()

    # Read by the workers, and by one monitor after the other.

    @property
    def calls_for_take_over(self) -> int:
        """How often the monitor has called."""
        return self._numbers[_TAKE_OVER]

    @property
    def has_state(self) -> bool:
        """Whether the monitor has left word of the group's state at all."""
        return self._numbers[_LOOKS] > 0

    @property
    def seconds_since_look(self) -> float | None:
        """Seconds since a monitor has found the group on the server; None if none ever has."""
        return time.monotonic() - self._floats[_LOOKED_AT] if self.has_state else None

    @property
    def pending(self) -> int:
        """Entries that were pending when the monitor looked last."""
        return self._numbers[_PENDING]

    @property
    def unread(self) -> int:
        """Entries that the group had not read when the monitor looked last."""
        return self._numbers[_UNREAD]

    @property
    def later(self) -> int:
        """Events that waited for a retry when the monitor looked last."""
        return self._numbers[_LATER]

    @property
    def oldest(self) -> tuple[int, int]:
        """The first id of what was pending, unread or waiting for a retry then."""
        return self._numbers[_OLDEST_HIGH], self._numbers[_OLDEST_LOW]
