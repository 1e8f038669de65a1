"""Keeps workers that die one after the other from flooding the log."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# Deaths in so many seconds that are said one by one. A few bad events are that many, and of these each is worth a line.
MOST = 20
PERIOD = 60.0

# Seconds between two lines that sum up the others.
INTERVAL = 10.0


class Unsaid(NamedTuple):
    """Deaths that were not said one by one: how many, in how many seconds, and the cause of the last."""

    deaths: int
    seconds: float
    cause: str


class CrashLoop:
    """Decides which deaths are said one by one. All times are of one clock, in seconds."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=MOST)
        self._quiet: set[int] = set()
        self._count = 0
        self._cause = ""
        self._since = 0.0

    def is_worth_saying(self, shard: int, cause: str, now: float) -> bool:
        """Take note of a death; return whether it is to be said. If not, so is the replacement."""
        is_flood = len(self._deaths) == MOST and now - self._deaths[0] < PERIOD
        if not is_flood:
            self._deaths.append(now)
            self._quiet.discard(shard)
            return True
        self._quiet.add(shard)
        if not self._count:
            self._since = now
        self._count += 1
        self._cause = cause
        return False

    def replacement_is_worth_saying(self, shard: int) -> bool:
        """Return whether the replacement of a worker is to be said: whether its death was."""
        return shard not in self._quiet

    def unsaid(self, now: float, *, all_of_it: bool = False) -> Unsaid | None:
        """Return what is to be summed up now; None if there is nothing, or if that is to wait."""
        if not self._count or (now - self._since < INTERVAL and not all_of_it):
            return None
        unsaid, self._count = Unsaid(self._count, now - self._since, self._cause), 0
        return unsaid
