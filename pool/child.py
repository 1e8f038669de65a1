"""
The child's side of the fork: what a worker or the monitor is given, and what happens before its work begins.

1. It dies with its parent. A worker that outlived the supervisor would go on under a name that the next start takes
   over, and both would handle the same items; so the kernel kills it (SIGKILL, at once).
2. It leaves the parent's signal handlers behind. SIGTERM asks it to stop, once or more often (a service manager may
   signal the whole group, and the supervisor signals too). SIGINT from a terminal, and the signals that steer the
   pool, are for the supervisor to answer.
3. It answers the signal that asks for its stacks.
4. The successor of a worker that lives prepares itself, says that it is ready, and waits for its turn.
5. It runs the work and leaves with its exit status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pool.counted_slot import CountedSlot
from pool.events import Cause, Death
from pool.handover import Handover, wake
from pool.signals import SignalInbox
from pool.slots import Slot, Slots
from pool.stacks import DUMP_SIGNAL, Stacks
from pool.stop import LeavingTime, MonitorStop, Stop
from pool.wish import Wish

# EX_TEMPFAIL of sysexits.h: "try again later".
EXIT_TOO_MANY_ERRORS = 75

# The first number that sysexits.h leaves free: the monitor asks for a stop of the pool after which it is begun anew.
EXIT_START_ANEW = 79

# How an operator steers a pool.
STEERING = frozenset({signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, DUMP_SIGNAL})

# Everything the supervisor may handle, held back around a fork and reset in the child.
MANAGED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}) | STEERING

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1

# Seconds between two looks of a successor whether it is its turn: nothing against a handler, little for a processor.
_LOOK = 0.005

# Looked up before any fork: loading a library in the child could wait for a lock that no thread there holds any more.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


# How a worker ended that gave way.
GAVE_WAY = Death(Cause(0), None, 0.0)


@dataclass(frozen=True)
class Child:
    """
    What a worker is given.

    Attributes:
        shard: its number in the pool, from 0.
        slot: its own slot, to write.
        slots: the slots of all workers, to read.
        stop: when to leave.
        former: how the worker died that had this shard before, or that it gave way; None for the first one.
        prepared: what ``prepare`` has returned, if the worker was prepared while its predecessor still lived.
    """

    shard: int
    slot: Slot
    slots: Slots
    stop: Stop
    former: Death | None = None
    prepared: Any = None


Work = Callable[[Child], None]
Prepare = Callable[[Stop], Any]


@dataclass(frozen=True)
class MonitorChild:
    """
    What the monitor is given.

    Attributes:
        slot: its own slot, to write; its ``idle()`` is the sign of life. It is none of ``slots``.
        slots: the slots of all workers, to read.
        stop: when to leave. Requested once the last worker is gone, or when another monitor is to come; SIGTERM from
            others than the supervisor does not.
        supervisor: process id of the supervisor.
        wish: of the pool; see ``wish_for_workers``.
    """

    slot: Slot
    slots: Slots
    stop: Stop
    supervisor: int
    wish: Wish

    def wish_for_workers(self, number: int) -> None:
        """Have the pool get so many workers, as far as it may have them."""
        self.wish.say(number)
        wake(self.supervisor)


Monitor = Callable[[MonitorChild], None]


@dataclass(frozen=True)
class Post:
    """What the supervisor has for the workers of one shard, one after the other."""

    shard: int
    slots: Slots
    stacks: Stacks
    handover: Handover
    stop_timeout: float
    work: Work
    max_items: int | None
    prepare: Prepare


@dataclass(frozen=True)
class MonitorPost:
    """What the supervisor has for the monitors, one after the other."""

    slot: Slot
    slots: Slots
    stacks: Stacks
    leaving_time: LeavingTime
    wish: Wish
    monitor: Monitor


def run_worker(parent: int, post: Post, worker: int, former: Death | None) -> None:
    """Be a worker: runs in the forked process, with MANAGED signals still held back."""
    with _begun(parent, post.stacks) as inbox:
        _work(parent, post, worker, _stop(parent, post, worker, inbox), former)


def run_successor(parent: int, post: Post, worker: int, owed: Death | None) -> None:
    """
    Be the next worker while the one before still lives; for the rest as ``run_worker``.

    ``owed`` is the death before its predecessor, of which it is told if nobody has done anything since.
    """
    with _begun(parent, post.stacks) as inbox:
        stop, handover = _stop(parent, post, worker, inbox), post.handover
        prepared = post.prepare(stop)
        handover.say_ready(worker, parent)
        while not handover.has_turn(worker):
            if stop.wait(_LOOK):
                return
        _work(parent, post, worker, stop, owed if handover.owed else GAVE_WAY, prepared=prepared)


def run_monitor(parent: int, post: MonitorPost) -> None:
    """Be the monitor: runs in the forked process, with MANAGED signals still held back."""
    with _begun(parent, post.stacks) as inbox:
        post.slot.started(os.getpid())
        stop = MonitorStop(inbox, post.leaving_time, parent)
        post.monitor(MonitorChild(post.slot, post.slots, stop, parent, post.wish))


def _stop(parent: int, post: Post, worker: int, inbox: SignalInbox) -> Stop:
    return Stop(inbox, post.stop_timeout, parent, hands_over=lambda: post.handover.is_to_leave(worker))


def _work(parent: int, post: Post, worker: int, stop: Stop, former: Death | None, *, prepared: Any = None) -> None:
    slot = post.slots[post.shard]
    if post.max_items is not None:
        slot = CountedSlot(slot, post.max_items, lambda: post.handover.say_worn(worker, parent))
    slot.started(os.getpid())
    post.work(Child(post.shard, slot, post.slots, stop, former, prepared))


@contextlib.contextmanager
def _begun(parent: int, stacks: Stacks) -> Iterator[SignalInbox]:
    _die_with(parent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    stacks.register()
    with SignalInbox((signal.SIGTERM,)) as inbox:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MANAGED)
        yield inbox


def _die_with(parent: int) -> None:
    if _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        os._exit(1)
