"""
The parent's side. Its duties, in the order of its loop:

1. Sleep until a signal arrives, SIGCHLD included, or a time is due.
2. Answer signals: the first SIGTERM or SIGINT asks all children to stop, the second kills them.
3. Bury the dead, say why they died, and set the time of their replacement, or give up.
4. Fork the replacements that are due; while stopping, kill who is still there at the deadline.

It ends when it was asked to and every child is gone (STOPPED), or when replacements went on and nothing was achieved
(GAVE_UP). It never ends with a child left, not even by an exception.
"""

from __future__ import annotations

import enum
import gc
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pool.child import MANAGED, Post, Work
from pool.config import PoolConfig
from pool.events import Cause, Death, Event, ForkFailed, GaveUp, Stopped, Stopping, WorkerDied, WorkerStarted
from pool.process import WorkerProcess
from pool.signals import SignalInbox, blocked
from pool.slots import Item, Slots
from pool.stacks import Stacks

# Seconds that a worker has to write its stacks before it is killed. It takes milliseconds.
_STACK_SECONDS = 0.2


class Outcome(enum.Enum):
    """How a pool ended."""

    STOPPED = "stopped"
    GAVE_UP = "gave up"


@dataclass(frozen=True)
class _Overdue:
    """An item that has been in hand for too long: its worker was asked for its stack, and is to be killed at a time."""

    item: Item
    seconds: float
    kill_at: float


@dataclass
class _Shard:
    """
    The supervisor's knowledge of one shard.

    ``failures``: deaths in a row without anything settled by this shard, which set the delay of its replacement;
    ``refusals``: forks in a row that failed, which set the delay of the next try. ``barren``: deaths in a row without
    anything handled by the whole pool, which lead to giving up, those with nothing in hand counted
    ``deaths_per_item`` times; ``error_limits``: how many in a row, up to the last, were for too many errors.
    """

    number: int
    post: Post
    process: WorkerProcess | None = None
    last_pid: int | None = None
    former: Death | None = None
    overdue: _Overdue | None = None
    due: float | None = None
    failures: int = 0
    refusals: int = 0
    barren: int = 0
    error_limits: int = 0

    def progressed(self) -> None:
        self.barren = self.error_limits = 0


def _ignore(event: Event) -> None:
    pass


