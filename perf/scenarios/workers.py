"""More workers on the same cores: a handler that does nothing, so that the processors are all there is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from perf.bench import Bench, Side
from perf.scenario import Bar, Case

TITLE = "throughput by workers, no log: a backlog of 40,000"

EVENTS = 40_000
PUBLISHED_EVENTS = 10_000

BARS = [
    Bar(
        "2 workers against 1, on 2 cores that the server shares",
        case="ours, 2",
        quantity="events/s",
        against="ours, 1",
        at_least=1.6,
    ),
    Bar("4 workers against 2, on 2 cores", case="ours, 4", quantity="events/s", against="ours, 2", at_least=0.9),
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases: pools of ours, and as many published consumers in one group."""

    def consume(side: Side, workers: int) -> Mapping[str, float]:
        run = bench.consume(side, bench.scaled(EVENTS if side.has_pool else PUBLISHED_EVENTS), workers)
        return {"events/s": run.rate, "processor µs/event": run.cost}

    return [
        Case(f"{side.name}, {workers}", partial(consume, side, workers))
        for workers in (1, 2, 4)
        for side in bench.sides
    ]
