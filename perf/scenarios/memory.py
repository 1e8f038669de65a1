"""The memory of a pool after some work, against as many published consumers, which share nothing but program files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from perf.bench import OURS, Bench, Side
from perf.scenario import Bar, Case

TITLE = "memory (PSS) of all processes, each worker having handled about 2,000 events"

EVENTS_PER_WORKER = 2_000

BARS = [
    Bar(
        "memory (PSS) of a pool of 8 against 8 published consumers",
        case="ours, 8",
        quantity="MiB",
        against="published, 8",
        at_most=0.3,
    ),
    Bar("one more worker, MiB (PSS)", case="ours, 16", quantity="MiB", less="ours, 8", per=8, at_most=8.0),
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def memory(side: Side, workers: int) -> Mapping[str, float]:
        count = bench.scaled(EVENTS_PER_WORKER) * workers
        with bench.topic(count) as prefix, bench.consumers(side, prefix, workers) as consumers:
            bench.follow(prefix, count, consumers)
            return {"MiB": consumers.memory()}

    pools = [Case(f"ours, {workers}", partial(memory, OURS, workers)) for workers in (1, 2, 4, 8, 16)]
    others = [
        Case(f"{side.name}, {workers}", partial(memory, side, workers))
        for side in bench.sides
        if not side.has_pool
        for workers in (1, 4, 8)
    ]
    return [*pools, *others]
