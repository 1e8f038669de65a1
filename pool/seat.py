"""A place in the pool that one process after the other has. Shards and the monitor's are such places."""

from __future__ import annotations

import abc
import math
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pool.backoff import Backoff
from pool.events import Event, ForkFailed
from pool.process import ChildProcess
from pool.slots import Slot
from pool.stacks import Stacks
from pool.time_limit import Matter, TimeLimit


@dataclass(frozen=True)
class Hooks:
    """What the caller of the supervisor wants to be asked and told; see there."""

    on_event: Callable[[Event], None]
    before_fork: Callable[[], None]


class Seat(abc.ABC):
    """
    Forks the next process when it is due, ends one that takes too long, and buries the dead.

    Arguments:
        name: of the processes, in a traceback.
        shard: its number, None for the monitor's.
        slot: where the processes say what they do.
        stacks: where they write their Python stacks.
        backoff: delays between forks that are refused.

    Attributes:
        process: the one that has the seat, None if nobody has.
        shard: as above.
    """

    def __init__(  # noqa: PLR0917 -- for its two subclasses
        self, name: str, shard: int | None, slot: Slot, stacks: Stacks, backoff: Backoff, hooks: Hooks
    ) -> None:
        self.process: ChildProcess | None = None
        self.slot = slot
        self._name = name
        self.shard = shard
        self.stacks = stacks
        self._limit = TimeLimit(stacks)
        self._backoff = backoff
        self._hooks = hooks
        self._former_pid: int | None = None
        self._due = -math.inf
        self._refusals = 0

    @property
    def role(self) -> str:
        """What its processes are, in words."""
        return "monitor" if self.shard is None else f"worker {self.shard}"

    @abc.abstractmethod
    def _fork_next(self) -> None:
        """Fork the next process, and say so."""

    @abc.abstractmethod
    def _matter(self, process: ChildProcess) -> Matter:
        """Return what goes on in the process."""

    def replace_in(self, seconds: float) -> None:
        """Set the time of the next fork."""
        self._due = time.monotonic() + seconds

    def keep_time(self) -> None:
        """Do what is due: fork, or end what takes too long."""
        if self.process is not None:
            self._limit.enforce(self.process, self._matter(self.process))
        elif self._due <= time.monotonic():
            self._fork_next()

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which something may be due."""
        if self.process is None:
            return self._due
        return self._limit.next_look(self._matter(self.process))

    def _last_sign(self, process: ChildProcess) -> float:
        # Until the process has touched the slot, what is there is from the one before.
        return max(process.started, self.slot.beat)

    def _fork(self, run: Callable[..., None], *arguments: Any) -> ChildProcess | None:
        """Fork a process that runs ``run``; None if that was refused, and then it is due again later."""
        try:
            self.process = fork(self._hooks, self._name, run, *arguments)
        except OSError as error:
            self._refusals += 1
            delay = self._backoff.delay(self._refusals + 1)
            self.replace_in(delay)
            self._hooks.on_event(ForkFailed(self.shard, error, delay))
            return None
        self._refusals = 0
        return self.process

    def _bury(self) -> ChildProcess | None:
        """Return the process if it is dead; nobody has the seat then, and the slot is still to be read."""
        dead = self.process
        if dead is None or not dead.poll():
            return None
        self.process, self._former_pid = None, dead.pid
        return dead


def fork(hooks: Hooks, name: str, run: Callable[..., None], *arguments: Any) -> ChildProcess:
    """Return a new process that runs ``run``. Raises OSError when the operating system refuses it."""
    hooks.before_fork()
    return ChildProcess(name, run, *arguments)


def living(seats: Iterable[Seat]) -> list[ChildProcess]:
    """Return the processes that the seats have now, those included that are dead and not buried."""
    return [seat.process for seat in seats if seat.process is not None]


def kill(seats: Iterable[Seat]) -> list[Seat]:
    """Kill the processes that the seats have now, wait for their end, and return whose did not leave before."""
    seats = list(seats)
    for process in living(seats):
        process.kill()
    killed = []
    for seat in seats:
        if seat.process is None:
            continue
        # The kernel does not delay it.
        seat.process.wait()
        # It may have left by itself a moment before.
        if seat.process.exit_code in {None, -signal.SIGKILL}:
            killed.append(seat)
        seat.process = None
        seat.slot.gone()
    return killed
