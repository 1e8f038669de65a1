"""How many workers a pool should have."""

import itertools

import pytest

from edx_event_bus_redis.internal.sizing import GROW_SECONDS, SHRINK_SECONDS, Load, Sizing, Wanted


class Pool:
    """A pool that follows each decision, looked at once a second of a clock of its own."""

    def __init__(self, fewest: int = 2, most: int = 16, workers: int | None = None) -> None:
        self.sizing = Sizing(fewest, most)
        self.workers = workers or fewest
        self.at = 1000.0
        self.handled = 0
        self.unread: int | None = 0
        self.history: list[tuple[float, int]] = []

    def look(self, busy: int) -> Wanted | None:
        self.at += 1.0
        wanted = self.sizing.looked(Load(self.at, self.workers, busy, self.handled, self.unread))
        if wanted is not None:
            self.workers = wanted.workers
            self.history.append((self.at, wanted.workers))
        return wanted


def test_a_pool_that_falls_behind_grows_by_half_up_to_its_limit() -> None:
    """While the backlog grows and all are busy there are more workers every few seconds, and never too many."""
    pool = Pool()
    for _ in range(120):
        pool.handled += 10
        assert pool.unread is not None
        pool.unread += 50
        pool.look(busy=pool.workers)

    assert [workers for _, workers in pool.history] == [3, 5, 8, 12, 16]
    times = [at for at, _ in pool.history]
    assert all(later - earlier >= GROW_SECONDS for earlier, later in itertools.pairwise(times))


def test_the_reason_says_what_was_seen() -> None:
    """Whoever reads the log learns backlog, time and growth; or how few were busy."""
    pool = Pool()
    reasons = []
    for _ in range(7):
        pool.handled += 10
        assert pool.unread is not None
        pool.unread += 50
        wanted = pool.look(busy=2)
        reasons += [wanted.reason] if wanted else []
    assert reasons == ["all are busy, and 300 entries are unread, 30.0 s of work and 250 more than 5 s ago"]

    idle = Pool(workers=4)
    wanted = next(found for found in iter(lambda: idle.look(busy=0), ...) if found)
    assert wanted == (3, "0.0 of them were busy on average over 30 s")


def test_a_lasting_backlog_is_enough() -> None:
    """A backlog that does not grow and takes ten seconds to work off calls for workers; a shorter one does not."""
    long, short = Pool(), Pool()
    long.unread, short.unread = 100, 99
    for _ in range(10):
        long.handled += 10
        short.handled += 10
        long.look(busy=long.workers)
        short.look(busy=short.workers)

    assert long.workers > 2
    assert short.workers == 2


def test_a_backlog_that_nobody_gets_on_with_calls_for_workers() -> None:
    """Where each event takes minutes nothing is handled within the window, and what waits is a reason all the same."""
    pool = Pool()
    pool.unread = 5
    wanted = [pool.look(busy=2) for _ in range(6)]

    assert wanted[-1] == (3, "all are busy, and 5 entries are unread, without an end")


def test_one_entry_that_has_come_and_waits_for_a_second_is_a_backlog_that_grows() -> None:
    """Five seconds of work are a reason where there was nothing to do before, and none where it was the same."""
    grows, lasts = Pool(), Pool()
    for second in range(6):
        # One event in five seconds: the next takes as long.
        grows.handled = lasts.handled = second // 5
        grows.unread, lasts.unread = second // 5, 1
        wanted = grows.look(busy=2)
        assert lasts.look(busy=2) is None

    assert wanted == (3, "all are busy, and 1 entry is unread, 5.0 s of work and 1 more than 5 s ago")


def test_a_backlog_that_grows_and_is_worked_off_within_a_second_is_no_reason() -> None:
    """Entries that are read a moment later do not call for workers, though there are more of them than there were."""
    pool = Pool()
    for second in range(12):
        pool.handled += 100
        pool.unread = 5 * second
        assert pool.look(busy=2) is None


