"""A server that comes back empty, and all workers of a large pool that want it at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from perf.bench import OURS, Bench
from perf.rates import seconds_of_server
from perf.scenario import Bar, Case

TITLE = "a server that is killed and comes back after 5 s, by the workers of an idle pool"

WORKERS = (10, 100, 1000)

DOWN_SECONDS = 5.0

BARS: list[Bar] = []


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def come_back(workers: int) -> Mapping[str, float]:
        with bench.topic() as prefix, bench.consumers(OURS, prefix, workers):
            began = time.monotonic()
            bench.wait_for_readers(prefix, workers)
            started = time.monotonic() - began
            bench.server.kill()
            time.sleep(DOWN_SECONDS if not bench.is_scaled_down else 0.1)
            bench.server.restart()
            began = time.monotonic()
            bench.wait_for_readers(prefix, workers)
            return {
                "s to start": started,
                "s until all read again": time.monotonic() - began,
                "connections": float(bench.client.info("stats")["total_connections_received"]),
                "server s": seconds_of_server(bench.client),
            }

    return [
        Case(f"{workers} workers", partial(come_back, bench.scaled(workers) if bench.is_scaled_down else workers))
        for workers in WORKERS
    ]
