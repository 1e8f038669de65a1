"""
What the monitor answers to those who ask by HTTP:

``/healthz``  whether the pool is well: its workers make progress, or have nothing to do
``/readyz``   whether it can get events: its group was found on the server just now
``/metrics``  numbers, for Prometheus

All of it is in memory, so it is answered in a moment, also while the server is away or the monitor waits for it.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edx_event_bus_redis.internal.accounts import Accounts
from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.counts import PoolCounts
from edx_event_bus_redis.internal.endpoints import Answer, Endpoints
from edx_event_bus_redis.internal.health import Patience, patience_with, problems, reasons_not_ready
from edx_event_bus_redis.internal.options import ConsumerSettings
from edx_event_bus_redis.internal.protocols import Crew

if TYPE_CHECKING:
    from edx_event_bus_redis.internal.exposition import Facts, PoolMetrics


def answer_to_http(
    settings: ConsumerSettings, about: Mapping[str, str], *, crew: Crew, counts: PoolCounts, board: Board
) -> Probes:
    """Answer on the port of the settings, from now on to the end of this process; see Probes for the arguments."""
    assert settings.monitor_port is not None
    patience = patience_with(settings.handler_timeout, settings.shutdown_timeout)
    probes = Probes(about, crew=crew, counts=counts, board=board, patience=patience)
    Endpoints(settings.monitor_host, settings.monitor_port, probes.answers(), about["pool"]).start()
    return probes


class Probes:
    """
    The answers of one pool.

    Arguments:
        about: which pool it is: its topic, its group and more.
        crew: its workers.
        counts: what these count.
        board: where the monitor says when it has found the group.
        patience: how long its workers may take.

    Attributes:
        accounts: of the group, as they were found last; None if they were not.
    """

    def __init__(
        self,
        about: Mapping[str, str],
        *,
        crew: Crew,
        counts: PoolCounts,
        board: Board,
        patience: Patience,
    ) -> None:
        self.accounts: Accounts | None = None
        self._about = about
        self._crew = crew
        self._counts = counts
        self._board = board
        self._patience = patience

    def answers(self) -> Mapping[str, Callable[[], Answer]]:
        """Return what answers, by path."""
        return {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._metrics}

    def _health(self) -> Answer:
        workers = self._crew.workers()
        return self._verdict(
            "healthy",
            problems(workers, self._patience, self._crew.seconds_unsupervised()),
            workers=Counter(each.state for each in workers),
        )

    def _readiness(self) -> Answer:
        return self._verdict("ready", reasons_not_ready(self._board.seconds_since_look))

    def _verdict(self, name: str, found: list[str], **more: object) -> Answer:
        body = {name: not found, "problems": found, **more, **self._about}
        return Answer(503 if found else 200, "application/json", json.dumps(body).encode() + b"\n")

    def _metrics(self) -> Answer:
        metrics, content_type = self._exposition
        return Answer(200, content_type, metrics.text())

    @functools.cached_property
    def _exposition(self) -> tuple[PoolMetrics, str]:
        from edx_event_bus_redis.internal import exposition  # noqa: PLC0415 -- see there

        def look() -> Facts:
            workers = self._crew.workers()
            return exposition.Facts(
                [worker.state for worker in workers],
                [worker.errors for worker in workers],
                self._crew.deaths(),
                self._counts.totals(),
                self.accounts,
            )

        return exposition.PoolMetrics(self._about, look), exposition.CONTENT_TYPE
