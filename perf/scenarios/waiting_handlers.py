"""Handlers that wait, as for a database: workers overlap their waits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from perf.bench import OURS, Bench
from perf.scenario import Bar, Case

TITLE = "a handler that waits 10 ms, by workers"

EVENTS_PER_WORKER = 400

BARS = [
    Bar(
        "16 workers against 1 with a handler that waits 10 ms",
        case="16 workers",
        quantity="events/s",
        against="1 worker",
        at_least=14.0,
    )
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def consume(workers: int) -> Mapping[str, float]:
        count = bench.scaled(EVENTS_PER_WORKER) * workers
        return {"events/s": bench.consume(OURS, count, workers, handler="wait:0.01").rate}

    return [
        Case("1 worker", partial(consume, 1)),
        Case("4 workers", partial(consume, 4)),
        Case("16 workers", partial(consume, 16)),
    ]
