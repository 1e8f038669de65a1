"""
The child's side of the fork: what a worker is given, and what happens before its work begins.

1. It dies with its parent. A worker that outlived the supervisor would go on under a name that the next start takes
   over, and both would handle the same items; so the kernel kills it (SIGKILL, at once).
2. It leaves the parent's signal handlers behind. SIGTERM asks it to stop, once or more often (a service manager may
   signal the whole group, and the supervisor signals too). SIGINT from a terminal is for the supervisor to answer.
3. It runs the work and leaves with its exit status.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from pool.events import Death
from pool.signals import SignalInbox
from pool.slots import Slot, Slots
from pool.stacks import Stacks
from pool.stop import Stop

# EX_TEMPFAIL of sysexits.h: "try again later".
EXIT_TOO_MANY_ERRORS = 75

# Everything the supervisor may handle, held back around a fork and reset in the child.
MANAGED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1

# Looked up before any fork: loading a library in the child could wait for a lock that no thread there holds any more.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Child:
    """
    What a worker is given.

    Attributes:
        shard: its number in the pool, from 0.
        slot: its own slot, to write.
        slots: all slots, to read.
        stop: when to leave.
        former: how the worker died that had this shard before; None for the first one.
    """

    shard: int
    slot: Slot
    slots: Slots
    stop: Stop
    former: Death | None = None


Work = Callable[[Child], None]


@dataclass(frozen=True)
class Post:
    """What the supervisor has for the workers of one shard, one after the other."""

    shard: int
    slots: Slots
    stacks: Stacks
    stop_timeout: float
    work: Work


def run_child(parent: int, post: Post, former: Death | None) -> None:
    """Be a worker: runs in the forked process, with MANAGED signals still held back."""
    _die_with(parent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    post.stacks.register()
    slot = post.slots[post.shard]
    slot.started(os.getpid())
    with SignalInbox((signal.SIGTERM,)) as inbox:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MANAGED)
        post.work(Child(post.shard, slot, post.slots, Stop(inbox, post.stop_timeout, parent), former))


def _die_with(parent: int) -> None:
    if _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        os._exit(1)
