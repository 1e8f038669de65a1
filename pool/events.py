"""
What a pool reports: frozen events, handed to the callable that the supervisor was given.

What is said of them, and what they lead to, is not decided here.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from pool.slots import Item

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """Bytes of memory that a worker had for itself, far more than ``cap``, the bytes that it may have."""

    used: int
    cap: int

    def __str__(self) -> str:
        return (
            f"{self.used / MEBIBYTE:.0f} MiB of memory, more than twice the {self.cap / MEBIBYTE:.0f} MiB it may have"
        )


@dataclass(frozen=True)
class Cause:
    """
    Why a worker or the monitor is gone.

    Attributes:
        exit_code: its exit status, or minus the number of the signal that ended it (as ``multiprocess`` has it).
        too_many_errors: it left because it reached its limit of consecutive errors.
        timed_out_after: seconds that it had its last item in hand when it was killed for that; None if it was not.
        silent_for: seconds that it had given no sign of life when it was killed for that; None if it was not.
        overstayed: seconds that it had been asked to leave, or to be ready, when it was killed for that; None if it was
            not.
        memory: how much it had when it was killed for that with its last item in hand; None if it was not.
    """

    exit_code: int
    too_many_errors: bool = False
    timed_out_after: float | None = None
    silent_for: float | None = None
    overstayed: float | None = None
    memory: Memory | None = None

    @property
    def kind(self) -> str:
        """The cause without what differs from one death to the next, so that few kinds make up all deaths."""
        if self.timed_out_after is not None:
            return "timed out"
        if self.silent_for is not None:
            return "no sign of life"
        if self.overstayed is not None:
            return "not done in time"
        if self.memory is not None:
            return "too much memory"
        return str(self)

    def __str__(self) -> str:
        if self.timed_out_after is not None:
            return f"timed out after {self.timed_out_after:.1f} s"
        if self.silent_for is not None:
            return f"no sign of life for {self.silent_for:.1f} s"
        if self.overstayed is not None:
            return f"not done within {self.overstayed:.1f} s"
        if self.memory is not None:
            return str(self.memory)
        if self.too_many_errors:
            return "too many consecutive errors"
        if self.exit_code >= 0:
            return f"exit status {self.exit_code}"
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            # A real-time signal, which has a number only.
            return f"signal {-self.exit_code}"


# Kinds of causes of which there will be deaths sooner or later, and those that only this package knows.
COMMON_KINDS = tuple(
    cause.kind
    for cause in (
        Cause(-signal.SIGKILL),
        Cause(-signal.SIGSEGV),
        Cause(1),
        Cause(0, too_many_errors=True),
        Cause(-signal.SIGKILL, timed_out_after=0.0),
        Cause(-signal.SIGKILL, silent_for=0.0),
        Cause(-signal.SIGKILL, overstayed=0.0),
        Cause(-signal.SIGKILL, memory=Memory(0, 0)),
    )
)


@dataclass(frozen=True)
class Death:
    """
    What a worker is told of the one that had its shard before.

    Attributes:
        cause: why it died.
        item: what it had in hand, None if nothing.
        seconds_in_hand: for how long.
        stack: the Python stacks of its threads shortly before it was killed for a time-out; else empty.
    """

    cause: Cause
    item: Item | None
    seconds_in_hand: float
    stack: str = ""


@dataclass(frozen=True)
class WorkerStarted:
    """
    A worker has its shard.

    Attributes:
        replaces: process id that had the shard before, None for the first one.
        reason: why the one before gave way, such as the name of a signal; empty if it died, or there was none.
    """

    shard: int
    pid: int
    replaces: int | None
    reason: str = ""


@dataclass(frozen=True)
class WorkerDied:
    """
    A worker is gone that was not asked to leave, or did not do so in good order.

    Attributes:
        item: what it had in hand, None if nothing.
        seconds_in_hand: for how long.
        replaced_in: seconds until its replacement is forked; None if there is none, because the pool stops, gives up,
            or does not have this shard any more.
        stack: the Python stacks of its threads shortly before it was killed for taking too long; else empty.
    """

    shard: int
    pid: int
    cause: Cause
    item: Item | None
    seconds_in_hand: float
    replaced_in: float | None
    stack: str = ""


@dataclass(frozen=True)
class Resized:
    """The pool is to have another number of workers. ``reason``: who wants it, such as the name of a signal."""

    workers: int
    former: int
    reason: str


@dataclass(frozen=True)
class ResizeRefused:
    """The pool was asked for more workers than it may have, or fewer: ``limit`` is "most" or "fewest"."""

    workers: int
    limit: str
    reason: str


@dataclass(frozen=True)
class WorkerLeft:
    """A worker that the pool does not need any more is gone, with nothing in hand."""

    shard: int
    pid: int


@dataclass(frozen=True)
class MemoryUnknown:
    """The memory of a worker cannot be measured and is not watched any more."""

    shard: int
    pid: int
    error: str


@dataclass(frozen=True)
class SuccessorFailed:
    """
    What was to replace a worker that lives has died, or was killed, before it was ready: the old worker stays.

    Attributes:
        reason: why the worker was to be replaced.
        stack: the Python stacks of the successor's threads, if it was killed for taking too long; else empty.
    """

    shard: int
    pid: int
    cause: Cause
    reason: str
    stack: str = ""


@dataclass(frozen=True)
class Renewing:
    """All processes that the pool has are to be replaced, one after the other. ``reason``: the name of a signal."""

    reason: str


@dataclass(frozen=True)
class Renewed:
    """
    That is over.

    Attributes:
        seconds: that it took.
        complete: False if it was given up because a successor failed: then the workers that are left stay.
    """

    reason: str
    seconds: float
    complete: bool


@dataclass(frozen=True)
class StackTaken:
    """
    Where a process is, because somebody asked.

    Attributes:
        role: "supervisor", "monitor", or "worker" with its shard.
        stack: the Python stacks of its threads; empty if it has not answered, as one that is suspended.
        shard: of a worker.
    """

    role: str
    pid: int
    stack: str
    shard: int | None = None


@dataclass(frozen=True)
class MonitorStarted:
    """The monitor was forked. ``replaces`` and ``reason`` are as those of ``WorkerStarted``."""

    pid: int
    replaces: int | None
    reason: str = ""


@dataclass(frozen=True)
class MonitorDied:
    """
    The monitor is gone, and the pool is not stopping.

    Attributes:
        replaced_in: seconds until its replacement is forked; a pool never gives up because of its monitor.
        stack: the Python stacks of its threads, if it was killed because it gave no sign of life; else empty, as it is
            for one that was frozen.
    """

    pid: int
    cause: Cause
    replaced_in: float
    stack: str = ""


@dataclass(frozen=True)
class ForkFailed:
    """
    The operating system refused a new process.

    Attributes:
        shard: whose worker it was to be, None for the monitor.
        retry_in: seconds until the next try.
    """

    shard: int | None
    error: OSError
    retry_in: float


@dataclass(frozen=True)
class GaveUp:
    """Replacements went on and nothing was achieved: the pool stops. ``last`` is the cause of the last death."""

    replacements: int
    last: Cause


@dataclass(frozen=True)
class Stopping:
    """A graceful stop began. ``reason`` is a signal's name, "gave up" or "start anew"; ``timeout`` is in seconds."""

    reason: str
    timeout: float


@dataclass(frozen=True)
class Stopped:
    """
    Every child is gone.

    Attributes:
        seconds: from the begin of the stop.
        left: items that workers had taken, and not finished or not yet reported as finished.
        killed: workers that had to be killed. The monitor never counts: it has no items that would be repeated.
    """

    seconds: float
    left: int
    killed: int


Event = (
    WorkerStarted
    | WorkerDied
    | WorkerLeft
    | Resized
    | ResizeRefused
    | MemoryUnknown
    | SuccessorFailed
    | Renewing
    | Renewed
    | StackTaken
    | MonitorStarted
    | MonitorDied
    | ForkFailed
    | GaveUp
    | Stopping
    | Stopped
)
