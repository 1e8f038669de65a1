"""What a pool reports: frozen events, handed to the callable that the supervisor was given."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from pool.slots import Item


@dataclass(frozen=True)
class Cause:
    """
    Why a worker is gone.

    Attributes:
        exit_code: its exit status, or minus the number of the signal that ended it (as ``multiprocess`` has it).
        too_many_errors: it left because it reached its limit of consecutive errors.
        timed_out_after: seconds that it had its last item in hand when it was killed for that; None if it was not.
    """

    exit_code: int
    too_many_errors: bool = False
    timed_out_after: float | None = None

    def __str__(self) -> str:
        if self.timed_out_after is not None:
            return f"timed out after {self.timed_out_after:.1f} s"
        if self.too_many_errors:
            return "too many consecutive errors"
        if self.exit_code >= 0:
            return f"exit status {self.exit_code}"
        try:
            return signal.Signals(-self.exit_code).name
        except ValueError:
            # A real-time signal, which has a number only.
            return f"signal {-self.exit_code}"


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
    """A worker was forked. ``replaces`` is the process id that had the shard before, None at the pool's start."""

    shard: int
    pid: int
    replaces: int | None


@dataclass(frozen=True)
class WorkerDied:
    """
    A worker is gone, and the pool is not stopping.

    Attributes:
        item: what it had in hand, None if nothing.
        seconds_in_hand: for how long.
        replaced_in: seconds until its replacement is forked; None if the pool gives up instead.
    """

    shard: int
    pid: int
    cause: Cause
    item: Item | None
    seconds_in_hand: float
    replaced_in: float | None


@dataclass(frozen=True)
class ForkFailed:
    """The operating system refused a new process; ``retry_in`` is in seconds."""

    shard: int
    error: OSError
    retry_in: float


@dataclass(frozen=True)
class GaveUp:
    """Replacements went on and nothing was achieved: the pool stops. ``last`` is the cause of the last death."""

    replacements: int
    last: Cause


@dataclass(frozen=True)
class Stopping:
    """A graceful stop began. ``reason`` is a signal's name or why the pool gave up; ``timeout`` is in seconds."""

    reason: str
    timeout: float


@dataclass(frozen=True)
class Stopped:
    """
    Every child is gone.

    Attributes:
        seconds: from the begin of the stop.
        left: items that children had taken and not finished.
        killed: children that had to be killed.
    """

    seconds: float
    left: int
    killed: int


Event = WorkerStarted | WorkerDied | ForkFailed | GaveUp | Stopping | Stopped
