"""From the SIGKILL of a worker to the first XREADGROUP of its replacement, as the server sees it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Self

from perf.bench import OURS, Bench
from perf.events import new_entry, stream_of
from perf.processes import Process
from perf.scenario import Bar, Case

TITLE = "SIGKILL of a worker to its replacement reading, a pool of 4"

WORKERS = 4
KILLS = 5

WAIT_SECONDS = 20.0

BARS = [
    Bar("SIGKILL of a worker to its replacement reading, s", case="busy", quantity="s, median", at_most=0.3),
    Bar("the longest of all, s", case="busy", quantity="s, longest", at_most=0.3),
]


def cases(bench: Bench) -> list[Case]:
    """Return the cases: workers that wait for events, and workers that handle some."""

    def replace(*, busy: bool) -> Mapping[str, float]:
        took = []
        with (
            bench.topic(bench.scaled(20_000) if busy else 1) as prefix,
            bench.consumers(OURS, prefix, WORKERS, handler="wait:0.005") as consumers,
            _Readers(bench) as readers,
        ):
            (pool,) = consumers.all
            for number in range(KILLS):
                # A pool that achieves nothing between two deaths takes its time with the next replacement.
                for _ in range(WORKERS * 5):
                    bench.client.execute_command("XADD", stream_of(prefix), "*", *new_entry(number)[1])
                readers.wait_for(WORKERS + number)
                time.sleep(0.5)
                took.append(_kill_one(pool, readers, number % WORKERS))
        return {"s, median": sorted(took)[len(took) // 2], "s, longest": max(took)}

    return [Case("busy", partial(replace, busy=True)), Case("idle", partial(replace, busy=False))]


def _kill_one(pool: Process, readers: _Readers, number: int) -> float:
    """Kill a worker; return the seconds until a process that was not there before reads."""
    supervisor, monitor, *workers = sorted(each.pid for each in pool.tree())
    del supervisor, monitor
    before = readers.first_reads().keys()
    killed = time.time()
    os.kill(workers[number], signal.SIGKILL)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for address, at in readers.first_reads().items():
            if address not in before and at > killed:
                return at - killed
        pool.check()
        time.sleep(0.01)
    raise TimeoutError(f"no replacement read within {WAIT_SECONDS:.0f} s")


class _Readers:
    """
    Which connections have read by XREADGROUP, and since when, from what the server shows of its commands (MONITOR).

    As a context manager it looks on until its end.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._client = bench.server.client(timeout=WAIT_SECONDS)
        self._first_reads: dict[str, float] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        # Something to see, so that it looks up.
        self._bench.client.ping()
        self._thread.join()
        self._client.close()

    def first_reads(self) -> dict[str, float]:
        """Return the time of each connection's first XREADGROUP, in seconds of the clock, by the client's address."""
        return dict(self._first_reads)

    def wait_for(self, count: int) -> None:
        """Wait until so many connections have read."""
        deadline = time.monotonic() + WAIT_SECONDS
        while len(self._first_reads) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self._first_reads)} of {count} workers have read within {WAIT_SECONDS:.0f} s")
            time.sleep(0.01)

    def _look_on(self) -> None:
        with self._client.monitor() as monitor:
            while not self._ended:
                seen = monitor.next_command()
                if seen["command"][:10].upper() == "XREADGROUP":
                    self._first_reads.setdefault(f"{seen['client_address']}:{seen['client_port']}", seen["time"])
