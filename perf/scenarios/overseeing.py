"""What looking at a stream costs, by the command and by a pool's monitor, as groups and consumer names grow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from perf.bench import OURS, Bench
from perf.events import GROUP, stream_of
from perf.rates import seconds_of_server
from perf.scenario import Bar, Case

TITLE = "looking at a stream: event_bus_status, and the monitor of an idle pool of 1"

TIMES = (1, 10, 100)

NAMES = 10

SECONDS = 10.0

BARS: list[Bar] = []


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""
    seconds = SECONDS if not bench.is_scaled_down else 1.0

    def name_consumers(prefix: str, count: int) -> None:
        for number in range(count):
            bench.client.xgroup_createconsumer(stream_of(prefix), GROUP, f"other{number}")

    def status(*, groups: int = 1, names: int = 0) -> Mapping[str, float]:
        with bench.topic(bench.scaled(1000), groups=groups) as prefix:
            name_consumers(prefix, names)
            began, before = time.monotonic(), seconds_of_server(bench.client)
            bench.status(prefix)
            return {"s": time.monotonic() - began, "server ms": (seconds_of_server(bench.client) - before) * 1000}

    def monitor(names: int) -> Mapping[str, float]:
        with bench.topic() as prefix:
            name_consumers(prefix, names)
            with bench.consumers(OURS, prefix, 1) as consumers:
                (pool,) = consumers.all
                bench.wait_for_readers(prefix, 1)
                began, before, server_before = time.monotonic(), pool.processor_times(), seconds_of_server(bench.client)
                time.sleep(seconds)
                passed = time.monotonic() - began
                # The supervisor is the oldest process, and forks the monitor before the workers.
                number = sorted(before)[1]
                used = pool.processor_times()[number] - before[number]
                server = seconds_of_server(bench.client) - server_before
        return {"monitor %": 100 * used / passed, "server %": 100 * server / passed}

    return [
        *[Case(f"status, {times} groups", partial(status, groups=times)) for times in TIMES],
        *[Case(f"status, {NAMES * times} consumers", partial(status, names=NAMES * times)) for times in TIMES],
        *[Case(f"monitor, {NAMES * times} consumers", partial(monitor, NAMES * times)) for times in TIMES],
    ]
