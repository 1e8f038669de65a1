"""
The supervisor's handle of the monitor, and the watch over it.

The monitor is the child that looks at its siblings instead of handling items. The pool needs it less than it needs the
workers: whatever becomes of it harms no worker and never makes the pool give up. It is replaced as often as it dies,
and killed when it gives no sign of life, be it frozen, or hanging in C code.

What the monitor does is given by whoever makes the pool.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pool.child import Monitor, MonitorPost, run_monitor
from pool.config import PoolConfig
from pool.events import Cause, MonitorStarted
from pool.process import ChildProcess
from pool.seat import Hooks, Seat
from pool.slots import Slots
from pool.stacks import Stacks
from pool.stop import LeavingTime
from pool.time_limit import Matter
from pool.wish import Wish

# What goes on in a monitor that is to give way.
_LEAVING = "leaving"


@dataclass(frozen=True)
class DeadMonitor:
    """
    What is known of a monitor after its death.

    Attributes:
        delay: seconds that its replacement has to wait.
        gave_way: whether it was asked to give way and did.
    """

    pid: int
    cause: Cause
    stack: str
    delay: float
    gave_way: bool = False


class MonitorSeat(Seat):
    """The place of the monitor, one process after the other. ``wish``: how many workers it wants."""

    def __init__(self, slots: Slots, config: PoolConfig, monitor: Monitor, hooks: Hooks) -> None:
        stacks = Stacks()
        slot = Slots(1)[0]
        super().__init__(f"{config.name}.monitor", None, slot, stacks, config.backoff, hooks)
        self._config = config
        self._leaving_time = LeavingTime()
        self.wish = Wish()
        self._post = MonitorPost(slot, slots, stacks, self._leaving_time, self.wish, monitor)
        self._failures = 0
        self._reason = ""
        self._leaving_since: float | None = None

    def give_way(self, reason: str) -> None:
        """Have the monitor leave for another one, as soon as it can; ``reason`` is the name of a signal."""
        if self.process is not None:
            self._reason, self._leaving_since = reason, time.monotonic()
            self._leaving_time.set(self._leaving_since + self._config.monitor_timeout, hands_over=True)
            self.process.terminate()

    def ask_to_leave(self, deadline: float) -> None:
        """Have the monitor leave until then, in seconds of the monotonic clock."""
        self._leaving_time.set(deadline)
        if self.process is not None:
            self.process.terminate()

    def bury(self) -> DeadMonitor | None:
        """Return what is known of the monitor if it is dead; None while it lives, or when there is none."""
        process = self._bury()
        if process is None:
            return None
        assert process.exit_code is not None
        verdict = self._limit.verdict(process.exit_code)
        cause, stack = Cause(process.exit_code), ""
        if verdict is not None and verdict.what == _LEAVING:
            cause, stack = Cause(process.exit_code, overstayed=verdict.seconds), verdict.stack
        elif verdict is not None and verdict.what == self._last_sign(process):
            cause, stack = Cause(process.exit_code, silent_for=verdict.seconds), verdict.stack
        gave_way = self._leaving_since is not None and process.exit_code == 0
        if not gave_way:
            self._failures = 1 if self._did_well(process) else self._failures + 1
            self._reason = ""
        self._leaving_since = None
        self.slot.gone()
        delay = 0.0 if gave_way else self._config.backoff.delay(self._failures)
        return DeadMonitor(process.pid, cause, stack, delay, gave_way)

    def _did_well(self, process: ChildProcess) -> bool:
        """
        Whether its death begins a new row, so that it is replaced at once.

        It is if it gave signs of life for as long as it may give none: that many seconds between two forks are little
        work, and a monitor that only works now and then is better than one that waits. One that hung from its first
        moment gave none, however long it took to be noticed.
        """
        gave_signs_for = self._last_sign(process) - process.started
        return gave_signs_for >= self._config.monitor_timeout or process.age >= self._config.stable_after

    def _fork_next(self) -> None:
        self._leaving_time.clear()
        process = self._fork(run_monitor, self._post)
        if process is not None:
            self._hooks.on_event(MonitorStarted(process.pid, self._former_pid, self._reason))
            self._reason = ""

    def _matter(self, process: ChildProcess) -> Matter:
        sign = self._last_sign(process)
        now, limit = time.monotonic(), self._config.monitor_timeout
        if self._leaving_since is not None and self._leaving_since < sign:
            return Matter(_LEAVING, now - self._leaving_since, limit)
        return Matter(sign, now - sign, limit)
