"""The supervisor's handle of one shard: its workers, one after the other, and what they die of."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import psutil

from pool.child import EXIT_TOO_MANY_ERRORS, GAVE_WAY, Post, Prepare, Work, run_worker
from pool.config import PoolConfig
from pool.events import MEBIBYTE, Cause, Death, Memory, MemoryUnknown, WorkerStarted
from pool.handover import Handover
from pool.memory import MemoryWatch
from pool.process import ChildProcess
from pool.seat import Hooks, Seat
from pool.slots import Item, Slots
from pool.stacks import Stacks
from pool.successor import Successor
from pool.time_limit import Matter, Verdict

# What goes on in a worker that was asked to leave, and in one that has far too much memory.
_LEAVING = "leaving"
_MEMORY = "memory"


@dataclass(frozen=True)
class DeadWorker:
    """
    What is known of a worker after its death.

    Attributes:
        age: seconds that it lived.
        settled: whether the shard settled an item in its time.
        gave_way: whether it was asked to leave and did, with nothing in hand.
    """

    pid: int
    death: Death
    age: float
    settled: bool
    gave_way: bool = False


class Shard(Seat):
    """
    One shard.

    Attributes:
        number: of the shard.
        replacements: workers that came after one that had died.
        wanted: whether the pool is to have this shard. Without, nobody is forked any more.
    """

    def __init__(
        self, number: int, slots: Slots, config: PoolConfig, work: Work, *, prepare: Prepare, hooks: Hooks
    ) -> None:
        stacks = Stacks()
        super().__init__(f"{config.name}.{number}", number, slots[number], stacks, config.backoff, hooks)
        self._config = config
        self._item_timeout = math.inf if config.item_timeout is None else config.item_timeout
        self.number = number
        self.replacements = 0
        self.wanted = True
        self._handover = Handover()
        self._post = Post(
            number, slots, stacks, self._handover, config.shutdown_timeout, work, config.max_items_per_worker, prepare
        )
        # Place in the row of workers of the one that is there, and of the last one forked.
        self._worker = self._last_worker = 0
        self._leaving_since: float | None = None
        self._leaving_limit = math.inf
        self._memory: MemoryWatch | None = None
        # What the next worker is told: the last death that it has to know of.
        self._former: Death | None = None
        self._settled_before = self._done_before = self._excess = 0

    def bury(self) -> DeadWorker | None:
        """Return what is known of the worker if it is dead; None while it lives, or when there is none."""
        process = self._bury()
        if process is None:
            return None
        assert process.exit_code is not None
        item, seconds_in_hand = self.slot.item, self.slot.seconds_in_hand
        verdict = self._limit.verdict(process.exit_code)
        cause, stack = self._cause(process, item, verdict)
        gave_way = self._leaving_since is not None and process.exit_code == 0 and item is None
        death = Death(cause, item, seconds_in_hand, stack)
        settled = self.slot.settled_count > self._settled_before
        # One that has done nothing may not even have learnt of what its predecessor died of.
        if self._former is None or self._former.item is None or item is not None or settled:
            self._former = GAVE_WAY if gave_way else death
        self._leaving_since = self._memory = None
        self.slot.gone()
        return DeadWorker(process.pid, death, process.age, settled, gave_way)

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which something may be due."""
        if self.process is None and not self.wanted:
            return math.inf
        memory = math.inf if self._memory is None else self._memory.next_look
        # A worker may have taken an item in hand, or let go of it, since it was looked at.
        soon = time.monotonic() + min(self._item_timeout, self._config.silence_timeout)
        return min(super().next_time(), memory, soon)

    def keep_time(self) -> None:
        """Do what is due: fork, measure, or end what takes too long or too much."""
        if self._memory is not None and self.process is not None:
            try:
                self._memory.look()
            except psutil.Error as error:
                self._memory = None
                self._hooks.on_event(MemoryUnknown(self.number, self.process.pid, str(error)))
        super().keep_time()

    @property
    def worn_by(self) -> str:
        """Why the worker is to be replaced, in words; empty if it is not."""
        if self.process is None or self.is_leaving:
            return ""
        if self._handover.is_worn(self._worker):
            done = self.slot.handled_count + self.slot.failed_count - self._done_before
            return f"limit of {self._config.items_called} reached, {done}"
        if self._memory is not None and self._memory.is_worn:
            cap = self._config.max_memory_per_worker or 0
            return f"{self._memory.used / MEBIBYTE:.0f} MiB of memory, may have about {cap / MEBIBYTE:.0f} MiB"
        return ""

    @property
    def is_leaving(self) -> bool:
        """Whether the worker was asked to leave."""
        return self._leaving_since is not None

    def ask_to_leave(self, within: float) -> None:
        """
        Have the worker finish what it has in hand and leave the rest to others.

        Arguments:
            within: seconds from now after which it is killed; infinite for never. What was asked before holds as well.
        """
        if self.process is None:
            return
        now = time.monotonic()
        if self._leaving_since is None:
            self._leaving_since, self._leaving_limit = now, math.inf
            self._handover.ask_to_leave(self._worker)
            self.process.terminate()
        self._leaving_limit = min(self._leaving_limit, now - self._leaving_since + within)

    def retire(self) -> None:
        """Have no worker here any more."""
        self.wanted = False
        self.ask_to_leave(self._config.shutdown_timeout)

    def return_to_work(self) -> None:
        """Have a worker here again, as soon as the one that may still be leaving is gone."""
        if self.process is None:
            self._due = -math.inf
        self.wanted = True

    def forget(self) -> None:
        """Forget what the last worker died of: what it had is in other hands."""
        self._former = self._former_pid = None

    def fork_successor(self, reason: str) -> Successor:
        """Return what is to replace the worker that lives. Raises OSError when the operating system refuses it."""
        self._last_worker += 1
        return Successor(
            self._name, self._last_worker, self._post, self._former, reason, self._config.ready_timeout, self._hooks
        )

    def succeed(self, successor: Successor) -> None:
        """Let the successor begin: the worker before it has given way."""
        assert self.process is None
        self.process, self._worker = successor.process, successor.worker
        self._note_counts()
        self._begin_to_watch(self.process)
        self._handover.give_turn(successor.worker, owed=self._former is not None and self._former.item is not None)
        self._hooks.on_event(WorkerStarted(self.number, self.process.pid, self._former_pid, successor.reason))

    def _fork_next(self) -> None:
        if not self.wanted:
            return
        self._note_counts()
        self._last_worker += 1
        self._worker = self._last_worker
        process = self._fork(run_worker, self._post, self._worker, self._former)
        if process is not None:
            self._begin_to_watch(process)
            if self._former_pid is not None:
                self.replacements += 1
            self._hooks.on_event(WorkerStarted(self.number, process.pid, self._former_pid))

    def _note_counts(self) -> None:
        """Note what the shard has done before its next worker begins."""
        self._settled_before = self.slot.settled_count
        self._done_before = self.slot.handled_count + self.slot.failed_count

    def _begin_to_watch(self, process: ChildProcess) -> None:
        config = self._config
        if config.max_memory_per_worker is not None:
            self._memory = MemoryWatch(process.pid, config.max_memory_per_worker, config.memory_patience)

    def _matter(self, process: ChildProcess) -> Matter:
        """Return what is over its limit next."""
        item = self.slot.item
        if item is not None and self._memory is not None and self._memory.is_excessive:
            self._excess = self._memory.used
            return Matter((_MEMORY, item), seconds=0.0, limit=0.0)
        if item is not None:
            matter = Matter(item, self.slot.seconds_in_hand, self._item_timeout)
        else:
            sign = self._last_sign(process)
            matter = Matter(sign, time.monotonic() - sign, self._config.silence_timeout)
        if self._leaving_since is not None:
            leaving = Matter(_LEAVING, time.monotonic() - self._leaving_since, self._leaving_limit)
            return min(matter, leaving, key=lambda each: each.limit - each.seconds)
        return matter

    def _cause(self, process: ChildProcess, item: Item | None, verdict: Verdict | None) -> tuple[Cause, str]:
        exit_code = process.exit_code
        assert exit_code is not None
        if verdict is not None and verdict.what == (_MEMORY, item):
            cap = self._config.max_memory_per_worker or 0
            return Cause(exit_code, memory=Memory(self._excess, cap)), verdict.stack
        if verdict is not None and verdict.what == _LEAVING:
            return Cause(exit_code, overstayed=verdict.seconds), verdict.stack
        if verdict is not None and verdict.what == (self._last_sign(process) if item is None else item):
            seconds = verdict.seconds
            if item is None:
                return Cause(exit_code, silent_for=seconds), verdict.stack
            return Cause(exit_code, timed_out_after=seconds), verdict.stack
        return Cause(exit_code, too_many_errors=exit_code == EXIT_TOO_MANY_ERRORS), ""
