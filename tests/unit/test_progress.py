"""What two looks at a group tell: rates, and how long it takes if things go on so."""

from typing import Any

import attrs
import pytest

from edx_event_bus_redis.internal.progress import Look, Progress, added_per_second, progress, still_needed
from tests.support.looks import group, look, pool, stream, two_looks, worker

NONE_LOST = {"trimmed": 0, "deleted": 0, "skipped": 0, "group_gone": 0, "forgotten": 0, "dropped_dead_letters": 0}


def between(before: dict[str, Any], after: dict[str, Any], **arguments: Any) -> Progress:
    first, last = two_looks(before, after, **arguments)
    return progress(first, last, last.streams[0], last.streams[0].groups[0])


def test_rates_are_by_the_time_between_the_looks() -> None:
    """What was added and what was finished is told per second."""
    looks = two_looks({"finished": 100}, {"finished": 140}, seconds=4.0, added=60)

    assert added_per_second(*looks, "dev-topic") == 15.0
    assert between({"finished": 100}, {"finished": 140}, seconds=4.0).handled == 10.0


def test_what_is_lost_was_not_handled() -> None:
    """Redis counts entries that were lost as read: they are taken off, and they are seen as lost."""
    lost = {"lost": 30, "lost_by_reason": {**NONE_LOST, "trimmed": 30}}

    seen = between({"finished": 100}, {"finished": 140, **lost}, seconds=1.0)

    assert (seen.handled, seen.is_losing) == (10.0, True)


def test_what_was_dropped_of_the_dead_letters_was_finished_before() -> None:
    """An event counts as handled when it becomes a dead letter, and nothing changes when that goes."""
    dropped = {"lost": 30, "lost_by_reason": {**NONE_LOST, "dropped_dead_letters": 30}}

    seen = between({"finished": 100}, {"finished": 140, **dropped}, seconds=1.0)

    assert (seen.handled, seen.is_losing) == (40.0, False)


def test_a_group_made_anew_has_no_rate() -> None:
    """A count that went down is of another group: unknown, not negative; likewise that of a stream."""
    first, last = two_looks({"finished": 100}, {"finished": 3}, added=-70)

    assert between({"finished": 100}, {"finished": 3}).handled is None
    assert added_per_second(first, last, "dev-topic") is None


def test_where_redis_does_not_count_the_workers_do() -> None:
    """Before Redis 7 the counts of the workers that are in both looks make the rate, with success or not."""
    before = {"finished": None, "pools": [pool(worker(0, handled=10), worker(1, handled=7))]}
    after = {"finished": None, "pools": [pool(worker(0, handled=18, failed=2), worker(2, handled=500))]}

    assert between(before, after, seconds=5.0).handled == 2.0
    assert between({"finished": None, "pools": []}, {"finished": None, "pools": []}).handled is None


def test_a_backlog_that_grows_reaches_the_cap() -> None:
    """Told is the time until so much is unread as the stream keeps, and no end of the backlog."""
    seen = between({"lag": 100}, {"lag": 400}, seconds=3.0)

    assert (seen.more, seen.seconds_to_cap, seen.seconds_to_done) == (100.0, 6.0, None)
    assert between({"lag": 100}, {"lag": 4000}, seconds=3.0).seconds_to_cap == 0.0


def test_a_backlog_that_shrinks_is_done_some_time() -> None:
    """Told is the time until nothing is unread, and no cap."""
    seen = between({"lag": 500}, {"lag": 400}, seconds=2.0)

    assert (seen.more, seen.seconds_to_cap, seen.seconds_to_done) == (-50.0, None, 8.0)
    assert between({"lag": 500}, {"lag": 0}, seconds=2.0).seconds_to_done is None


def test_losing_events_is_no_way_of_catching_up() -> None:
    """A backlog that is smaller only because it was trimmed grows on."""
    lost = {"lost": 300, "lost_by_reason": {**NONE_LOST, "trimmed": 300}}

    seen = between({"lag": 1000}, {"lag": 900, **lost}, seconds=2.0)

    assert (seen.more, seen.seconds_to_cap, seen.seconds_to_done) == (100.0, 1.0, None)


@pytest.mark.parametrize(
    "before",
    [None, look(at=95.0), look(stream(group(group="other")), at=95.0), look(stream(group()), at=100.0)],
    ids=["first look", "no stream", "no group", "no time"],
)
def test_nothing_is_made_up(before: Look | None) -> None:
    """Without an earlier look at the same group there are no rates."""
    after = look(stream(group(lag=5)))

    assert progress(before, after, after.streams[0], after.streams[0].groups[0]) == Progress()


def test_an_unknown_lag_tells_nothing() -> None:
    """Where one of two lags is not known, nothing is told of the backlog."""
    seen = between({"lag": None}, {"lag": 400})

    assert attrs.astuple(seen)[1:] == (None, False, None, None)


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ([7.0], [7.0]),
        ([0.0, 2.0, 4.0], [0.0, 2.0, 4.0]),
        ([0.0, 2.0, 4.0, 6.0, 8.0], [2.0, 4.0, 6.0, 8.0]),
        ([0.0, 30.0, 60.0], [30.0, 60.0]),
    ],
)
def test_rates_are_measured_over_some_seconds(times: list[float], kept: list[float]) -> None:
    """Looks are kept so that the first and the last are five seconds apart or more, and no longer than that."""
    assert [each.at for each in still_needed([look(at=at) for at in times], 5.0)] == kept
