"""Many events sent by the bulk call, against the published producer, which has none and sends one by one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from edx_event_bus_redis.internal.producer import RedisEventProducer
from perf.bench import Bench, Side
from perf.scenario import Bar, Case, Skipped

TITLE = "produce many events with one call, no log"

EVENTS = 50_000
PUBLISHED_EVENTS = 10_000

BARS = [
    Bar(
        "send_many against the published producer", case="ours", quantity="events/s", against="published", at_least=10.0
    )
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""
    if not hasattr(RedisEventProducer, "send_many"):
        raise Skipped("the producer has no send_many")

    def produce(side: Side) -> Mapping[str, float]:
        count, many = (EVENTS, True) if side.name == "ours" else (PUBLISHED_EVENTS, False)
        run = bench.produce(side, bench.scaled(count), many=many)
        return {"events/s": run.rate, "processor µs/event": run.cost}

    return [Case(side.name, partial(produce, side)) for side in bench.sides]
