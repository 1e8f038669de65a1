"""What a pool costs when there is nothing to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from perf.bench import OURS, Bench
from perf.rates import seconds_of_server
from perf.scenario import Bar, Case

TITLE = "a pool of 8 without events, over 20 s"

SECONDS = 20.0

# Imports of the first events, and what the start left to do, are over by then.
SETTLE_SECONDS = 3.0

BARS = [
    Bar("8 idle workers, share of a core in %", case="8 workers", quantity="workers %", at_most=1.0),
    Bar("with supervisor and monitor, share of a core in %", case="8 workers", quantity="all %", at_most=1.0),
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def rest(workers: int) -> Mapping[str, float]:
        count = bench.scaled(100) * workers
        seconds = SECONDS if not bench.is_scaled_down else 1.0
        with bench.topic(count) as prefix, bench.consumers(OURS, prefix, workers) as consumers:
            bench.follow(prefix, count, consumers)
            time.sleep(SETTLE_SECONDS if not bench.is_scaled_down else 0.1)
            (pool,) = consumers.all
            began, before, server_before = time.monotonic(), pool.processor_times(), seconds_of_server(bench.client)
            time.sleep(seconds)
            after, server_after, passed = (
                pool.processor_times(),
                seconds_of_server(bench.client),
                time.monotonic() - began,
            )
            used = {pid: after[pid] - before[pid] for pid in before}
            # The supervisor is the oldest process, and forks the monitor before the workers.
            of_workers = [used[pid] for pid in sorted(used)[2:]]
            assert len(of_workers) == workers
            return {
                "workers %": 100 * sum(of_workers) / passed,
                "all %": 100 * sum(used.values()) / passed,
                "server %": 100 * (server_after - server_before) / passed,
            }

    return [Case("8 workers", partial(rest, 8))]
