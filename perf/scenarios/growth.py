"""What an event costs as the backlog, the pending entries and the groups of its stream grow by 10 and by 100."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from perf.bench import OURS, Bench
from perf.scenario import Bar, Case

TITLE = "a pool of 1 handles 10,000 events, as backlog, pending entries and groups grow"

EVENTS = 10_000

TIMES = (1, 10, 100)

LEAST_PENDING = 1_000

BARS: list[Bar] = []


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""
    count = bench.scaled(EVENTS)

    def consume(*, backlog: int = 1, pending: int = 0, groups: int = 1) -> Mapping[str, float]:
        run = bench.consume(OURS, count, 1, left=count * (backlog - 1), pending=bench.scaled(pending), groups=groups)
        return {"processor µs/event": run.cost, "server µs/event": run.cost_of_server, "events/s": run.rate}

    return [
        *[Case(f"backlog {EVENTS * times}", partial(consume, backlog=times)) for times in TIMES],
        *[Case(f"pending {LEAST_PENDING * times}", partial(consume, pending=LEAST_PENDING * times)) for times in TIMES],
        *[Case(f"groups {times}", partial(consume, groups=times)) for times in TIMES],
    ]
