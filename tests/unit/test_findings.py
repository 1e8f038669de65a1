"""What is wrong, decided by two looks at a group."""

from typing import Any

import pytest

from edx_event_bus_redis.internal.findings import Finding, Kind, Limits, findings
from edx_event_bus_redis.internal.status import GroupStatus
from tests.support.looks import consumer, group, look, pool, stream, two_looks, worker

NONE_LOST = {"trimmed": 0, "deleted": 0, "skipped": 0, "group_gone": 0, "forgotten": 0, "dropped_dead_letters": 0}


def found(before: dict[str, Any], after: dict[str, Any], limits: Limits | None = None) -> list[Finding]:
    return findings(*two_looks(before, after), limits or Limits())


def told(before: dict[str, Any], after: dict[str, Any], limits: Limits | None = None) -> list[tuple[Kind, str]]:
    return [(each.kind, each.text) for each in found(before, after, limits)]


def always(limits: Limits | None = None, **fields: Any) -> list[tuple[Kind, str]]:
    """What is found if both looks see the same."""
    return told(fields, fields, limits)


def test_where_all_is_well_nothing_is_found() -> None:
    """Idle workers, a small backlog that a pool is at, finished losses and past deaths are not wrong."""
    lost = {"lost": 5, "lost_by_reason": {**NONE_LOST, "trimmed": 5}, "last_loss_seconds": 90_000.0}
    died = worker(1, restarts=3, last_death="SIGKILL")

    assert told({"lag": 20}, {"lag": 10, "finished": 150, **lost, "pools": [pool(worker(), died)]}) == []


# Losses.


def test_losses_of_late_are_told_with_their_reasons() -> None:
    """How many, within which time, and why; what was lost before is not in it."""
    lost = {"lost": 9000, "lost_lately": {"trimmed": 1200, "deleted": 1}, "last_loss_seconds": 60.0}

    assert always(**lost) == [(Kind.LOST, "1,201 events lost in the last 24 h: 1,200 trimmed, 1 deleted")]


def test_losses_are_over_after_their_time() -> None:
    """A check is green again some time after the last loss, and at once if it is told to look at none."""
    lost = {"lost": 1, "lost_lately": {"group_gone": 1}, "last_loss_seconds": 3500.0}
    assert always(Limits(losses_seconds=3600), **lost) == [(Kind.LOST, "1 event lost in the last 60 min: 1 group gone")]

    assert always(Limits(losses_seconds=3400), **lost) == always(Limits(losses_seconds=0), **lost) == []
    assert always(Limits(losses_seconds=0), **{**lost, "last_loss_seconds": 0.0}) == []


def test_a_loss_of_unknown_size_is_told() -> None:
    """A group that was gone, of which nobody knows what that has lost, is no clean bill."""
    ((kind, text),) = always(lost_lately={}, last_loss_seconds=40.0)

    assert (kind, text) == (Kind.LOST, "the group was gone 40 s ago, and nobody knows how many events that has lost")


# Unread entries.


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (790, 800, "800 of about 1,000 entries unread, the cap is reached in 100 s at the present rates"),
        (900, 850, "850 of about 1,000 entries unread"),
        (990, 1000, "1,000 of about 1,000 entries unread, what is not read in time is lost"),
    ],
)
def test_a_backlog_near_the_cap_is_told_before_it_loses(before: int, after: int, text: str) -> None:
    """From 80 percent of the cap on, with the time that is left if it grows."""
    assert told({"lag": before}, {"lag": after, "finished": 105}) == [(Kind.NEARLY_FULL, text)]


def test_a_stream_that_is_not_trimmed_at_its_cap_loses_nothing_there() -> None:
    """One with more entries than trimming leaves: the producers keep what is unread, or have another cap."""
    before, after = group(lag=1200), group(lag=1300, finished=105)
    looks = look(stream(before, length=1400), at=95.0), look(stream(after, length=1500))

    (only,) = findings(*looks, Limits())

    assert only.text == "1,300 of about 1,000 entries unread, but so far the stream is not trimmed there: it has 1,500"


