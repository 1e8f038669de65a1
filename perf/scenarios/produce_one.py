"""Events sent one by one, each waiting for the server's answer as a request of a web service does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from perf.bench import Bench, Side
from perf.scenario import Bar, Case

TITLE = "produce 10,000 events one by one, no log"

EVENTS = 10_000

BARS = [
    Bar(
        "produce one by one against the published producer",
        case="ours",
        quantity="events/s",
        against="published",
        at_least=2.0,
    )
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def produce(side: Side, *, audit: bool) -> Mapping[str, float]:
        run = bench.produce(side, bench.scaled(EVENTS), audit=audit)
        return {"events/s": run.rate, "processor µs/event": run.cost}

    return [
        Case(f"{side.name}{', audit log to a file' * audit}", partial(produce, side, audit=audit))
        for audit in (False, True)
        for side in bench.sides
    ]
