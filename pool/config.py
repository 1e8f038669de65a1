"""What a pool is told once, before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pool.backoff import Backoff
from pool.errors import PoolConfigError

# What a pool grows to if nothing else is said: far more than one machine has processors for, and few enough that a key
# held down does not fill the machine.
MOST_WORKERS = 64


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """
    The settings of one pool.

    Attributes:
        name: what the pool is called: shard 0 of ``c1`` is the process ``c1.0`` in a traceback.
        workers: number of shards at the start, from 1.
        items_called: what items are in words, in the reason for which a worker is replaced.
        fewest_workers: number of shards below which the pool does not shrink, from 1.
        most_workers: number of shards above which it does not grow; None for MOST_WORKERS, or ``workers`` if these are
            more.
        shutdown_timeout: seconds that a graceful stop, or a worker that gives way, may take until what is left is
            killed; above 0.
        ready_timeout: seconds, above 0, that the successor of a worker that lives may take until it is ready. Then its
            Python stack is taken, it is killed, and the old worker stays.
        item_timeout: seconds that an item may be in hand. Then the worker's Python stack is taken and the worker is
            killed, whatever it is doing; None for as long as it takes.
        silence_timeout: seconds, above 0, that a worker with nothing in hand may give no sign of life. Then the same is
            done. The default is longer than the system tries to connect to a server that does not answer.
        max_items_per_worker: items after which a worker is replaced, about: up to a fifth fewer, at random; None for
            any number.
        max_memory_per_worker: bytes of memory of its own (unique set size) above which a worker is replaced, about: up
            to a tenth less, at random. Above twice as much it is killed if it has an item in hand. None: no limit.
        memory_patience: seconds, above 0, for which a worker is not replaced because of its memory after its start: it
            may need more than the cap from the beginning.
        monitor_timeout: seconds, above 0, that the monitor may give no sign of life. Then its Python stack is taken and
            it is killed and replaced.
        backoff: delays between replacements that achieve nothing.
        deaths_per_item: deaths that one item may cause before whoever reads the items disposes of it. So many deaths
            with something in hand count as one for giving up, so that a few bad items do not end the pool.
        give_up_after: the pool gives up when one shard was replaced so many times in a row and no worker of the pool
            achieved anything meanwhile. The default, 8, is half a minute with the default backoff: longer than a
            hiccup of the machine, shorter than an operator's patience.
        give_up_after_each: the same, when it holds for every shard. Less is needed then: a fault that takes all of
            them is not one bad item.
        give_up_after_error_limits: the same for every shard, when all its workers left because of too many errors.
            2 is enough: each of them has been patient already.
        stable_after: seconds, above 0, after which a worker counts as having started well, even if it had nothing to
            do; its death begins a new row. Not for one that left because of too many errors, however slowly they came.

    Raises:
        PoolConfigError: a value is out of range; the message names it.
    """

    name: str
    workers: int
    items_called: str = "items"
    fewest_workers: int = 1
    most_workers: int | None = None
    shutdown_timeout: float = 30.0
    ready_timeout: float = 60.0
    item_timeout: float | None = None
    silence_timeout: float = 180.0
    max_items_per_worker: int | None = None
    max_memory_per_worker: int | None = None
    memory_patience: float = 10.0
    monitor_timeout: float = 6.0
    backoff: Backoff = field(default_factory=Backoff)
    deaths_per_item: int = 1
    give_up_after: int = 8
    give_up_after_each: int = 5
    give_up_after_error_limits: int = 2
    stable_after: float = 300.0

    def __post_init__(self) -> None:
        for count in (
            "workers",
            "fewest_workers",
            "max_items_per_worker",
            "max_memory_per_worker",
            "deaths_per_item",
            "give_up_after",
            "give_up_after_each",
            "give_up_after_error_limits",
        ):
            number = getattr(self, count)
            if number is not None and number < 1:
                raise PoolConfigError(f"{count} is {getattr(self, count)!r}, it must be at least 1")
        if not self.fewest_workers <= self.workers <= self.most:
            raise PoolConfigError(
                f"workers is {self.workers!r}, it must be from {self.fewest_workers!r} to {self.most!r}"
            )
        for seconds in (
            "shutdown_timeout",
            "ready_timeout",
            "stable_after",
            "item_timeout",
            "silence_timeout",
            "memory_patience",
            "monitor_timeout",
        ):
            value = getattr(self, seconds)
            # Written so that NaN, which compares false with everything, is refused.
            if value is not None and not value > 0:
                raise PoolConfigError(f"{seconds} is {getattr(self, seconds)!r}, it must be above 0 seconds")

    @property
    def most(self) -> int:
        """Number of shards above which the pool does not grow."""
        return max(self.workers, MOST_WORKERS) if self.most_workers is None else self.most_workers
