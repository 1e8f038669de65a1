"""How long replacements wait that achieve nothing, and when there are to be no more of them."""

from __future__ import annotations

from dataclasses import dataclass

from pool.config import PoolConfig
from pool.shard import DeadWorker


@dataclass
class _Row:
    """
    The deaths in a row of one shard.

    ``failures``: those without anything settled by this shard, which set the delay of its replacement. ``barren``:
    those without anything handled by the whole pool, which lead to giving up, those with nothing in hand counted
    ``deaths_per_item`` times. ``error_limits``: how many, up to the last, were for too many errors.
    """

    failures: int = 0
    barren: int = 0
    error_limits: int = 0

    def progressed(self) -> None:
        self.barren = self.error_limits = 0


class Patience:
    """Keeps count of the deaths of all workers of a pool."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._rows = {shard: _Row() for shard in range(config.workers)}
        self._handled = 0

    def welcome(self, shard: int) -> None:
        """Count the deaths of one shard more."""
        self._rows.setdefault(shard, _Row())

    def forget(self, shard: int) -> None:
        """Forget a shard that the pool does not have any more."""
        self._rows.pop(shard, None)

    def delay_after(self, shard: int, dead: DeadWorker, handled: int) -> float | None:
        """
        Return the seconds that the replacement of a dead worker has to wait; None if the pool has to give up.

        Arguments:
            shard: its number.
            dead: what is known of it.
            handled: items that the whole pool has handled so far.
        """
        self._enter(self._rows[shard], dead, handled)
        return None if self._is_fruitless() else self._config.backoff.delay(self._rows[shard].failures)

    def _enter(self, row: _Row, dead: DeadWorker, handled: int) -> None:
        too_many_errors = dead.death.cause.too_many_errors
        if handled > self._handled:
            self._handled = handled
            for each in self._rows.values():
                each.progressed()
        started_well = dead.age >= self._config.stable_after and not too_many_errors
        if started_well:
            row.progressed()
        if started_well or dead.settled:
            row.failures = 0
        row.failures += 1
        row.barren += self._config.deaths_per_item if dead.death.item is None else 1
        row.error_limits = row.error_limits + 1 if too_many_errors else 0

    def _is_fruitless(self) -> bool:
        config, rows = self._config, self._rows.values()
        return (
            any(row.barren >= config.give_up_after * config.deaths_per_item for row in rows)
            or all(row.barren >= config.give_up_after_each * config.deaths_per_item for row in rows)
            or all(row.error_limits >= config.give_up_after_error_limits for row in rows)
        )
