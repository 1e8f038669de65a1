"""What the server's memory holds for a stream, as unread events, pending entries, groups and consumers grow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from perf.bench import Bench
from perf.events import GROUP, stream_of
from perf.scenario import Bar, Case

TITLE = "memory of the server for a stream whose events have about 300 bytes"

EVENTS = 10_000

NAMES = 10

TIMES = (1, 10, 100)

_LOOK_SECONDS = 0.05

# Entries that are read at once.
_BATCH = 100

BARS: list[Bar] = []


def cases(bench: Bench) -> list[Case]:
    """Return the cases."""

    def unread(count: int) -> Mapping[str, float]:
        # What it is copied from is in memory then.
        bench.backlogs.make(count)
        before = _used(bench)
        with bench.topic(count):
            return _added(bench, before, count)

    def pending(count: int) -> Mapping[str, float]:
        with bench.topic(count) as prefix:
            before = _used(bench)
            for _ in range(count // _BATCH):
                bench.client.xreadgroup(GROUP, "other", {stream_of(prefix): ">"}, count=_BATCH)
            return _added(bench, before, count)

    def groups(count: int) -> Mapping[str, float]:
        with bench.topic() as prefix:
            before = _used(bench)
            for number in range(count):
                bench.client.xgroup_create(stream_of(prefix), f"group{number}", "0")
            return _added(bench, before, count)

    def consumers(count: int) -> Mapping[str, float]:
        with bench.topic() as prefix:
            before = _used(bench)
            for number in range(count):
                bench.client.xgroup_createconsumer(stream_of(prefix), GROUP, f"pool@host{number}.0")
            return _added(bench, before, count)

    return [
        *[Case(f"{EVENTS * times} unread events", partial(unread, bench.scaled(EVENTS * times))) for times in TIMES],
        *[Case(f"{EVENTS * times} pending", partial(pending, bench.scaled(EVENTS * times))) for times in TIMES],
        *[Case(f"{NAMES * times} groups", partial(groups, NAMES * times)) for times in TIMES],
        *[Case(f"{NAMES * times} consumers", partial(consumers, NAMES * times)) for times in TIMES],
    ]


def _used(bench: Bench) -> int:
    # What was deleted before is freed by another thread.
    while (found := bench.client.info("memory"))["lazyfree_pending_objects"]:
        time.sleep(_LOOK_SECONDS)
    return int(found["used_memory"])


def _added(bench: Bench, before: int, count: int) -> Mapping[str, float]:
    added = _used(bench) - before
    return {"MiB": added / 1024**2, "bytes each": added / count}
