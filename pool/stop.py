"""Stopping gracefully, as a worker sees it: whether to stop, until when, and what happens if that takes too long."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

from pool.signals import SignalInbox, blocked, is_readable, wake_by_signals

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})


class Stop:
    """
    Whether and until when to stop.

    Arguments:
        inbox: where the signals that ask for it arrive.
        timeout: seconds from the first of them to the deadline.
        parent: process id whose end asks for a stop too; None if there is no such parent.
    """

    def __init__(self, inbox: SignalInbox, timeout: float, parent: int | None = None) -> None:
        self._inbox = inbox
        self._timeout = timeout
        self._parent = parent

    @property
    def requested(self) -> bool:
        """Whether to take nothing new. Costs less than a microsecond."""
        return self._inbox.received or (self._parent is not None and os.getppid() != self._parent)

    @property
    def time_left(self) -> float:
        """Seconds until what is left must be let go, infinite while no stop is requested, never below 0."""
        if self._inbox.first_at is None:
            return 0.0 if self.requested else math.inf
        return max(0.0, self._inbox.first_at + self._timeout - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Block for so many seconds or until a stop is requested; return whether it is."""
        return self._inbox.wait(seconds) or self.requested


@contextlib.contextmanager
def stop_on_signals(timeout: float) -> Iterator[Stop]:
    """
    Yield a Stop for work in this very process, requested by SIGTERM or SIGINT.

    Arguments:
        timeout: seconds that the stop may take. Then, or at a second signal, the process leaves at once with status 0:
            what it had in hand is not finished. It also leaves code that hangs, unless that holds Python's global lock.

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