class Supervisor:
    """
    Runs a pool in this process.

    Arguments:
        config: the pool's settings.
        work: what each worker runs, called with its Child in the forked process. A worker leaves by returning; to say
            that it has seen too many errors, by ``SystemExit(EXIT_TOO_MANY_ERRORS)``.
        on_event: called in this process with each event; must not block.
        before_fork: called in this process before each fork, to close what must not be shared.

    An exception of either callable kills the pool and leaves ``run``. The supervisor buries every dead child of this
    process, so the caller must not wait for children of its own meanwhile.
    """

    def __init__(
        self,
        config: PoolConfig,
        work: Work,
        *,
        on_event: Callable[[Event], None] = _ignore,
        before_fork: Callable[[], None] = lambda: None,
    ) -> None:
        self.slots = Slots(config.workers)
        self._config = config
        self._tell = on_event
        self._before_fork = before_fork
        self._shards = [
            _Shard(number, Post(number, self.slots, Stacks(), config.shutdown_timeout, work))
            for number in range(config.workers)
        ]
        self._handled = 0
        self._replacements = 0
        self._outcome: Outcome | None = None
        self._asked = False
        self._stop_began = 0.0
        self._killed = 0

    def run(self) -> Outcome:
        """
        Run the pool until it is stopped by a signal or gives up; return which. Call it once, in the main thread.

        A caller that has to answer signals until then may call it with them blocked: they are let through as soon as
        the pool can answer them.
        """
        # Within the inbox, what blocks and lets through puts the caller's mask back before its handlers.
        with SignalInbox(MANAGED) as inbox, blocked(()):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, MANAGED)
            # What the parent has loaded is never collected in the children, so its pages stay shared.
            gc.collect()
            gc.freeze()
            try:
                while self._outcome is None or self._living():
                    self._answer(inbox.take())
                    self._bury()
                    self._keep_time()
                    self._sleep(inbox)
            finally:
                self._kill_all()
                gc.unfreeze()
        self._tell(
            Stopped(
                seconds=time.monotonic() - self._stop_began,
                left=sum(slot.held_count for slot in self.slots),
                killed=self._killed,
            )
        )
        return self._outcome

    def _living(self) -> list[WorkerProcess]:
        return [shard.process for shard in self._shards if shard.process is not None]

    def _sleep(self, inbox: SignalInbox) -> None:
        if self._outcome is None:
            times = [shard.due for shard in self._shards if shard.due is not None]
            times += [self._overdue_at(shard) for shard in self._shards if shard.process is not None]
        elif self._living():
            times = [self._deadline]
        else:
            return
        inbox.wait(min(times, default=math.inf) - time.monotonic())

    def _answer(self, signals: list[signal.Signals]) -> None:
        for number in signals:
            if number is signal.SIGCHLD:
                continue
            if self._asked:
                self._kill_all()
            elif self._outcome is None:
                self._stop(Outcome.STOPPED, number.name)
            self._asked = True

    def _bury(self) -> None:
        for shard in self._shards:
            cause = shard.process.poll() if shard.process is not None else None
            if cause is not None:
                self._mourn(shard, cause)
        self._reap_strangers()

    def _reap_strangers(self) -> None:
        """Bury the dead that are not ours: process 1 inherits the orphans of its container."""
        if sys.platform != "linux":
            return
        ours = {process.pid for process in self._living()}
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            # One of ours, dead only now, wakes the loop again by its SIGCHLD.
            if dead is None or dead.si_pid in ours:
                return
            os.waitpid(dead.si_pid, os.WNOHANG)

    def _mourn(self, shard: _Shard, cause: Cause) -> None:
        process, slot = shard.process, self.slots[shard.number]
        assert process is not None
        item, seconds_in_hand = slot.item, slot.seconds_in_hand
        stack = ""
        if shard.overdue is not None and shard.overdue.item == item and cause.exit_code == -signal.SIGKILL:
            cause = replace(cause, timed_out_after=shard.overdue.seconds)
            stack = shard.post.stacks.read()
        shard.process, shard.last_pid, shard.overdue = None, process.pid, None
        shard.former = Death(cause, item, seconds_in_hand, stack)
        if self._outcome is not None:
            slot.gone()
            return

        self._judge(shard, process, cause, item)
        slot.gone()
        fruitless = self._is_fruitless()
        delay = None if fruitless else self._config.backoff.delay(shard.failures)
        self._tell(WorkerDied(shard.number, process.pid, cause, item, seconds_in_hand, delay))
        if delay is None:
            self._tell(GaveUp(self._replacements, cause))
            self._stop(Outcome.GAVE_UP, "gave up")
        else:
            shard.due = time.monotonic() + delay

    def _judge(self, shard: _Shard, process: WorkerProcess, cause: Cause, item: Item | None) -> None:
        """Bring the shard's counts up to date with a death."""
        slot = self.slots[shard.number]
        handled = self.slots.handled()
        if handled > self._handled:
            self._handled = handled
            for each in self._shards:
                each.progressed()
        started_well = process.age >= self._config.stable_after and not cause.too_many_errors
        if started_well:
            shard.progressed()
        if started_well or slot.settled_count > process.settled_before:
            shard.failures = 0
        shard.failures += 1
        shard.barren += self._config.deaths_per_item if item is None else 1
        shard.error_limits = shard.error_limits + 1 if cause.too_many_errors else 0

    def _is_fruitless(self) -> bool:
        config, shards = self._config, self._shards
        return (
            any(shard.barren >= config.give_up_after * config.deaths_per_item for shard in shards)
            or all(shard.barren >= config.give_up_after_each * config.deaths_per_item for shard in shards)
            or all(shard.error_limits >= config.give_up_after_error_limits for shard in shards)
        )

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._outcome is not None:
            if now >= self._deadline:
                self._kill_all()
            return
        for shard in self._shards:
            if shard.process is not None:
                self._time_out(shard, shard.process, now)
            elif shard.due is None or shard.due <= now:
                self._fork(shard)

    def _time_out(self, shard: _Shard, process: WorkerProcess, now: float) -> None:
        """Ask for the stack of a worker whose item is overdue; kill it a moment later, unless it has let go of it."""
        slot, timeout = self.slots[shard.number], self._config.item_timeout
        if timeout is None:
            return
        item, seconds = slot.item, slot.seconds_in_hand
        if shard.overdue is not None and shard.overdue.item != item:
            shard.overdue = None
        if shard.overdue is not None:
            if now >= shard.overdue.kill_at:
                process.kill()
        elif item is not None and seconds >= timeout:
            shard.post.stacks.request(process.pid)
            shard.overdue = _Overdue(item, seconds, now + _STACK_SECONDS)

    def _overdue_at(self, shard: _Shard) -> float:
        """The time at which something is due for what a worker has in hand, or may take in hand now."""
        if self._config.item_timeout is None:
            return math.inf
        if shard.overdue is not None:
            return max(shard.overdue.kill_at, time.monotonic() + _STACK_SECONDS / 10)
        return time.monotonic() + self._config.item_timeout - self.slots[shard.number].seconds_in_hand

    def _fork(self, shard: _Shard) -> None:
        self._before_fork()
        try:
            shard.process = WorkerProcess(self._config.name, shard.post, shard.former)
        except OSError as error:
            shard.refusals += 1
            delay = self._config.backoff.delay(shard.refusals + 1)
            shard.due = time.monotonic() + delay
            self._tell(ForkFailed(shard.number, error, delay))
            return
        shard.due, shard.refusals = None, 0
        if shard.last_pid is not None:
            self._replacements += 1
        self._tell(WorkerStarted(shard.number, shard.process.pid, shard.last_pid))

    def _stop(self, outcome: Outcome, reason: str) -> None:
        self._outcome = outcome
        self._stop_began = time.monotonic()
        self._tell(Stopping(reason, self._config.shutdown_timeout))
        for process in self._living():
            process.terminate()

    @property
    def _deadline(self) -> float:
        return self._stop_began + self._config.shutdown_timeout

    def _kill_all(self) -> None:
        """Kill every child that is left and wait for its end, which the kernel does not delay."""
        for process in self._living():
            process.kill()
        for shard in self._shards:
            if shard.process is None:
                continue
            cause = shard.process.wait()
            # It may have left by itself a moment before.
            if cause is None or cause.exit_code == -signal.SIGKILL:
                self._killed += 1
            shard.process = None
            self.slots[shard.number].gone()
