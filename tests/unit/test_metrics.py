"""What workers count, and what is told of it."""

import re
import time
from collections.abc import Callable
from typing import Any

import multiprocess
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edx_event_bus_redis.internal.accounts import Accounts
from edx_event_bus_redis.internal.counts import BOUNDS, MOST_EVENT_TYPES, PoolCounts, Totals
from edx_event_bus_redis.internal.exposition import Facts, PoolMetrics
from pool import REST
from tests.support.pages import text_of

FORK = multiprocess.get_context("fork")


def accounts_of(**changes: Any) -> Accounts:
    known = {"lag": 3, "pending": 2, "oldest_unread_seconds": 1.5}
    known |= {"oldest_pending_seconds": 2.5, "dead_letters": 4}
    return Accounts(**known | {"lost": {"trimmed": 5, "skipped": 0}} | changes)


def in_a_child(work: Callable[[], Any]) -> None:
    process = FORK.Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0


def test_counters_go_on_when_a_worker_is_replaced() -> None:
    """What a worker has counted stays, its replacement adds to it, and the sums are those of all shards."""
    counts = PoolCounts(5)

    def work(shard: int) -> None:
        worker = counts.of_worker(shard)
        worker.handled("a", 0.2)
        worker.failed("b", 0.3)
        worker.failed("a", None)
        worker.retried()

    for shard in (1, 1, 4):
        in_a_child(lambda shard=shard: work(shard))

    totals = counts.totals()
    assert (totals.handled, totals.failed, totals.retried) == ({"a": 3}, {"a": 3, "b": 3}, 3)
    assert totals.buckets[-1] == 6
    assert totals.seconds == pytest.approx(1.5)


def test_a_pool_that_has_done_nothing_has_counted_nothing() -> None:
    """Without a worker there are no event types, and all buckets are 0."""
    assert PoolCounts(3).totals() == Totals({}, {}, 0, [0] * (len(BOUNDS) + 1), 0)


def test_a_bucket_has_what_took_no_longer_than_its_bound() -> None:
    """Buckets are cumulative, a time that is a bound is within it, and the last one has all."""
    counts = PoolCounts(1)
    worker = counts.of_worker(0)

    for seconds in (0.0, BOUNDS[0], BOUNDS[0] + 1e-9, BOUNDS[-1], BOUNDS[-1] + 1):
        worker.handled("a", seconds)

    buckets = counts.totals().buckets
    assert (buckets[0], buckets[1], buckets[-3], buckets[-2], buckets[-1]) == (2, 3, 3, 4, 5)


def test_event_types_are_bounded() -> None:
    """Beyond so many types the rest is counted as one."""
    counts = PoolCounts(1)
    worker = counts.of_worker(0)

    for number in range(MOST_EVENT_TYPES + 10):
        worker.handled(f"type {number}", 0.1)

    handled = counts.totals().handled
    assert len(handled) == MOST_EVENT_TYPES + 1
    assert handled[REST] == 10


def told(**changes: Any) -> dict[str, dict[str, float]]:
    facts = Facts(["idle", "busy", "busy"], [0, 7, 2], {"SIGKILL": 2}, PoolCounts(1).totals(), accounts_of())
    text = PoolMetrics({"pool": 'c"1\n'}, lambda: facts._replace(**changes)).text().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found: dict[str, dict[str, float]] = {}
    for sample in samples:
        found.setdefault(sample.name, {})[",".join(sample.labels.values())] = sample.value
    return found


def test_every_metric_has_its_name() -> None:
    """The names and the values are what the reference says."""
    counts = PoolCounts(1)
    worker = counts.of_worker(0)
    worker.handled("a", 0.2)
    worker.failed("b", None)
    worker.retried()

    found = told(totals=counts.totals())

    assert found.pop("event_bus_redis_handle_seconds_bucket")["+Inf"] == 1
    assert found == {
        "event_bus_redis_pool_info": {'c"1\n': 1},
        "event_bus_redis_workers": {"gone": 0, "starting": 0, "idle": 1, "busy": 2},
        "event_bus_redis_events_handled_total": {"a": 1, "b": 0},
        "event_bus_redis_events_failed_total": {"a": 0, "b": 1},
        "event_bus_redis_events_retried_total": {"": 1},
        "event_bus_redis_worker_restarts_total": {"SIGKILL": 2},
        "event_bus_redis_handle_seconds_count": {"": 1},
        "event_bus_redis_handle_seconds_sum": {"": 0.2},
        "event_bus_redis_events_lost_total": {"trimmed": 5, "skipped": 0},
        "event_bus_redis_group_lag": {"": 3},
        "event_bus_redis_group_pending": {"": 2},
        "event_bus_redis_oldest_unread_seconds": {"": 1.5},
        "event_bus_redis_oldest_pending_seconds": {"": 2.5},
        "event_bus_redis_consecutive_errors": {"": 7},
        "event_bus_redis_dead_letters": {"": 4},
    }


def test_every_metric_is_documented() -> None:
    """The table of metrics has each metric with its labels, and no other."""
    about = {"topic": "t", "group": "g", "pool": "c1", "version": "1"}
    counted = Totals({"a": 1}, {"b": 1}, 1, [1] * (len(BOUNDS) + 1), 0.2)
    facts = Facts(["idle"], [0], {"SIGKILL": 1}, counted, accounts_of())
    families = text_string_to_metric_families(PoolMetrics(about, lambda: facts).text().decode())
    told = {
        (sample.name.removesuffix("_count"), frozenset(sample.labels or [""]))
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_sum"))
    }

    page = text_of("docs/reference/metrics.rst")
    table = re.findall(r"^``(event_bus_redis_\w+)(?:\{([\w,]+)\})?``", page, re.MULTILINE)

    assert {(name, frozenset(labels.split(","))) for name, labels in table} == told


def test_what_is_not_known_is_not_told() -> None:
    """A lag that is not known is absent, never 0; so is all of a group that was not found, or not for long."""
    of_group = {"group_lag", "group_pending", "oldest_unread_seconds", "oldest_pending_seconds", "dead_letters"}

    def of_group_told(accounts: Accounts | None) -> set[str]:
        return {name.removeprefix("event_bus_redis_") for name in told(accounts=accounts)} & {
            *of_group,
            "events_lost_total",
        }

    assert of_group_told(accounts_of(lag=None)) == {*of_group, "events_lost_total"} - {"group_lag"}
    # Losses can only become more: what was known of them stays right.
    assert of_group_told(accounts_of(found_at=time.monotonic() - 11)) == {"events_lost_total"}
    assert of_group_told(None) == set()
