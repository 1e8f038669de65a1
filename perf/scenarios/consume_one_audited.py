"""One worker against the published consumer, with the audit log on and written to a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from perf.bench import Bench, Side
from perf.scenario import Bar, Case

TITLE = "one worker, audit log to a file: a backlog of 20,000"

EVENTS = 20_000

BARS = [
    Bar(
        "the same with the audit log on, written to a file",
        case="ours",
        quantity="events/s",
        against="published",
        at_least=6.0,
    )
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def consume(side: Side) -> Mapping[str, float]:
        run = bench.consume(side, bench.scaled(EVENTS), 1, audit=True)
        return {"events/s": run.rate, "processor µs/event": run.cost}

    return [Case(side.name, partial(consume, side)) for side in bench.sides]
