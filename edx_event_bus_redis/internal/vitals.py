"""
What workers take and achieve, as their monitor measures it: events a second, memory, and time of the processor.

Processor times are read every second, which costs some 10 microseconds a worker. To tell the memory that a process has
to itself, the system goes through all its pages and holds up whoever wants new ones in it: a quarter of a millisecond
for one of 55 MB, and more in proportion. So that is done for one worker a second at the most, however many there are,
and not for the same one again within a quarter of a minute.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from edx_event_bus_redis.internal.protocols import WorkerLook

# Seconds over which rates are taken: long enough for a number that can be read, short enough to see a change.
_WINDOW = 5.0

# Seconds after which the memory of a worker is measured again.
_MEMORY_INTERVAL = 15.0


class Vitals(NamedTuple):
    """
    What one worker takes and achieves; None where that is not known, or not yet.

    Attributes:
        rate: events that it has handled a second, over the last seconds.
        memory: bytes that it has to itself (unique set size), when they were measured last.
        cpu: percent of one processor that it has used, over the last seconds.
    """

    rate: float | None
    memory: int | None
    cpu: float | None


class VitalSigns:
    """Keeps what it takes to tell the vitals of a pool's workers; to be asked about once a second."""

    def __init__(self) -> None:
        self._watches: dict[int, _Watch] = {}

    def measure(self, workers: Sequence[WorkerLook]) -> list[Vitals]:
        """Return the vitals of each of these workers."""
        self._watches = {each.shard: self._watches.get(each.shard) or _Watch() for each in workers}
        watches = list(self._watches.values())
        for watch, worker in zip(watches, workers, strict=True):
            watch.look(worker)
        # Whose was measured longest ago.
        next_one = min(watches, key=lambda each: each.memory_at, default=None)
        if next_one is not None and time.monotonic() - next_one.memory_at >= _MEMORY_INTERVAL:
            next_one.measure_memory()
        return [watch.vitals() for watch in watches]


class _Look(NamedTuple):
    at: float
    handled: int
    cpu: float | None


class _Watch:
    """The watch over one shard."""

    def __init__(self) -> None:
        self._process: psutil.Process | None = None
        self._pid = 0
        self._looks: deque[_Look] = deque()
        self._memory: int | None = None
        self.memory_at = -math.inf

    def look(self, worker: WorkerLook) -> None:
        pid = 0 if worker.state == "gone" else worker.pid
        if pid != self._pid:
            self._begin(pid)
        now = time.monotonic()
        # One look from before the window stays, so that the window is always covered.
        while len(self._looks) > 1 and self._looks[1].at <= now - _WINDOW:
            self._looks.popleft()
        self._looks.append(_Look(now, worker.handled, self._cpu_seconds()))

    def vitals(self) -> Vitals:
        rate = _growth([(look.at, look.handled) for look in self._looks])
        cpu = _growth([(look.at, look.cpu) for look in self._looks if look.cpu is not None])
        return Vitals(
            None if rate is None else round(rate, 1), self._memory, None if cpu is None else round(100 * cpu, 1)
        )

    def measure_memory(self) -> None:
        self.memory_at = time.monotonic()
        try:
            self._memory = None if self._process is None else self._process.memory_full_info().uss
        except psutil.Error:
            # Gone just now, or the system does not let us.
            self._memory = None

    def _begin(self, pid: int) -> None:
        """Begin with another process: what its predecessor took says nothing of it, what the shard achieved does."""
        self._pid, self._process, self._memory, self.memory_at = pid, None, None, -math.inf
        self._looks = deque(look._replace(cpu=None) for look in self._looks)
        if pid:
            try:
                self._process = psutil.Process(pid)
            except psutil.Error:
                # Gone just now: the next look finds another one.
                self._pid = 0

    def _cpu_seconds(self) -> float | None:
        if self._process is None:
            return None
        try:
            times = self._process.cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)


def _growth(values: Sequence[tuple[float, float]]) -> float | None:
    """Return by how much a number grows in a second; None if it was seen once only, or never."""
    if len(values) < 2:
        return None
    (began, first), (ended, last) = values[0], values[-1]
    return (last - first) / (ended - began) if ended > began else None
