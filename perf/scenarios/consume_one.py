"""One worker against the published consumer, with a handler that does nothing and nothing logged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from perf.bench import OURS, Bench, Side
from perf.scenario import Bar, Case

TITLE = "one worker, no log: a backlog of 20,000"

EVENTS = 20_000

BARS = [
    Bar(
        "1 worker against the published consumer, audit log off, level WARNING",
        case="ours, 1 worker",
        quantity="events/s",
        against="published",
        at_least=10.0,
    )
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def consume(side: Side, workers: int | None) -> Mapping[str, float]:
        run = bench.consume(side, bench.scaled(EVENTS), workers)
        return {"events/s": run.rate, "processor µs/event": run.cost}

    return [
        Case("ours, 1 worker", partial(consume, OURS, 1)),
        *[
            Case(f"{side.name}{', no pool' * side.has_pool}", partial(consume, side, None))
            for side in reversed(bench.sides)
        ],
    ]
