"""Stopping gracefully, as a child sees it: whether to stop, until when, and what happens if that takes too long."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import mmap
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

from pool.signals import SignalInbox, blocked, is_readable, wake_by_signals

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})

_STANDARD_ERROR = 2


class Stop:
    """
    Whether and until when to stop.

    Arguments:
        inbox: where the signals that ask for it arrive.
        timeout: seconds from the first of them to the deadline.
        parent: process id whose end asks for a stop too; None if there is no such parent.
        hands_over: returns whether somebody else goes on.
    """

    def __init__(
        self,
        inbox: SignalInbox,
        timeout: float,
        parent: int | None = None,
        hands_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._inbox = inbox
        self._timeout = timeout
        self._parent = parent
        self._hands_over = hands_over

    @property
    def requested(self) -> bool:
        """Whether to take nothing new. Costs less than a microsecond."""
        return self._inbox.received or self._orphaned

    @property
    def hands_over(self) -> bool:
        """Whether somebody else goes on: a worker finishes what it has in hand, and leaves what it has not begun."""
        return self._hands_over()

    @property
    def _orphaned(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent

    @property
    def time_left(self) -> float:
        """Seconds until what is left must be let go, infinite while no stop is requested, never below 0."""
        if self._inbox.first_at is None:
            return 0.0 if self.requested else math.inf
        return max(0.0, self._inbox.first_at + self._timeout - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Block for so many seconds or until a stop is requested; return whether it is."""
        return self._inbox.wait(seconds) or self.requested


class LeavingTime:
    """Until when the monitor has to leave, in memory that forked children share; written by the supervisor."""

    def __init__(self) -> None:
        # Aligned 64-bit numbers, so that a reader sees the old or the new value: 0 as long as nothing is said.
        self._numbers = memoryview(mmap.mmap(-1, 16)).cast("d")

    def set(self, deadline: float, *, hands_over: bool = False) -> None:
        """Say that the monitor is to leave until then, in seconds of the monotonic clock; is another one to come?"""
        self._numbers[1] = hands_over
        self._numbers[0] = deadline

    def clear(self) -> None:
        """Say nothing any more: the next monitor is to stay."""
        self._numbers[0] = 0.0

    def get(self) -> float | None:
        """Return what was said, None if nothing."""
        return self._numbers[0] or None

    @property
    def hands_over(self) -> bool:
        """Whether another monitor is to come."""
        return bool(self._numbers[1])


class MonitorStop(Stop):
    """
    Whether and until when the monitor is to leave: the supervisor says it in shared memory.

    SIGTERM alone only has it look there: a service manager may signal every process of the pool at once, and the
    monitor is to stay until the last worker is gone.
    """

    def __init__(self, inbox: SignalInbox, leaving_time: LeavingTime, parent: int) -> None:
        super().__init__(inbox, math.inf, parent, lambda: leaving_time.hands_over)
        self._leaving_time = leaving_time

    @property
    def requested(self) -> bool:
        """Whether to leave. Costs less than a microsecond."""
        return self._leaving_time.get() is not None or self._orphaned

    @property
    def time_left(self) -> float:
        """Seconds until it is killed, infinite while no stop is requested, never below 0."""
        deadline = self._leaving_time.get()
        if deadline is None:
            return 0.0 if self._orphaned else math.inf
        return max(0.0, deadline - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Block for so many seconds or until a stop is requested; return whether it is."""
        deadline = time.monotonic() + seconds
        while not self.requested:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._inbox.wait(left)
            # Taken before the next look at the memory: a signal that comes after that look ends the next wait.
            self._inbox.take()
        return True


@contextlib.contextmanager
def stop_on_signals(timeout: float) -> Iterator[Stop]:
    """
    Yield a Stop for work in this very process, requested by SIGTERM or SIGINT.

    Arguments:
        timeout: seconds that the stop may take. Then, or at a second signal, the process leaves at once with status 0:
            what it had in hand is not finished. It also leaves code that hangs, unless that holds Python's global lock.
            When the time is over it first writes its Python stacks to standard error.

    It keeps a thread while the block runs: leave the block before a supervisor forks. In another than the main thread,
    where Python allows no signal handlers, no stop is ever requested.
    """
    with SignalInbox(_STOPPING) as inbox:
        if threading.current_thread() is threading.main_thread():
            with _leaving_in_time(inbox, timeout):
                yield Stop(inbox, timeout)
        else:
            yield Stop(inbox, timeout)


@contextlib.contextmanager
def _leaving_in_time(inbox: SignalInbox, timeout: float) -> Iterator[None]:
    """
    End the process at the second signal or when the time is over, while the block runs.

    A thread does it, and learns of the signals from the socket that the interpreter's own handler writes to: Python's
    handlers have to wait for the main thread, which may hang in a database driver that resumes its read after signals.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    thread = threading.Thread(target=_leave_in_time, args=(reader, inbox, timeout), daemon=True)
    # The kernel must not choose the thread to receive what the main thread blocks, or has to be interrupted by.
    with blocked(signal.valid_signals()):
        thread.start()
    try:
        with wake_by_signals(writer):
            yield
    finally:
        writer.close()
        thread.join()
        reader.close()


def _leave_in_time(reader: socket.socket, inbox: SignalInbox, timeout: float) -> None:
    count, deadline = 0, math.inf
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            _write_stacks()
            os._exit(0)
        if not is_readable(reader, left):
            continue
        numbers = reader.recv(4096)
        if not numbers:
            return
        inbox.wake()
        count += sum(number in _STOPPING for number in numbers)
        if count > 1:
            os._exit(0)
        if count == 1 and deadline == math.inf:
            deadline = time.monotonic() + timeout


def _write_stacks() -> None:
    # Nothing must keep this process from leaving: no standard error that is closed, and no pipe that nobody reads.
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [_STANDARD_ERROR], [], 0)[1]:
            faulthandler.dump_traceback(_STANDARD_ERROR)