def outgrown(
    *groups: GroupStatus, before: int | None = 13_000, length: int | None = 13_000, **fields: Any
) -> list[tuple[str, str]]:
    """Groups and texts of what is found of a stream of these groups, of so many entries in either look."""
    looks = (
        look(stream(*groups, length=each, **{"keep_unacked": True, **fields}), at=at)
        for each, at in ((before, 95.0), (length, 100.0))
    )
    return [(each.group, each.text) for each in findings(*looks, Limits()) if each.kind is Kind.OUTGROWN]


SO_LONG = "the stream has 13,000 entries, its cap is about 1,000"


def test_a_stream_far_above_its_cap_is_told_once_with_the_group_that_keeps_most() -> None:
    """Unread or pending: it is the group to be mended, or to be removed."""
    well, slow = group(group="a", lag=300), group(group="b", lag=4000, pending=2)
    hoards, gone = group(group="c", pending=12_900), group(group="d", lag=None, last_delivered_id=None)

    assert outgrown(well, slow, hoards, gone) == [
        ("c", f"{SO_LONG}: 0 of them are unread and 12,900 pending in this group")
    ]
    assert outgrown(well, group(group="d", lag=5000, pending=1001)) == [
        ("d", f"{SO_LONG}: 5,000 of them are unread and 1,001 pending in this group")
    ]


def test_a_stream_that_no_group_keeps_is_not_trimmed() -> None:
    """Where no group has half of what is above the cap they are not the cause; one that is gone is not, either."""
    gone = group(group="a", lag=None, last_delivered_id=None)

    for half in ({"lag": 5000, "pending": 1000}, {"lag": 0, "pending": 6000}):
        assert outgrown(gone, group(group="b", **half)) == [
            ("b", f"{SO_LONG}, and no group keeps them: nothing trims it")
        ]


def test_a_group_whose_lag_is_unknown_may_keep_a_stream() -> None:
    """It is not said that nothing trims the stream while that is not known."""
    unknown = group(group="b", lag=None)

    assert outgrown(group(group="a", lag=4), unknown) == [
        ("b", f"{SO_LONG}, and nobody knows how many of them are unread in this group")
    ]
    assert outgrown(group(group="a", lag=12_000), unknown)[0][0] == "a"


@pytest.mark.parametrize(
    "fields",
    [{"keep_unacked": False}, {"length": 3000}, {"before": 3000}, {"length": None}, {"max_len": 6000}],
    ids=["producers may have another cap", "it is trimmed", "it was short", "it is gone", "not so far"],
)
def test_a_stream_that_is_about_to_be_trimmed_is_not_told(fields: dict[str, Any]) -> None:
    """Only one that is far above its cap at both looks, by a setting that all services have in common."""
    assert outgrown(group(pending=12_900), **fields) == []
    assert len(outgrown(group(pending=12_900), before=3001, length=3001)) == 1


def test_a_stream_without_groups_that_is_far_above_its_cap_is_not_told() -> None:
    """Each thing that is wrong is told of a group."""
    assert outgrown() == []


def test_a_stream_that_is_seen_for_the_first_time_is_not_told_yet() -> None:
    """Nor is one that was not there at the first look; one look alone finds what it can."""
    after = look(stream(group(pending=12_900), length=13_000, keep_unacked=True))

    assert findings(look(at=95.0), after, Limits()) == []
    assert [(each.kind, each.topic) for each in findings(None, after, Limits())] == [(Kind.OUTGROWN, "topic")]


def test_a_backlog_below_the_line_is_not_told() -> None:
    """79 percent is all right."""
    assert told({"lag": 799}, {"lag": 799, "finished": 105}) == []


@pytest.mark.parametrize(
    "nobody",
    [
        {"pools": []},
        {"pools": [pool(alive=False)]},
        {"pools": [], "consumers": [consumer("c", state="left")]},
        {"pools": [], "consumers": [consumer("c", idle_seconds=75.0)]},
    ],
    ids=["none", "gone", "left", "silent"],
)
def test_unread_entries_without_a_consumer_are_told(nobody: dict[str, Any]) -> None:
    """Whether more is added or not: nobody is there to read."""
    assert always(lag=7, **nobody) == [(Kind.UNATTENDED, "7 entries unread, and no consumer is alive")]
    assert always(lag=0, **nobody) == []


