"""What the supervisor says in the log: one line for each event of its pool, fewer when workers die in a loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from edx_event_bus_redis.internal import log_lines
from edx_event_bus_redis.internal.crash_loop import CrashLoop
from edx_event_bus_redis.internal.crew import id_of_item
from edx_event_bus_redis.internal.log_lines import Line
from pool import (
    Event,
    ForkFailed,
    GaveUp,
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

logger = logging.getLogger(__name__)

# Its arguments are a Line, and values for it.
_Say = Callable[..., None]


class PoolLog:
    """Logs the events of the pool of that name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = CrashLoop()

    def log(self, event: Event) -> None:
        """Log an event."""
        is_worth_saying = _is_worth_saying(self._loop, event)
        # A pool that ends says all that it has not said.
        self._sum_up(all_of_it=isinstance(event, (GaveUp, Stopping, Stopped)))
        if not is_worth_saying:
            return
        match event:
            case MonitorStarted() | MonitorDied():
                _log_event_of_monitor(self._say, event)
            case WorkerStarted() | WorkerDied() | WorkerLeft() | SuccessorFailed() | ForkFailed() | MemoryUnknown():
                _log_event_of_worker(self._say, event)
            case _:
                _log_event_of_pool(self._say, event)

    def keep_time(self) -> None:
        """Log what is due though nothing happens; to be called every few seconds."""
        self._sum_up()

    def is_quiet_about(self, shard: int) -> bool:
        """Return whether the last death of a worker was one of too many to be said one by one."""
        return not self._loop.replacement_is_worth_saying(shard)

    def _sum_up(self, *, all_of_it: bool = False) -> None:
        unsaid = self._loop.unsaid(time.monotonic(), all_of_it=all_of_it)
        if unsaid is not None:
            self._say(log_lines.WORKERS_DIED, **unsaid._asdict())

    def _say(self, line: Line, **fields: Any) -> None:
        line.log(logger, pool=self._name, **fields)


def _is_worth_saying(loop: CrashLoop, event: Event) -> bool:
    match event:
        case WorkerDied():
            return loop.is_worth_saying(event.shard, str(event.cause), time.monotonic())
        case WorkerStarted(shard, _, int(), ""):
            return loop.replacement_is_worth_saying(shard)
    return True


def _log_event_of_worker(
    say: _Say, event: WorkerStarted | WorkerDied | WorkerLeft | SuccessorFailed | ForkFailed | MemoryUnknown
) -> None:
    match event:
        case WorkerStarted(shard, pid, None):
            say(log_lines.WORKER_STARTED, shard=shard, pid=pid)
        case WorkerStarted(shard, pid, former, ""):
            say(log_lines.WORKER_REPLACED, shard=shard, pid=pid, former=former)
        case WorkerStarted(shard, pid, former, reason):
            say(log_lines.WORKER_RENEWED, shard=shard, pid=pid, former=former, reason=reason)
        case WorkerDied():
            _log_death(say, event)
        case WorkerLeft(shard, pid):
            say(log_lines.WORKER_LEFT, shard=shard, pid=pid)
        case SuccessorFailed(shard, pid, cause, reason, stack):
            say(log_lines.SUCCESSOR_FAILED, shard=shard, pid=pid, cause=str(cause), reason=reason)
            if stack:
                say(log_lines.SUCCESSOR_STACK, shard=shard, stack=stack)
        case ForkFailed(shard, error, delay):
            child = "monitor" if shard is None else f"worker {shard}"
            say(log_lines.FORK_FAILED, shard=shard, child=child, error=str(error), seconds=delay)
        case MemoryUnknown(shard, pid, error):
            say(log_lines.MEMORY_UNKNOWN, shard=shard, pid=pid, error=error)


def _log_death(say: _Say, died: WorkerDied) -> None:
    hand, entry_id = "nothing in hand", None
    if died.item is not None:
        in_hand, again = id_of_item(died.item)
        which = f"entry {in_hand.decode()}{' of those delivered again' if again else ''}"
        hand = f"{which} in hand for {died.seconds_in_hand:.1f} s"
        # The id that it had in the topic's stream is another one then, which only the next worker knows.
        entry_id = None if again else in_hand
    then = "no replacement" if died.replaced_in is None else f"replacement in {died.replaced_in:.1f} s"
    about = {"shard": died.shard, "pid": died.pid, "cause": str(died.cause), "entry_id": entry_id}
    say(log_lines.WORKER_DIED, hand=hand, then=then, **about)
    if died.stack:
        say(log_lines.WORKER_STACK, stack=died.stack, **about)


def _log_event_of_monitor(say: _Say, event: MonitorStarted | MonitorDied) -> None:
    match event:
        case MonitorStarted(pid, None):
            say(log_lines.MONITOR_STARTED, pid=pid)
        case MonitorStarted(pid, former, ""):
            say(log_lines.MONITOR_REPLACED, pid=pid, former=former)
        case MonitorStarted(pid, former, reason):
            say(log_lines.MONITOR_RENEWED, pid=pid, former=former, reason=reason)
        case MonitorDied(pid, cause, delay, stack):
            say(log_lines.MONITOR_DIED, pid=pid, cause=str(cause), seconds=delay)
            if stack:
                say(log_lines.MONITOR_STACK, pid=pid, stack=stack)


def _log_event_of_pool(
    say: _Say, event: StackTaken | Resized | ResizeRefused | Renewing | Renewed | GaveUp | Stopping | Stopped
) -> None:
    match event:
        case StackTaken(role, pid, stack, shard):
            stack = f"\n{stack}" if stack else " no answer, as of a process that is suspended"
            say(log_lines.STACK, shard=shard, role=role, pid=pid, stack=stack)
        case Resized(workers, former, reason):
            say(log_lines.RESIZED, workers=workers, former=former, reason=reason)
        case ResizeRefused(workers, limit, reason):
            say(log_lines.RESIZE_REFUSED, workers=workers, limit=limit, reason=reason)
        case Renewing(reason):
            say(log_lines.RENEWING, reason=reason)
        case Renewed(reason, seconds, is_complete):
            say(log_lines.RENEWED if is_complete else log_lines.NOT_RENEWED, reason=reason, seconds=seconds)
        case GaveUp(replacements, last):
            say(log_lines.POOL_GAVE_UP, replacements=replacements, cause=str(last))
        case Stopping(reason, timeout):
            say(log_lines.STOPPING, reason=reason, seconds=timeout)
        case Stopped(seconds, left, killed):
            say(log_lines.STOPPED, seconds=seconds, pending=left, killed=killed)
