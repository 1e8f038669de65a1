"""
How much memory a worker has for itself: its unique set size, without the pages that it shares with its siblings.

The supervisor measures, because it has nothing else to wait for: a monitor may wait for a server, and a worker that
grows does not look at itself. What the kernel counts anyway, the resident size, costs 10 microseconds; to tell unique
pages from shared ones it walks through all of them, three milliseconds a gigabyte. The resident size is never the
smaller one, so the other is only asked for when that is above the cap, and often only when it is near.

It ends and replaces nobody: ``shard.py`` and ``renewal.py`` do.
"""

from __future__ import annotations

import random
import time

import psutil

# Seconds between two looks at a worker, and at one that is above its cap: from there on each look counts.
_INTERVAL = 0.25
_SOON = 0.1

# Seconds for which a unique set size is believed while the resident one has grown by less than a twentieth.
_BELIEVED = 1.0
_GROWN = 1.05

# How far above its cap a worker may be until it is killed in the middle of an item. Up to there it may finish: a heavy
# item is no fault. Twice is where a container with room for one worker more is full.
HARD_FACTOR = 2.0

# Share of the cap by which that of each worker is lower at random, at the most: those that grow alike would leave
# together.
_JITTER = 0.1


class MemoryWatch:
    """
    Watches the memory of one worker.

    Arguments:
        pid: its process id.
        cap: bytes that it may have.
        patience: seconds from now in which it is not said to be worn.

    Attributes:
        used: its unique set size in bytes when it was measured last; 0 as long as it cannot be above the cap.
    """

    def __init__(self, pid: int, cap: int, patience: float) -> None:
        now = time.monotonic()
        self._pid = pid
        self._process: psutil.Process | None = None
        self._cap = cap
        self._soft = cap * (1 - _JITTER * random.random())
        self._patient_until = now + patience
        self._due = now + _INTERVAL
        self._measured_at = 0.0
        self._resident = 0
        self.used = 0

    @property
    def is_worn(self) -> bool:
        """Whether it is to be replaced."""
        return self.used > self._soft and time.monotonic() >= self._patient_until

    @property
    def is_excessive(self) -> bool:
        """Whether it is to be killed, if it has an item in hand."""
        return self.used > self._cap * HARD_FACTOR

    @property
    def next_look(self) -> float:
        """When it is to be looked at again, in seconds of the monotonic clock."""
        return self._due

    def look(self) -> None:
        """
        Measure, if that is due.

        Raises:
            psutil.AccessDenied: this process may not know.
        """
        now = time.monotonic()
        if now < self._due:
            return
        try:
            self._measure(now)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            # It is dead, and going to be buried.
            self.used = 0
        self._due = now + (_SOON if self.used > self._soft else _INTERVAL)

    def _measure(self, now: float) -> None:
        if self._process is None:
            self._process = psutil.Process(self._pid)
        resident = self._process.memory_info().rss
        if resident <= self._soft:
            self.used = 0
            return
        is_believed = now - self._measured_at < _BELIEVED and resident < self._resident * _GROWN
        if self.used <= self._soft and is_believed:
            return
        self.used = self._process.memory_full_info().uss
        self._resident, self._measured_at = resident, now
