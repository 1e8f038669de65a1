"""
The metrics of a pool, as Prometheus reads them.

Imported where somebody asks for them, and nowhere else: the library takes memory that workers have no use for.

It counts nothing: what it tells is in ``counts`` and ``accounts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from edx_event_bus_redis.internal.accounts import Accounts
from edx_event_bus_redis.internal.counts import BOUNDS, Totals

# Of the text format that every Prometheus reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Those of pool.State.
_STATES = ("gone", "starting", "idle", "busy")

_PREFIX = "event_bus_redis"


class Facts(NamedTuple):
    """
    What there is to tell at one moment.

    Attributes:
        states: what each worker does.
        errors: of each worker, in a row.
        deaths: of workers, by kind of cause.
        totals: what the workers have counted.
        accounts: of the group; None if they were never found.
    """

    states: list[str]
    errors: list[int]
    deaths: Mapping[str, int]
    totals: Totals
    accounts: Accounts | None


class PoolMetrics(Collector):
    """
    The metrics of one pool.

    Arguments:
        about: labels of the metric that says which pool this is.
        look: returns what there is to tell.
    """

    def __init__(self, about: Mapping[str, str], look: Callable[[], Facts]) -> None:
        self._about = about
        self._look = look
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all of them in the text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Tell nothing beforehand; the registry would collect everything to find out."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return what there is to tell now."""
        facts = self._look()
        yield InfoMetricFamily(f"{_PREFIX}_pool", "Which pool this is.", dict(self._about))
        yield from _of_workers(facts)
        if facts.accounts is not None:
            yield from _of_group(facts.accounts)


def _of_workers(facts: Facts) -> Iterator[Metric]:
    states, totals = Counter(facts.states), facts.totals
    workers = GaugeMetricFamily(f"{_PREFIX}_workers", "Worker processes by what they do.", labels=["state"])
    for state in _STATES:
        workers.add_metric([state], states[state])
    yield workers
    yield _gauge(
        "consecutive_errors", "Errors in a row of the worker that has most of them.", max(facts.errors, default=0)
    )
    # A type has both, so that its first failure is seen as an increase.
    none = dict.fromkeys((*totals.handled, *totals.failed), 0)
    yield _counter("events_handled", "Events that were handled.", "event_type", none | totals.handled)
    yield _counter(
        "events_failed", "Events that were not handled, each time that they failed.", "event_type", none | totals.failed
    )
    yield CounterMetricFamily(
        f"{_PREFIX}_events_retried", "Failed events that were put aside to be tried again.", totals.retried
    )
    yield _counter("worker_restarts", "Workers that died and were to be replaced.", "cause", facts.deaths)
    bounds = [*map(floatToGoString, BOUNDS), "+Inf"]
    yield HistogramMetricFamily(
        f"{_PREFIX}_handle_seconds",
        "Seconds that receivers took for an event.",
        buckets=list(zip(bounds, totals.buckets, strict=True)),
        sum_value=totals.seconds,
    )


def _of_group(accounts: Accounts) -> Iterator[Metric]:
    yield _counter("events_lost", "Events that cannot be delivered to the group any more.", "reason", accounts.lost)
    if not accounts.are_valid:
        return
    if accounts.lag is not None:
        yield _gauge("group_lag", "Entries that the group has not read.", accounts.lag)
    yield _gauge("group_pending", "Entries that were delivered and are not acknowledged.", accounts.pending)
    yield _gauge(
        "oldest_unread_seconds", "Age of the oldest entry that the group has not read.", accounts.oldest_unread_seconds
    )
    yield _gauge(
        "oldest_pending_seconds",
        "Age of the oldest entry that was delivered and is not acknowledged.",
        accounts.oldest_pending_seconds,
    )
    yield _gauge("dead_letters", "Events that failed for good and are kept.", accounts.dead_letters)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", meaning, value)


def _counter(name: str, meaning: str, label: str, values: Mapping[str, int]) -> Metric:
    counter = CounterMetricFamily(f"{_PREFIX}_{name}", meaning, labels=[label])
    for value, count in sorted(values.items()):
        counter.add_metric([value], count)
    return counter
