"""
How many workers the monitor wants, in memory that it shares with the supervisor.

Whether it comes true is up to the supervisor.
"""

from __future__ import annotations

import mmap

_NUMBER_BITS = 32


class Wish:
    """
    One aligned number, so that it is read whole: how many wishes there were, and in its lower half the last of them.

    A monitor that takes the place of another one goes on counting.
    """

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self._taken = 0

    def say(self, workers: int) -> None:
        """Wish for so many workers; called by the monitor."""
        self._numbers[0] = ((self._numbers[0] >> _NUMBER_BITS) + 1) << _NUMBER_BITS | workers

    def take(self) -> int | None:
        """Return how many workers are wished for, None if there was no wish since the last call; by the supervisor."""
        number = self._numbers[0]
        if number == self._taken:
            return None
        self._taken = number
        return number & (1 << _NUMBER_BITS) - 1
