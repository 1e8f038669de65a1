"""The time from XADD to the handler on an idle bus: what a user waits for whose click becomes an event."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from perf.bench import Bench, Side
from perf.events import new_entry, stream_of
from perf.scenario import Bar, Case

TITLE = "an idle bus, from XADD to the handler, 300 events"

EVENTS = 300

# Seconds between two events: so long that the one before is handled, and the consumer waits again.
LEAST_PAUSE = 0.02
LONGEST_PAUSE = 0.06

# The first events of a process find nothing imported and nothing cached.
WARM_UP = 20

WAIT_SECONDS = 60.0

BARS = [Bar("an idle bus, XADD to handler, median, ms", case="ours, 1 worker", quantity="ms, median", at_most=3.0)]

# Of each case the latencies in ms, for a plot of their distribution.
ABOUT: dict[str, dict[str, list[float]]] = {"latencies ms": {}}


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""
    ABOUT["latencies ms"].clear()

    def latency(side: Side, workers: int) -> Mapping[str, float]:
        count = bench.scaled(EVENTS)
        stamps = bench.file("stamps")
        with bench.topic() as prefix, bench.consumers(side, prefix, workers, handler=f"stamp:{stamps}") as consumers:
            sent: dict[str, int] = {}
            for number in range(WARM_UP + count):
                event_id, fields = new_entry(number)
                at = time.monotonic_ns()
                bench.client.execute_command("XADD", stream_of(prefix), "*", *fields)
                if number >= WARM_UP:
                    sent[event_id] = at
                elif number == 0:
                    # The consumer may still be starting.
                    _wait_for_lines(stamps, 1, consumers.check)
                time.sleep(random.uniform(LEAST_PAUSE, LONGEST_PAUSE))
            handled = _wait_for_lines(stamps, WARM_UP + count, consumers.check)
        found = sorted((handled[event_id] - at) / 1e6 for event_id, at in sent.items())
        kept = ABOUT["latencies ms"].setdefault(_name(side, workers), [])
        # From the slowest on, which is one of those that are kept.
        kept.extend(round(each, 3) for each in found[:: -max(1, len(found) // 100)])
        return {
            "ms, median": statistics.median(found),
            "ms, p95": found[int(len(found) * 0.95)],
            "ms, p99": found[int(len(found) * 0.99)],
        }

    sides = [(side, 1) for side in bench.sides] + [(side, 4) for side in bench.sides if side.has_pool]
    return [Case(_name(side, workers), partial(latency, side, workers)) for side, workers in sides]


def _name(side: Side, workers: int) -> str:
    return f"{side.name}, {workers} worker{'s' * (workers > 1)}" if side.has_pool else side.name


def _wait_for_lines(path: Path, count: int, check: Callable[[], None]) -> dict[str, int]:
    """Wait until so many events were handled; return when each was, by its id."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return {event_id: int(at) for event_id, at in map(str.split, lines)}
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(lines)} of {count} events were handled within {WAIT_SECONDS:.0f} s")
        time.sleep(0.05)
