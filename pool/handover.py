"""
What a supervisor and the workers of one shard tell each other while one of them gives way to the next.

1. The successor is ready; it has touched neither the slot nor what its predecessor has.
2. The supervisor has the predecessor leave: it finishes what it has in hand and nothing more.
3. The predecessor is gone. The supervisor says that it is the successor's turn.
"""

from __future__ import annotations

import mmap
import os
import signal

_READY, _LEAVE, _TURN, _OWED, _WORN = range(5)
_FIELDS = 8


class Handover:
    """
    Numbers in memory that forked children share, each aligned, so that it is read whole, and with one writer at a time.

    A worker is named by its place in the row of the shard's workers, from 1: unlike a process id it never comes again.
    """

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * _FIELDS)).cast("Q")

    # Written by workers.

    def say_ready(self, worker: int, supervisor: int) -> None:
        """Say that a successor can begin as soon as it is its turn."""
        self._numbers[_READY] = worker
        wake(supervisor)

    def say_worn(self, worker: int, supervisor: int) -> None:
        """Say that a worker has handled as many items as one may and wants to be replaced."""
        self._numbers[_WORN] = worker
        wake(supervisor)

    # Written by the supervisor.

    def ask_to_leave(self, worker: int) -> None:
        """Say that a worker is to leave what it has not begun to another one; it still has to be sent SIGTERM."""
        self._numbers[_LEAVE] = worker

    def give_turn(self, worker: int, *, owed: bool) -> None:
        """Let a successor begin; ``owed`` says whether it has to know of the death before its predecessor."""
        self._numbers[_OWED] = owed
        self._numbers[_TURN] = worker

    # Read by all.

    def is_ready(self, worker: int) -> bool:
        """Whether a successor is ready."""
        return self._numbers[_READY] == worker

    def is_worn(self, worker: int) -> bool:
        """Whether a worker wants to be replaced."""
        return self._numbers[_WORN] == worker

    def is_to_leave(self, worker: int) -> bool:
        """Whether a worker leaves what it has not begun to another one."""
        return self._numbers[_LEAVE] == worker

    def has_turn(self, worker: int) -> bool:
        """Whether it is a successor's turn."""
        return self._numbers[_TURN] == worker

    @property
    def owed(self) -> bool:
        """Whether the successor whose turn it is has to know of the death before its predecessor."""
        return bool(self._numbers[_OWED])


def wake(supervisor: int) -> None:
    """Have the supervisor look at what a child has written; called in the child."""
    # It wakes by this signal anyway, and looks at everything then. A child whose parent is gone wakes nobody else.
    if os.getppid() == supervisor:
        os.kill(supervisor, signal.SIGCHLD)