def test_nine_tenths_of_the_workers_are_all() -> None:
    """Between two events a worker may be found reading: with nine of ten busy all are, with fewer not."""
    all_busy, not_all = Pool(workers=10), Pool(workers=10)
    all_busy.unread = not_all.unread = 1000
    for second in range(6):
        all_busy.look(busy=9)
        not_all.look(busy=9 if second else 8)

    assert (all_busy.workers, not_all.workers) == (15, 10)


def test_a_backlog_has_to_be_known_for_as_long_as_is_judged() -> None:
    """Unless all numbers of the window are known, nothing is decided."""
    pool = Pool()
    wanted = []
    for second in range(9):
        pool.unread = 1000 if second > 2 else None
        wanted.append(pool.look(busy=2))

    assert [second for second, each in enumerate(wanted) if each] == [8]


def test_there_are_never_more_workers_than_entries_for_them() -> None:
    """One entry that waits calls for one worker."""
    pool = Pool(workers=8, fewest=8)
    pool.unread = 1
    for _ in range(6):
        pool.look(busy=8)

    assert pool.workers == 9


@pytest.mark.parametrize("seen", ["some idle", "unknown", "no backlog"])
def test_workers_are_not_added_where_they_would_not_help(seen: str) -> None:
    """A backlog with idle workers (or such as are in trouble), an unknown one, and none are no reasons."""
    pool = Pool(workers=4, fewest=4)
    for _ in range(20):
        pool.unread = {"some idle": 1000, "unknown": None, "no backlog": 0}[seen]
        pool.look(busy=3 if seen == "some idle" else 4)

    assert pool.workers == 4


def test_an_idle_pool_shrinks_step_by_step_to_its_limit() -> None:
    """With nothing to do there are fewer workers every half minute, and never too few."""
    pool = Pool(workers=16)
    for _ in range(600):
        pool.look(busy=0)

    assert [workers for _, workers in pool.history] == [12, 9, 6, 4, 3, 2]
    times = [at for at, _ in pool.history]
    assert all(later - earlier >= SHRINK_SECONDS for earlier, later in itertools.pairwise(times))


def test_a_pool_shrinks_if_half_of_those_that_are_left_are_enough() -> None:
    """Of eight workers six are left, for which the work of three is little, and the work of more is not."""
    little, enough = Pool(workers=8), Pool(workers=8)
    for second in range(31):
        little.look(busy=3)
        enough.look(busy=3 if second else 4)

    assert (little.workers, enough.workers) == (6, 8)


def test_a_change_by_somebody_else_begins_a_new_window() -> None:
    """After an operator's SIGTTIN nothing is decided from what was seen before."""
    pool = Pool(workers=4)
    for _ in range(29):
        pool.look(busy=0)
    pool.workers = 5
    for _ in range(29):
        assert pool.look(busy=0) is None


@pytest.mark.parametrize("needed", [2.2, 3.0, 4.5, 7.9, 11.0, 15.5])
def test_a_steady_load_finds_a_steady_number(needed: float) -> None:
    """
    Whatever the load is worth in workers, after it has grown to it the pool stays: no number comes twice.

    A worker handles 10 events a second; from what is offered and the number of workers follows who is busy.
    """
    pool = Pool()
    backlog = 0.0
    for second in range(1800):
        backlog += needed * 10
        done = min(backlog, pool.workers * 10)
        backlog -= done
        pool.handled += round(done)
        pool.unread = round(backlog)
        # Who is busy at a moment, over time as many as the work is worth.
        share = done / 10
        pool.look(busy=min(pool.workers, int(share) + (second % 10 < (share % 1) * 10)))

    sizes = [workers for _, workers in pool.history]
    assert len(sizes) == len(set(sizes)), sizes
    assert pool.workers >= needed
    assert pool.history[-1][0] < 1000 + 600