@pytest.mark.parametrize(
    "somebody",
    [
        {"pools": [], "consumers": [consumer("c", idle_seconds=74.0)]},
        {"pools": [], "consumers": [consumer("c", idle_seconds=200.0, pending=1)]},
        {"pools": [pool(alive=False), pool(worker(), pool="c2")]},
    ],
    ids=["polls", "busy", "another pool"],
)
def test_a_consumer_that_may_be_alive_attends(somebody: dict[str, Any]) -> None:
    """A consumer of the published package shows itself once a minute, and not while it handles an event."""
    assert always(lag=7, **somebody) == []


def test_a_pool_that_is_replaced_is_away_for_a_moment() -> None:
    """Only who is away at both looks is away."""
    assert told({"lag": 7}, {"lag": 7, "pools": []}) == told({"lag": 7, "pools": []}, {"lag": 7}) == []


def growing(**fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What two looks see of a backlog that grows while nobody reads; the second with these fields."""
    return {"lag": 1}, {"lag": 21, "oldest_unread_seconds": 8.0, **fields}


def test_a_backlog_that_grows_while_nothing_is_handled_is_told() -> None:
    """The pool lives, its workers wait, and there is more and more to read."""
    said = [(Kind.STANDS_STILL, "21 entries unread, 20 more than 5 s before, and nothing is handled")]
    assert told(*growing()) == said
    assert told({"lag": 20}, growing()[1])[0][1].startswith("21 entries unread, 1 more than 5 s before")

    before, after = growing(finished=None, pools=[pool()])

    assert told({**before, "finished": None, "pools": [pool()]}, after) == said


@pytest.mark.parametrize(
    "fields",
    [
        {"last_delivered_id": "6-0"},
        {"finished": 101},
        {"lag": 1},
        {"lag": None},
        {"oldest_unread_seconds": 2.0},
        {"pools": [pool(worker(state="busy", entry="5-0", seconds=300.0))]},
        {"pools": [pool(worker(state="busy", entry="5-0", seconds=900.0), options={"handler_timeout": 1800})]},
        {"pools": [], "consumers": [consumer("c", pending=1, idle_seconds=40.0)]},
        {"consumers": [consumer("c", pending=1, idle_seconds=300.0)]},
    ],
    ids=[
        "something was read",
        "one was handled",
        "it does not grow",
        "nobody knows whether it grows",
        "it has just come",
        "busy",
        "busy for long, and may be",
        "a consumer is busy",
        "a consumer beside a pool is busy",
    ],
)
def test_being_slow_is_not_standing_still(fields: dict[str, Any]) -> None:
    """A handler that takes its time is no standstill, nor is a burst; the cap tells when that is too slow."""
    assert told(*growing(**fields)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"pools": [pool(worker(state="busy", entry="5-0", seconds=301.0))]},
        {"consumers": [consumer("c", idle_seconds=40.0)]},
        {"consumers": [consumer("c", pending=1, idle_seconds=40.0, state="left")]},
        {"consumers": [consumer("c0.0", pending=1, idle_seconds=40.0, pool="c0", state="gone")]},
    ],
    ids=["at it for too long", "a consumer has nothing", "a consumer has left", "a worker whose pool does not say so"],
)
def test_who_is_not_at_an_event_does_not_excuse_a_standstill(fields: dict[str, Any]) -> None:
    """Something pending alone is no work: its consumer may be gone, or has had it for too long."""
    assert Kind.STANDS_STILL in [kind for kind, _ in told(*growing(**fields))]


@pytest.mark.parametrize("waits", ["oldest_unread_seconds", "oldest_pending_seconds"])
def test_what_waits_for_long_is_told_though_there_is_no_more_of_it(waits: str) -> None:
    """On a quiet topic nothing comes while one looks: what nobody works at for longer than the limit stands still."""
    quiet = {"lag": 2, "pending": 3, "pools": [pool(worker())], waits: 301.0}

    said = [(Kind.STANDS_STILL, "2 entries unread and 3 pending, the oldest for 5 min, and nothing is handled")]
    assert told(quiet, quiet) == said
    assert told(quiet, {**quiet, "finished": 101}) == []
    assert told({**quiet, waits: 295.0}, {**quiet, waits: 300.0}) == []
    busy = [pool(worker(state="busy", entry="5-0", seconds=40.0))]
    assert told({**quiet, "pools": busy}, {**quiet, "pools": busy}) == []


def test_a_worker_that_fails_again_and_again_is_told() -> None:
    """As when the database is away: errors in a row at both looks, and nothing handled in between."""
    failing = {"pools": [pool(worker(errors=7))]}

    (finding,) = found({"pools": [pool(worker(errors=3))]}, failing)

    assert (finding.kind, finding.text) == (
        Kind.FAILING,
        "worker c1.0 has failed 7 times in a row and handles nothing",
    )
    assert (finding.pool, finding.consumer) == ("c1", "c1.0")
    assert told({"pools": [pool(worker(errors=2))]}, failing) == []
    assert told({"pools": [pool(worker(errors=3, handled=49))]}, failing) == []


def test_a_group_that_is_gone_has_nothing_unread() -> None:
    """Of a group that is not in the stream any more only what it left can be wrong."""
    gone = {"last_delivered_id": None, "lag": None, "pools": [], "finished": None}

    assert always(**gone) == []
    assert always(**gone, dead_letters=2) == [(Kind.DEAD_LETTERS, "2 dead letters")]


def test_an_unknown_lag_is_not_taken_for_none() -> None:
    """Where nobody knows how much is unread, but something is, a missing consumer is told."""
    assert always(lag=None, oldest_unread_seconds=3.0, pools=[]) == [
        (Kind.UNATTENDED, "nobody knows how many entries unread, and no consumer is alive")
    ]
    assert always(lag=None, oldest_unread_seconds=None, pools=[]) == []


# Workers and pools.


def test_a_worker_that_is_at_one_event_for_too_long_is_told() -> None:
    """After 300 seconds, or what is asked for; with worker, entry and time."""
    stuck = {"pools": [pool(worker(), worker(1, state="busy", entry="7-1", seconds=301.0))]}

    (finding,) = found(stuck, stuck)

    assert (finding.kind, finding.text) == (Kind.STUCK, "worker c1.1 has had entry 7-1 in hand for 5 min")
    assert (finding.topic, finding.group, finding.pool, finding.consumer) == ("topic", "group", "c1", "c1.1")
    assert found(stuck, stuck, Limits(stuck_seconds=302)) == []
    fresh = {"pools": [pool(worker(state="busy", entry="7-1", seconds=300.0))]}
    assert found(fresh, fresh) == []
    assert len(found(fresh, fresh, Limits(stuck_seconds=299))) == 1


def test_a_longer_time_limit_of_the_pool_is_respected() -> None:
    """A pool whose handlers may take half an hour is not stuck after five minutes; what is asked for wins."""
    slow = {"pools": [pool(worker(state="busy", entry="7-1", seconds=900.0), options={"handler_timeout": 1800})]}

    assert found(slow, slow) == []
    assert len(found(slow, slow, Limits(stuck_seconds=600))) == 1


def test_a_consumer_without_a_pool_that_is_silent_with_something_pending_is_told() -> None:
    """Nothing else is known of such a consumer."""
    silent = [consumer("old", pending=1, idle_seconds=4000.0), consumer("done", idle_seconds=4000.0)]
    fresh = consumer("fresh", pending=2, idle_seconds=300.0)

    (finding,) = found({"consumers": silent}, {"consumers": [*silent, fresh]})

    assert (finding.kind, finding.text) == (
        Kind.STUCK,
        "consumer old has 1 entry pending and has been silent for 67 min",
    )
    assert (finding.pool, finding.consumer) == (None, "old")


def test_what_a_dead_pool_left_pending_is_told_if_it_stays() -> None:
    """A heartbeat that is gone with entries pending; not if it was there a moment ago, nor if nothing is pending."""
    left = {"consumers": [consumer("c0.0", pool="c0", pending=3, state="gone")]}
    gone = {"pools": [pool(worker()), pool(pool="c0", alive=False)], **left}
    alive = {"pools": [pool(worker()), pool(worker(), pool="c0")], **left}

    (finding,) = found(gone, gone)

    assert (finding.kind, finding.text) == (Kind.GONE, "pool c0 is gone and has left 3 entries pending")
    assert (finding.pool, finding.consumer) == ("c0", None)
    assert told(alive, gone) == []
    assert always(pools=gone["pools"]) == []
    stopped = {**gone, "pools": [pool(worker()), pool(pool="c0", alive=False, stopped=True)]}
    assert always(**stopped) == [(Kind.GONE, "pool c0 has stopped and has left 3 entries pending")]


@pytest.mark.parametrize(
    ("before", "after", "since"),
    [
        ({"restarts": 5}, {"restarts": 7, "handled": 60}, 7200),
        ({"restarts": 0}, {"restarts": 2, "handled": 60}, 7200),
        ({"restarts": 2}, {"restarts": 3}, 7200),
        ({"restarts": 6}, {"restarts": 6}, 300),
        ({"restarts": 3}, {"restarts": 3}, 100),
    ],
    ids=[
        "twice now",
        "twice now and never before",
        "once now and nothing handled",
        "again and again since the start",
        "three times since a start just now",
    ],
)
def test_a_worker_that_dies_again_and_again_is_told(before: dict[str, Any], after: dict[str, Any], since: int) -> None:
    """With the number of its deaths and the last cause."""
    first, last = (
        {"pools": [pool(worker(2, last_death="SIGSEGV", **each), since=1_795_558_657.0 - since)]}
        for each in (before, after)
    )

    (finding,) = found(first, last)

    assert (finding.kind, finding.text) == (
        Kind.DYING,
        f"worker c1.2 dies again and again: {after['restarts']} times, the last one: SIGSEGV",
    )
    assert (finding.pool, finding.consumer) == ("c1", "c1.2")


def test_a_worker_that_dies_of_nobody_knows_what_is_told() -> None:
    """The number of its deaths is all that is told then."""
    first, last = ({"pools": [pool(worker(restarts=number))]} for number in (5, 7))

    assert told(first, last) == [(Kind.DYING, "worker c1.0 dies again and again: 7 times")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"restarts": 0}, {"restarts": 1}),
        ({"restarts": 1}, {"restarts": 2}),
        ({"restarts": 9}, {"restarts": 10, "handled": 51}),
        ({"restarts": 9}, {"restarts": 9}),
        ({"restarts": None}, {"restarts": None}),
    ],
    ids=["once", "for the second time", "but it gets on", "long ago", "unknown"],
)
def test_a_worker_that_was_replaced_is_not_told(before: dict[str, Any], after: dict[str, Any]) -> None:
    """A death now and then is what the pool is for."""
    assert told({"pools": [pool(worker(**before))]}, {"pools": [pool(worker(**after))]}) == []


def test_deaths_of_an_earlier_pool_are_not_this_ones() -> None:
    """A pool that was started anew under the same name begins to count anew."""
    before, after = pool(worker(restarts=1), pid=11), pool(worker(restarts=4), pid=12)

    assert told({"pools": [before]}, {"pools": [after]}) == []


def test_an_older_pool_tells_less_and_nothing_is_made_of_that() -> None:
    """Fields that are missing are no trouble."""
    old = {"pools": [pool({"shard": 0, "state": "busy"}, {"shard": 1}, {})]}

    assert always(**old) == []


# Dead letters, and all together.


def test_dead_letters_above_what_is_allowed_are_told() -> None:
    """None are allowed unless it is said."""
    assert always(dead_letters=1) == [(Kind.DEAD_LETTERS, "1 dead letter")]
    assert always(Limits(dead_letters=5), dead_letters=5) == []
    assert always(Limits(dead_letters=5), dead_letters=6) == [(Kind.DEAD_LETTERS, "6 dead letters, 5 are allowed")]
    assert always(Limits(dead_letters=1), dead_letters=2) == [(Kind.DEAD_LETTERS, "2 dead letters, 1 is allowed")]


def test_the_worst_comes_first() -> None:
    """A monitoring system that shows one line shows the worst, whatever the names."""
    streams = [
        stream(group(group="a", dead_letters=1), group(group="b", lag=900)),
        stream(group(lost_lately={"trimmed": 1}, last_loss_seconds=1.0), topic="z", stream="dev-z"),
    ]

    kinds = [each.kind for each in findings(None, look(*streams), Limits())]

    assert kinds == [Kind.LOST, Kind.NEARLY_FULL, Kind.DEAD_LETTERS]


def test_one_look_finds_what_one_look_can() -> None:
    """Before there is a second look, what needs two is not found, and nothing fails."""
    after = look(stream(group(lag=900, dead_letters=1, pools=[pool(worker(restarts=5))])))

    assert [each.kind for each in findings(None, after, Limits())] == [Kind.NEARLY_FULL, Kind.DEAD_LETTERS]
