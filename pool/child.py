"""
The child's side of the fork: what a worker is given, and what happens before its work begins.

1. It dies with its parent. A worker that outlived the supervisor would go on under a name that the next start takes
   over, and both would handle the same items; so the kernel kills it (SIGKILL, at once).
2. It leaves the parent's signal handlers behind. SIGTERM asks it to stop, once or more often (a service manager may
   signal the whole group, and the supervisor signals too). SIGINT from a terminal is for the supervisor to answer.
3. It runs the work and leaves with its exit status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pool.signals import SignalInbox
from pool.slots import Slot, Slots

# EX_TEMPFAIL of sysexits.h: "try again later".
EXIT_TOO_MANY_ERRORS = 75

# Everything the supervisor may handle, held back around a fork and reset in the child.
MANAGED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})

_PR_SET_PDEATHSIG = 1

# Looked up before any fork: loading a library in the child could wait for a lock that no thread there holds any more.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


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
            return 0.0 if self.requested else float("inf")
        return max(0.0, self._inbox.first_at + self._timeout - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Block for so many seconds or until a stop is requested; return whether it is."""
        return self._inbox.wait(seconds) or self.requested


@contextlib.contextmanager
def stop_on_signals(timeout: float) -> Iterator[Stop]:
    """
    Yield a Stop for work in this very process, requested by SIGTERM or SIGINT.

    Arguments:
        timeout: seconds that the stop may take. Then, or at a second signal, the process leaves at once with status 0,
            also out of code that hangs: what it had in hand is not finished.
    """

    def insist(count: int) -> None:
        if count > 1:
            os._exit(0)
        timer = threading.Timer(timeout, os._exit, (0,))
        timer.daemon = True
        timer.start()

    with SignalInbox((signal.SIGTERM, signal.SIGINT), then=insist) as inbox:
        yield Stop(inbox, timeout)


@dataclass(frozen=True)
class Child:
    """
    What a worker is given.

    Attributes:
        shard: its number in the pool, from 0.
        slot: its own slot, to write.
        slots: all slots, to read.
        stop: when to leave.
    """

    shard: int
    slot: Slot
    slots: Slots
    stop: Stop


Work = Callable[[Child], None]


def run_child(parent: int, shard: int, slots: Slots, stop_timeout: float, work: Work) -> None:
    """Be a worker: runs in the forked process, with MANAGED signals still held back."""
    _die_with(parent)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    slot = slots[shard]
    slot.started(os.getpid())
    with SignalInbox((signal.SIGTERM,)) as inbox:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MANAGED)
        work(Child(shard, slot, slots, Stop(inbox, stop_timeout, parent)))


def _die_with(parent: int) -> None:
    if _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        os._exit(1)
