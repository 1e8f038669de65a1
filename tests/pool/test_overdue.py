"""Items that are in hand for too long, and what a worker is told of its predecessor."""

import itertools
import os
import signal
import time
from typing import Any

import pytest

from pool import Child
from tests.pool.program import argument, idle, say


def hang_in_python() -> None:
    while True:
        try:
            time.sleep(3600)
        except BaseException:  # noqa: BLE001, S112 -- what cannot be ended from within
            continue


def hang_in_c() -> None:
    sum(itertools.repeat(0))


HANGING = {"python": hang_in_python, "c": hang_in_c}


def hang_once(child: Child) -> None:
    """Take an item in hand and hang; the replacement tells what it knows of that."""
    if child.former is None:
        child.slot.begin(7, 8)
        HANGING[argument("where")]()
    say("told", cause=child.former.cause, item=child.former.item, stack=child.former.stack)
    idle(child)


@pytest.mark.parametrize("where", ["python", "c"])
def test_an_overdue_item_ends_its_worker(start_pool: Any, where: str) -> None:
    """A worker that has an item in hand for too long is killed, whatever it does; its replacement has the stack."""
    pool = start_pool(hang_once, arguments={"where": where}, item_timeout=0.3)

    (told,) = pool.wait_for("told")

    assert told.item == [7, 8]
    assert f"in hang_in_{where}" in told.stack
    (died,) = pool.wait_for("WorkerDied")
    assert "timed out after " in died.cause
    assert pool.stop().killed == 0


def die_once(child: Child) -> None:
    if child.former is None:
        child.slot.begin(7, 8)
        os._exit(3)
    say("told", item=child.former.item, stack=child.former.stack)
    idle(child)


def test_a_worker_is_told_what_its_predecessor_had_in_hand(start_pool: Any) -> None:
    """The item in hand at a death is known to the replacement; without a time-out there is no stack."""
    pool = start_pool(die_once)

    (told,) = pool.wait_for("told")

    assert (told.item, told.stack) == ([7, 8], "")


def many_items(child: Child) -> None:
    """Handle items that together take longer than one may."""
    for number in range(10):
        child.slot.begin(1, number)
        time.sleep(0.25)
        child.slot.succeeded()
    say("done")
    idle(child)


def test_items_in_time_are_left_alone(start_pool: Any) -> None:
    """The time-out is for one item, and an idle worker has none in hand."""
    pool = start_pool(many_items, item_timeout=2.0)

    pool.wait_for("done")
    time.sleep(2.2)

    assert pool.records("WorkerDied") == []
    pool.stop()


def kill_with_items(child: Child) -> None:
    """Die with an item in hand, always."""
    child.slot.begin(1, 1)
    os._exit(9)


def test_deaths_with_items_are_counted_by_items(start_pool: Any) -> None:
    """deaths_per_item deaths with something in hand count as one for giving up."""
    pool = start_pool(kill_with_items, deaths_per_item=3, give_up_after=100, give_up_after_each=2)

    assert pool.outcome() == "GAVE_UP"

    assert len(pool.records("WorkerDied")) == 6


def work(child: Child) -> None:
    """Find nothing to do, again and again."""
    while not child.stop.wait(0.05):
        child.slot.idle()


def hang_with_empty_hands(child: Child) -> None:
    """Hang before anything is begun; the replacement works."""
    if child.former is None:
        HANGING[argument("where")]()
    say("told", item=child.former.item)
    work(child)


@pytest.mark.parametrize("where", ["python", "c"])
def test_a_worker_that_hangs_with_empty_hands_is_replaced(start_pool: Any, where: str) -> None:
    """A worker that gives no sign of life is killed though it has nothing in hand, and its stack is reported."""
    pool = start_pool(hang_with_empty_hands, arguments={"where": where}, silence_timeout=1.5)

    (told,) = pool.wait_for("told")

    assert told.item is None
    (died,) = pool.wait_for("WorkerDied")
    assert "no sign of life for " in died.cause
    assert f"in hang_in_{where}" in died.stack
    assert pool.stop().killed == 0


def test_a_frozen_idle_worker_is_replaced(start_pool: Any) -> None:
    """A worker that is stopped by a signal while it has nothing to do does not keep what it has taken for ever."""
    pool = start_pool(work, silence_timeout=1.5)
    (started,) = pool.wait_for("WorkerStarted")

    os.kill(started.pid, signal.SIGSTOP)

    (died,) = pool.wait_for("WorkerDied")
    assert "no sign of life for" in died.cause
    assert pool.wait_for("WorkerStarted", 2)[1].replaces == started.pid
    assert pool.stop().killed == 0


def take_long(child: Child) -> None:
    child.slot.begin(7, 8)
    time.sleep(2.0)
    child.slot.succeeded()
    say("done")
    work(child)


def test_silence_with_an_item_in_hand_is_allowed(start_pool: Any) -> None:
    """How long an item may take is a matter of its own limit, and letting go of it is a sign of life."""
    pool = start_pool(take_long, silence_timeout=1.5)

    pool.wait_for("done")

    stopped = pool.stop()
    assert stopped.killed == 0
    assert not pool.records("WorkerDied")
