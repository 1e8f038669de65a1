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
  hand.
* A worker that has an item in hand for longer than ``item_timeout`` is killed, whatever it is doing, after its Python
  stacks were taken (``stacks.py``). A replacement is told how its predecessor died, with what in hand.
* SIGTERM or SIGINT to the supervisor stops the pool: every child gets SIGTERM and ``shutdown_timeout`` seconds to
  leave, then SIGKILL. A second signal kills at once.
* A child dies with its parent, however the parent ends (``child.py``). The supervisor may be process 1 of a container:
  it reaps children that it does not know.
* What happens is reported as frozen events (``events.py``) to one callable. The pool itself logs nothing.

It needs fork, so a Unix; the guarantee that children die with their parent at once needs Linux.
"""

from pool.backoff import Backoff
from pool.child import EXIT_TOO_MANY_ERRORS, Child
from pool.config import PoolConfig
from pool.errors import PoolConfigError, PoolError
from pool.events import Cause, Death, Event, ForkFailed, GaveUp, Stopped, Stopping, WorkerDied, WorkerStarted
from pool.signals import SignalInbox, blocked
from pool.slots import Item, Slot, Slots, State
from pool.stop import Stop, stop_on_signals
from pool.supervisor import Outcome, Supervisor

__all__ = [
    "EXIT_TOO_MANY_ERRORS",
    "Backoff",
    "Cause",
    "Child",
    "Death",
    "Event",
    "ForkFailed",
    "GaveUp",
    "Item",
    "Outcome",
    "PoolConfig",
    "PoolConfigError",
    "PoolError",
    "SignalInbox",
    "Slot",
    "Slots",
    "State",
    "Stop",
    "Stopped",
    "Stopping",
    "Supervisor",
    "WorkerDied",
    "WorkerStarted",
    "blocked",
    "stop_on_signals",
]
