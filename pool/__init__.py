"""
A supervised pool of forked worker processes. It knows nothing of what the workers do.

The parent (the supervisor) forks one process a shard, sleeps until a child dies, a signal arrives or a time is due,
and decides. It does none of the work, holds no connection and starts no thread, so that little can go wrong in it::

    from pool import Child, PoolConfig, Supervisor

    def work(child: Child) -> None:
        with connect() as source:
            while not child.stop.requested:
                for item in source.read(timeout=1):
                    child.slot.begin(item.high, item.low)
                    handle(item)
                    child.slot.succeeded()

    outcome = Supervisor(PoolConfig(name="c1", workers=4), work, on_event=print).run()

What it holds to:

* A shard is a slot number, 0 to N-1. A worker that dies is replaced under its own shard.
* A death is seen at once: the supervisor sleeps until a signal, such as SIGCHLD, it does not poll.
* The first replacement is made at once; further ones, with nothing achieved in between, wait exponentially longer,
  with jitter (``backoff.py``). When they go on and no worker of the pool achieves anything, the pool gives up.
* Each child has a slot in anonymous shared memory with one writer, the child (``slots.py``). It needs no lock, and it
  is gone with the last process that maps it, so nothing can leak. After a death it still tells what the child had in
  hand. Beside the slots the supervisor keeps what the workers of each shard have died of (``deaths.py``).
* A worker that has an item in hand for longer than ``item_timeout`` is killed, whatever it is doing, after its Python
  stacks were taken (``stacks.py``). A replacement is told how its predecessor died, with what in hand.
* Beside the workers there may be one monitor: the child that looks at the group and at its siblings instead of
  handling items (``monitor.py``). It is killed when it gives no sign of life for ``monitor_timeout``, and replaced
  whenever it is gone; that harms no worker and never makes the pool give up. It is the first child to come and the
  last to go, and it alone can have the pool stopped to be begun anew, by its exit status ``EXIT_START_ANEW``.
* SIGHUP replaces every process by a new one, one after the other (``renewal.py``). The successor of a worker is forked
  and prepared before that is asked to leave, and begins when it is gone; if it cannot, the old worker stays.
* A worker that has handled so many items, or has more memory for itself than it may, is replaced in the same way. One
  that has twice as much is killed if it has an item in hand (``memory.py``).
* SIGTTIN is for one worker more, SIGTTOU for one less: that of the highest shard finishes what it has in hand.
* SIGUSR1 has the Python stacks of all processes reported, while they go on (``stack_call.py``).
* A service manager such as systemd is told when all workers have begun, when they are replaced and when the pool stops,
  and as often as it wants to know that the supervisor lives (``service_manager.py``).
* SIGTERM or SIGINT to the supervisor stops the pool: every worker gets SIGTERM and ``shutdown_timeout`` seconds to
  leave, then SIGKILL, right after its Python stacks were taken; when the last one is gone, so does the monitor. A
  second signal kills at once.
* A child dies with its parent, however the parent ends (``child.py``). The supervisor may be process 1 of a container:
  it reaps children that it does not know.
* What happens is reported as frozen events (``events.py``) to one callable. The pool itself logs nothing.

It needs fork, so a Unix; the guarantee that children die with their parent at once needs Linux.
"""

from pool.backoff import Backoff
from pool.child import EXIT_START_ANEW, EXIT_TOO_MANY_ERRORS, Child, Monitor, MonitorChild
from pool.config import MOST_WORKERS, PoolConfig
from pool.counters import REST, NamedCounters, totals
from pool.deaths import Deaths, ShardDeaths
from pool.errors import PoolConfigError, PoolError
from pool.events import (
    COMMON_KINDS,
    Cause,
    Death,
    Event,
    ForkFailed,
    GaveUp,
    Memory,
    MemoryUnknown,
    MonitorDied,
    MonitorStarted,
    Renewed,
    Renewing,
    Resized,
    ResizeRefused,
    StackTaken,
    Stopped,
    Stopping,
    SuccessorFailed,
    WorkerDied,
    WorkerLeft,
    WorkerStarted,
)
from pool.service_manager import ServiceManager
from pool.signals import SignalInbox, blocked
from pool.slots import Item, Slot, Slots, State
from pool.stacks import stacks_on_signal
from pool.stop import Stop, stop_on_signals
from pool.supervisor import Outcome, Supervisor

__all__ = [
    "COMMON_KINDS",
    "EXIT_START_ANEW",
    "EXIT_TOO_MANY_ERRORS",
    "MOST_WORKERS",
    "REST",
    "Backoff",
    "Cause",
    "Child",
    "Death",
    "Deaths",
    "Event",
    "ForkFailed",
    "GaveUp",
    "Item",
    "Memory",
    "MemoryUnknown",
    "Monitor",
    "MonitorChild",
    "MonitorDied",
    "MonitorStarted",
    "NamedCounters",
    "Outcome",
    "PoolConfig",
    "PoolConfigError",
    "PoolError",
    "Renewed",
    "Renewing",
    "ResizeRefused",
    "Resized",
    "ServiceManager",
    "ShardDeaths",
    "SignalInbox",
    "Slot",
    "Slots",
    "StackTaken",
    "State",
    "Stop",
    "Stopped",
    "Stopping",
    "SuccessorFailed",
    "Supervisor",
    "WorkerDied",
    "WorkerLeft",
    "WorkerStarted",
    "blocked",
    "stacks_on_signal",
    "stop_on_signals",
    "totals",
]
