"""Items that are in hand for too long, and what a worker is told of its predecessor."""

import itertools
import os
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
    assert "timed out after 0." in died.cause
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
        time.sleep(0.1)
        child.slot.succeeded()
    say("done")
    idle(child)


def test_items_in_time_are_left_alone(start_pool: Any) -> None:
    """The time-out is for one item, and an idle worker has none in hand."""
    pool = start_pool(many_items, item_timeout=0.6)

    pool.wait_for("done")
    time.sleep(0.8)

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
