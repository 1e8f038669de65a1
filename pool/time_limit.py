"""What is done to a process that goes on for too long: stacks first, then SIGKILL."""

from __future__ import annotations

import signal
import time
from typing import Any, NamedTuple

from pool.process import ChildProcess
from pool.stacks import Stacks

# Seconds that a process has to write its stacks before it is killed. It takes milliseconds.
_STACK_SECONDS = 0.2


class Matter(NamedTuple):
    """
    What goes on in a process.

    Attributes:
        what: anything that can be compared, such as an item, or the last sign of life.
        seconds: for how long it has been going on.
        limit: seconds that it may go on; infinite for as long as it takes.
    """

    what: Any
    seconds: float
    limit: float


class Verdict(NamedTuple):
    """What a process was killed for: the matter that went on for too long, for how many seconds, and its stacks."""

    what: Any
    seconds: float
    stack: str


class TimeLimit:
    """
    Ends a process in which one and the same matter goes on for too long.

    It is asked for its stacks at the limit and killed a moment later, unless the matter is another one by then. So a
    process is spared, too, that could do nothing while the whole machine or container was suspended.

    Arguments:
        stacks: where the process writes them.
    """

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks
        self._overdue: Any = None
        self._seconds = 0.0
        self._kill_at = 0.0
        self._killed = False

    def enforce(self, process: ChildProcess, matter: Matter) -> None:
        """Do what is due at this moment."""
        # What a process that is being killed still does tells nothing: the kernel takes its memory away, for one.
        if self._killed:
            return
        now = time.monotonic()
        if self._overdue is not None and self._overdue != matter.what:
            self._overdue = None
        if self._overdue is not None:
            if now >= self._kill_at:
                process.kill()
                self._killed = True
        elif matter.seconds >= matter.limit:
            self._stacks.request(process.pid)
            self._overdue, self._seconds, self._kill_at = matter.what, matter.seconds, now + _STACK_SECONDS

    def next_look(self, matter: Matter) -> float:
        """Return the time, of the monotonic clock, at which something may be due."""
        now = time.monotonic()
        if self._overdue is not None:
            return max(self._kill_at, now + _STACK_SECONDS / 10)
        return now + matter.limit - matter.seconds

    def verdict(self, exit_code: int) -> Verdict | None:
        """Return what a dead process was killed for; None if it did not die of that."""
        overdue, self._overdue, self._killed = self._overdue, None, False
        if overdue is None or exit_code != -signal.SIGKILL:
            return None
        return Verdict(overdue, self._seconds, self._stacks.read())
