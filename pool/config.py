"""What a pool is told once, before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pool.backoff import Backoff
from pool.errors import PoolConfigError


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """
    The settings of one pool.

    Attributes:
        name: what the pool is called: shard 0 of ``c1`` is the process ``c1.0`` in a traceback.
        workers: number of shards, from 1.
        shutdown_timeout: seconds that a graceful stop may take until what is left is killed; above 0.
        item_timeout: seconds that an item may be in hand. Then the worker's Python stack is taken and the worker is
            killed, whatever it is doing; None for as long as it takes.
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
    shutdown_timeout: float = 30.0
    item_timeout: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    deaths_per_item: int = 1
    give_up_after: int = 8
    give_up_after_each: int = 5
    give_up_after_error_limits: int = 2
    stable_after: float = 300.0

    def __post_init__(self) -> None:
        for count in (
            "workers",
            "deaths_per_item",
            "give_up_after",
            "give_up_after_each",
            "give_up_after_error_limits",
        ):
            if getattr(self, count) < 1:
                raise PoolConfigError(f"{count} is {getattr(self, count)!r}, it must be at least 1")
        for seconds in ("shutdown_timeout", "stable_after", "item_timeout"):
            value = getattr(self, seconds)
            # Written so that NaN, which compares false with everything, is refused.
            if value is not None and not value > 0:
                raise PoolConfigError(f"{seconds} is {getattr(self, seconds)!r}, it must be above 0 seconds")
