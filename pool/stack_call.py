"""
Where every process of a pool is, asked for by an operator: the Python stacks of all children and of the supervisor.

The children write them straight from a signal handler in C (``stacks.py``), also one that hangs in C code, and go on as
if nothing had happened: system calls are taken up again, but for C's own sleep() and others that every signal ends.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pool.events import Event, StackTaken
from pool.process import ChildProcess
from pool.seat import Seat

# Seconds that a child has to answer. It takes milliseconds; one that is suspended never does.
_ANSWER_SECONDS = 1.0

# Seconds between two looks. What has not grown from one to the next is whole.
_LOOK_SECONDS = 0.05


@dataclass
class _Asked:
    seat: Seat
    process: ChildProcess
    stack: str = ""


class StackCall:
    """
    One call. Creating it asks, and tells where the supervisor itself is.

    Arguments:
        seats: whose processes are asked.
        tell: called with a StackTaken for each of them.
    """

    def __init__(self, seats: Iterable[Seat], tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._asked = [_Asked(seat, seat.process) for seat in seats if seat.process is not None]
        for asked in self._asked:
            asked.seat.stacks.request(asked.process.pid)
        self._deadline = time.monotonic() + _ANSWER_SECONDS
        self._next_look = time.monotonic() + _LOOK_SECONDS
        tell(StackTaken("supervisor", os.getpid(), "".join(traceback.format_stack())))

    @property
    def is_over(self) -> bool:
        """Whether all have answered, or had time to."""
        return not self._asked

    def keep_time(self) -> None:
        """Look for answers, if that is due."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        self._asked = [asked for asked in self._asked if not self._look_at(asked, is_last=now >= self._deadline)]

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which something is due."""
        return self._next_look

    def _look_at(self, asked: _Asked, *, is_last: bool) -> bool:
        """Tell what a child has answered, once it is whole; return whether there is nothing to wait for any more."""
        if asked.seat.process is not asked.process:
            # It is gone, and that is told elsewhere.
            return True
        stack = asked.seat.stacks.read()
        if is_last or (stack and stack == asked.stack):
            self._tell(StackTaken(asked.seat.role, asked.process.pid, stack, asked.seat.shard))
            return True
        asked.stack = stack
        return False
