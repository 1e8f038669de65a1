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
    """A backlog that does not grow and would take long to work off calls for workers; a short one does not."""
    long, short = Pool(), Pool()
    long.unread, short.unread = 1000, 90
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
    for _ in range(6):
        pool.look(busy=2)

    assert pool.workers == 3


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
