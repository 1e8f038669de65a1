"""
The graceful stop of a pool, from its begin until every child is gone.

1. The workers are asked to stop. The monitor goes on meanwhile, because they still have items in hand.
2. Those that are left right before the deadline are asked for their Python stacks, and at the deadline killed.
3. When the last one is gone the monitor is asked. It has what is left until the deadline, but a second at least, for
   what it has to put in order, and is killed then.

Nobody is replaced, and who is killed was not in time: nothing else is done to a monitor that is frozen.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence

from pool.events import Cause, Event, WorkerDied
from pool.monitor import MonitorSeat
from pool.seat import kill, living
from pool.shard import Shard

# Seconds that the monitor has at the least, even if the workers took all the time.
_MONITOR_SECONDS = 1.0

# Seconds before the deadline at which stacks are asked for, or half of the time if that is less. It takes milliseconds.
_STACK_SECONDS = 0.2


class GracefulStop:
    """
    One stop under way. Creating it begins the stop.

    Arguments:
        timeout: seconds from now to the deadline.
        shards, monitor: the children to stop.
        on_event: is told which workers had to be killed, what they had in hand, and where they were.
    """

    def __init__(
        self,
        timeout: float,
        shards: Sequence[Shard],
        monitor: MonitorSeat | None,
        on_event: Callable[[Event], None],
    ) -> None:
        self._on_event = on_event
        self._shards = shards
        self._monitor = monitor
        self._began = time.monotonic()
        self._deadline = self._began + timeout
        self._stacks_due = self._deadline - min(_STACK_SECONDS, timeout / 2)
        self._asked_for_stacks: list[Shard] = []
        self._monitor_deadline: float | None = None
        self.killed = 0
        for worker in living(shards):
            worker.terminate()

    @property
    def seconds(self) -> float:
        """For how long it has been under way."""
        return time.monotonic() - self._began

    def keep_time(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if living(self._shards):
            if now >= self._stacks_due and not self._asked_for_stacks:
                self._ask_for_stacks()
            if now < self._deadline:
                return
            self._kill_workers(Cause(-signal.SIGKILL, overstayed=self.seconds))
        if self._monitor is None or self._monitor.process is None:
            return
        if self._monitor_deadline is None:
            self._monitor_deadline = max(self._deadline, now + _MONITOR_SECONDS)
            self._monitor.ask_to_leave(self._monitor_deadline)
        elif now >= self._monitor_deadline:
            kill([self._monitor])

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which something is due; in the past when every child is gone."""
        if living(self._shards):
            return self._deadline if self._asked_for_stacks else self._stacks_due
        if self._monitor is None or self._monitor.process is None:
            return -math.inf
        return self._deadline if self._monitor_deadline is None else self._monitor_deadline

    def kill_all(self) -> None:
        """Kill every child that is left."""
        # Whatever they had in hand, it is not what has killed them.
        self._kill_workers(Cause(-signal.SIGKILL, overstayed=self.seconds))
        if self._monitor is not None:
            kill([self._monitor])

    def _ask_for_stacks(self) -> None:
        for shard in self._shards:
            if shard.process is not None:
                shard.stacks.request(shard.process.pid)
                self._asked_for_stacks.append(shard)

    def _kill_workers(self, cause: Cause) -> None:
        had = {
            shard: (shard.process.pid, shard.slot.item, shard.slot.seconds_in_hand)
            for shard in self._shards
            if shard.process is not None
        }
        killed = kill(self._shards)
        self.killed += len(killed)
        for shard, (pid, item, seconds) in had.items():
            if shard in killed:
                stack = shard.stacks.read() if shard in self._asked_for_stacks else ""
                self._on_event(WorkerDied(shard.number, pid, cause, item, seconds, None, stack))
