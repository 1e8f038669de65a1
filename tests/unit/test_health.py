"""Whether a pool is well and ready: pure decisions."""

import re

import pytest

from edx_event_bus_redis.internal.health import patience_with, problems, reasons_not_ready
from edx_event_bus_redis.internal.protocols import WorkerLook

WELL = WorkerLook(
    shard=2,
    pid=7,
    state="idle",
    entry=None,
    again=False,
    seconds=0.0,
    handled=5,
    failed=1,
    errors=0,
    restarts=0,
    last_death=None,
    seconds_since_death=float("inf"),
    deaths_in_a_row=0,
    seconds_silent=0.5,
)
BUSY = WELL._replace(state="busy", entry="5-0", seconds=1.0)
GONE = WELL._replace(state="gone", seconds_since_death=1.0, seconds_silent=1.0, last_death="SIGKILL", deaths_in_a_row=1)


@pytest.mark.parametrize(
    ("look", "handler_timeout"),
    [
        (WELL, None),
        (WELL._replace(seconds_silent=200.0), None),
        (WELL._replace(state="starting", seconds_silent=60.0), None),
        (BUSY, None),
        (BUSY._replace(seconds=1800.0, seconds_silent=1800.0), None),
        (BUSY._replace(seconds=15.0), 5.0),
        (BUSY._replace(seconds=3600.0), 3600.0),
        (GONE, None),
        (GONE._replace(seconds_silent=45.0), None),
        (WELL._replace(deaths_in_a_row=2, seconds_since_death=0.1), None),
        (WELL._replace(deaths_in_a_row=9, seconds_since_death=60.0), None),
        (WELL._replace(errors=50, failed=1000), None),
    ],
)
def test_a_pool_is_well_whose_workers_work_rest_or_are_replaced(
    look: WorkerLook, handler_timeout: float | None
) -> None:
    """Nothing is wrong with a worker that works, rests, begins, or is gone for as long as a replacement may take."""
    assert problems([WELL, look], patience_with(handler_timeout, 30.0)) == []


@pytest.mark.parametrize(
    ("look", "handler_timeout", "problem"),
    [
        (BUSY._replace(seconds=1801.0), None, r"worker 2 has had entry 5-0 in hand for 1801 s, the limit is 1800 s"),
        (BUSY._replace(seconds=16.0), 5.0, r"worker 2 has had entry 5-0 in hand for 16 s, the limit is 15 s"),
        (WELL._replace(seconds_silent=201.0), None, r"worker 2 has given no sign of life for 201 s"),
        (WELL._replace(state="starting", seconds_silent=201.0), 5.0, r"worker 2 has given no sign of life for 201 s"),
        (GONE._replace(seconds_silent=46.0), None, r"worker 2 has been gone for 46 s and was not replaced"),
        (
            WELL._replace(deaths_in_a_row=3, seconds_since_death=1.0, last_death="exit status 3"),
            None,
            r"worker 2 died 3 times and handled nothing in between, last cause: exit status 3",
        ),
        (
            GONE._replace(deaths_in_a_row=4, seconds_since_death=59.0),
            None,
            r"worker 2 died 4 times .* last cause: SIGKILL",
        ),
    ],
)
def test_what_is_wrong_with_a_pool_is_named(look: WorkerLook, handler_timeout: float | None, problem: str) -> None:
    """One line names the worker, what is wrong and how much of it; the other workers do not make up for it."""
    (found,) = problems([WELL, look], patience_with(handler_timeout, 30.0))

    assert re.fullmatch(problem, found)


def test_a_pool_is_ready_that_has_found_its_group_just_now() -> None:
    """A group that was found within ten seconds is ready; one that never was, or not since, is not."""
    assert reasons_not_ready(0.5) == reasons_not_ready(10.0) == []
    assert reasons_not_ready(10.6) == ["the group was found on the server 11 s ago, and not since"]
    assert reasons_not_ready(None) == ["the group was not found on the server yet"]


def test_a_worker_may_be_gone_while_others_take_their_time_to_leave() -> None:
    """With a long shutdown_timeout a worker may be gone for as long, and a little longer; with a short one as ever."""
    looks = [GONE._replace(seconds_silent=seconds) for seconds in (44.0, 46.0, 309.0, 311.0)]

    assert [len(problems([look], patience_with(None, 300.0))) for look in looks] == [0, 0, 0, 1]
    assert [len(problems([look], patience_with(None, 1.0))) for look in looks] == [0, 1, 1, 1]


def test_a_supervisor_that_hangs_is_a_problem() -> None:
    """It gives a sign of life every five seconds; without one for half a minute nobody replaces workers any more."""
    patience = patience_with(None, 30.0)

    assert problems([WELL], patience, 30.0) == []
    assert problems([WELL], patience, 31.0) == ["the supervisor has given no sign of life for 31 s"]
