"""
The workers of a pool: how many there are, who dies, and who comes next.

Shards are numbered from 0 without a gap. The pool grows by the next number, and shrinks by the highest one: its worker
finishes what it has in hand. The number that others see (``Slots``) is raised before a worker begins and lowered when
it is gone, so that nobody takes what it still has for left behind.
"""

from __future__ import annotations

import functools

from pool.child import Prepare, Work
from pool.config import PoolConfig
from pool.events import Cause, Resized, ResizeRefused, WorkerDied, WorkerLeft
from pool.monitor import MonitorSeat
from pool.patience import Patience
from pool.process import ChildProcess
from pool.renewal import Renewal
from pool.seat import Hooks
from pool.shard import DeadWorker, Shard
from pool.slots import Slots


class Workforce:
    """
    The shards of one pool.

    Attributes:
        shards: those that the pool has or had.
    """

    def __init__(self, slots: Slots, config: PoolConfig, work: Work, prepare: Prepare, hooks: Hooks) -> None:
        self._slots = slots
        self._config = config
        self._hooks = hooks
        self._wanted = config.workers
        self._patience = Patience(config)
        self._renewal = Renewal(config, hooks)
        self._new_shard = functools.partial(Shard, slots=slots, config=config, work=work, prepare=prepare, hooks=hooks)
        self.shards = [self._new_shard(number) for number in range(config.workers)]

    @property
    def replacements(self) -> int:
        """Workers that came after one that had died."""
        return sum(shard.replacements for shard in self.shards)

    @property
    def successors(self) -> list[ChildProcess]:
        """The processes that are to replace others that live."""
        successor = self._renewal.successor
        return [] if successor is None else [successor]

    def replace_all(self, monitor: MonitorSeat | None, reason: str) -> None:
        """Replace every process by a new one, one after the other, the monitor first; ``reason``: name of a signal."""
        self._renewal.replace_all(self._seats(monitor), reason)

    def grow(self, by: int, reason: str) -> None:
        """Have more workers, or fewer if ``by`` is negative, as far as the pool may; ``reason``: who wants it."""
        self.resize(self._wanted + by, reason)

    def resize(self, wanted: int, reason: str) -> None:
        """Have so many workers, as far as the pool may; ``reason``: who wants it."""
        former = self._wanted
        if wanted == former:
            return
        self._wanted = max(self._config.fewest_workers, min(wanted, self._config.most))
        if self._wanted == former:
            self._hooks.on_event(ResizeRefused(former, "most" if wanted > former else "fewest", reason))
            return
        for number in range(former, self._wanted):
            self._patience.welcome(number)
            if number < len(self.shards):
                self.shards[number].return_to_work()
            else:
                self.shards.append(self._new_shard(number))
        for number in range(self._wanted, former):
            self._patience.forget(number)
            self.shards[number].retire()
        self._count()
        self._hooks.on_event(Resized(self._wanted, former, reason))

    def bury(self, *, stopping: bool) -> Cause | None:
        """Bury the dead and see to what follows; return the cause of a death after which nobody is to come any more."""
        last = None
        for shard in self.shards:
            worker = shard.bury()
            if worker is None or last is not None:
                continue
            if stopping:
                if worker.death.cause.exit_code or worker.death.item is not None:
                    self._tell_death(shard, worker, None)
                continue
            if not shard.wanted:
                self._answer_end(shard, worker)
            elif worker.gave_way:
                self._answer_leaving(shard)
            elif not self._answer_death(shard, worker):
                last = worker.death.cause
        return last

    def keep_time(self, monitor: MonitorSeat | None) -> None:
        """Do what is due."""
        for shard in self.shards:
            shard.keep_time()
            worn_by = shard.worn_by
            if worn_by:
                self._renewal.replace(shard, worn_by)
        self._renewal.keep_time(self._seats(monitor))

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which something may be due."""
        return min(self._renewal.next_time(), *(shard.next_time() for shard in self.shards))

    def abandon_renewal(self) -> None:
        """Replace nobody any more who lives: the pool stops."""
        self._renewal.abandon()

    def _seats(self, monitor: MonitorSeat | None) -> list[Shard | MonitorSeat]:
        return [*([] if monitor is None else [monitor]), *self.shards]

    def _count(self) -> None:
        """Let others know how many shards there are: also those that are leaving."""
        present = max([self._wanted, *(shard.number + 1 for shard in self.shards if shard.process is not None)])
        self._slots.resize(present)
        for shard in self.shards[present:]:
            shard.forget()

    def _answer_end(self, shard: Shard, worker: DeadWorker) -> None:
        """Say that the last worker of a shard is gone."""
        self._count()
        if worker.gave_way:
            self._hooks.on_event(WorkerLeft(shard.number, worker.pid))
        else:
            self._tell_death(shard, worker, None)

    def _tell_death(self, shard: Shard, worker: DeadWorker, delay: float | None) -> None:
        """Say and keep what a worker died of."""
        death = worker.death
        in_hand = death.item, death.seconds_in_hand
        self._slots.deaths.record(shard.number, str(death.cause), death.cause.kind, shard.slot.settled_count)
        self._hooks.on_event(WorkerDied(shard.number, worker.pid, death.cause, *in_hand, delay, death.stack))

    def _answer_leaving(self, shard: Shard) -> None:
        if not self._renewal.succeed(shard):
            shard.replace_in(0.0)

    def _answer_death(self, shard: Shard, worker: DeadWorker) -> bool:
        """Say that a worker died, and have another one come; return False if that would be in vain."""
        delay = self._patience.delay_after(shard.number, worker, self._slots.handled())
        self._tell_death(shard, worker, delay)
        if delay is not None:
            shard.replace_in(delay)
        return delay is not None
