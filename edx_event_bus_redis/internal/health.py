"""
Whether a pool is well and ready, by what its monitor sees: pure decisions.

A pool is well if each of its workers makes progress, has nothing to do, or is being replaced as it should. That Redis
is away is no illness: a pool waits for it, and starting the pool anew would bring nothing. It is not ready then.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from edx_event_bus_redis.internal.protocols import WorkerLook

# Seconds that a worker may have one event in hand where no handler_timeout says it. Half an hour is what a pool waits,
# too, until it takes over the events of consumers of other software.
LONGEST_IN_HAND = 1800.0

# Seconds beyond handler_timeout: by then the supervisor has killed the worker, unless it cannot.
_GRACE = 10.0

# Seconds without a sign of life and with nothing in hand: the supervisor replaces such a worker after 180.
_SILENT = 200.0

# Seconds that a worker may be gone: a replacement waits for 30 at the most, unless it cannot be forked. While a pool
# stops or shrinks, one may be gone for as long as others take.
_GONE = 45.0

# Seconds without a sign of life of the supervisor, which gives one every five.
_UNSUPERVISED = 30.0

# So many deaths of one shard in a row, with nothing handled in between, are a crash loop. It is over when a worker
# handles something, or lives for so many seconds.
_CRASHES = 3
_CRASH_SECONDS = 60.0

# Seconds after which a group that was not found any more, or a server that does not answer, is none to rely on. As
# long as a lease holds.
_READY_SECONDS = 10.0


@attrs.frozen
class Patience:
    """
    How long a pool may take.

    Attributes:
        in_hand: seconds that a worker may have one event in hand.
        gone: seconds that a worker may be gone.
    """

    in_hand: float
    gone: float


def patience_with(handler_timeout: float | None, shutdown_timeout: float) -> Patience:
    """
    Return how long a pool may take.

    Arguments:
        handler_timeout: seconds that handling one event may take, None for as long as it wants.
        shutdown_timeout: seconds that a graceful stop may take.
    """
    in_hand = LONGEST_IN_HAND if handler_timeout is None else handler_timeout + _GRACE
    return Patience(in_hand, max(_GONE, shutdown_timeout + _GRACE))


def problems(workers: Sequence[WorkerLook], patience: Patience, seconds_unsupervised: float = 0.0) -> list[str]:
    """
    Return what is wrong with a pool, one line each; an empty list if nothing is.

    Arguments:
        workers: of the pool.
        patience: how long they may take.
        seconds_unsupervised: since the supervisor gave its last sign of life.
    """
    found = []
    if seconds_unsupervised > _UNSUPERVISED:
        found.append(f"the supervisor has given no sign of life for {seconds_unsupervised:.0f} s")
    return found + [f"worker {worker.shard} {problem}" for worker in workers for problem in _problems(worker, patience)]


def _problems(worker: WorkerLook, patience: Patience) -> list[str]:
    found = []
    if worker.deaths_in_a_row >= _CRASHES and worker.seconds_since_death < _CRASH_SECONDS:
        found.append(
            f"died {worker.deaths_in_a_row} times and handled nothing in between, last cause: {worker.last_death}"
        )
    if worker.state == "gone":
        if worker.seconds_silent > patience.gone:
            found.append(f"has been gone for {worker.seconds_silent:.0f} s and was not replaced")
    elif worker.entry is not None:
        if worker.seconds > patience.in_hand:
            found.append(
                f"has had entry {worker.entry} in hand for {worker.seconds:.0f} s, "
                f"the limit is {patience.in_hand:.0f} s"
            )
    elif worker.seconds_silent > _SILENT:
        found.append(f"has given no sign of life for {worker.seconds_silent:.0f} s")
    return found


def reasons_not_ready(seconds_since_look: float | None) -> list[str]:
    """
    Return why a pool cannot get events just now; an empty list if it can.

    Arguments:
        seconds_since_look: since its group was found on the server; None if it never was.
    """
    if seconds_since_look is None:
        return ["the group was not found on the server yet"]
    if seconds_since_look > _READY_SECONDS:
        return [f"the group was found on the server {seconds_since_look:.0f} s ago, and not since"]
    return []
