"""Slots in shared memory."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import multiprocess
import pytest

from pool import Child, Slot, Slots, State
from pool.slots import SUPERVISOR_SECONDS, Item
from tests.pool.program import idle, say

FORK = multiprocess.get_context("fork")


@contextmanager
def child(target: Callable[[], None]) -> Iterator[None]:
    """Run the target in a forked child that shares this process's slots, and leave none behind."""
    process = FORK.Process(target=target)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def test_a_new_slot_is_empty() -> None:
    """Before its first child a slot says that nobody is there."""
    slot = Slots(1)[0]

    assert slot.state is State.GONE
    assert slot.item is None
    assert slot.seconds_in_hand == 0.0
    assert (slot.pid, slot.handled_count, slot.failed_count, slot.consecutive_errors) == (0,) * 4
    assert (slot.held_count, slot.left_count) == (0, 0)
    assert slot.furthest == Item(0, 0)


def write_in_a_child() -> None:
    slots = Slots(3)

    def write() -> None:
        slot = slots[1]
        slot.started(os.getpid())
        slot.begin(1, 2)
        slot.succeeded()
        slot.begin(3, 4)
        slot.failed()
        slot.errors(5)
        slot.held(6, unreported=3)
        slot.mark(7, 8)
        slot.begin(2**64 - 1, 2**64 - 2)

    process = FORK.Process(target=write)
    process.start()
    process.join()

    slot = slots[1]
    assert slot.pid == process.pid
    assert slot.state is State.BUSY
    assert slot.item == (2**64 - 1, 2**64 - 2)
    assert (slot.handled_count, slot.failed_count, slot.consecutive_errors) == (1, 1, 5)
    assert (slot.held_count, slot.left_count) == (6, 9)
    assert slot.furthest == (7, 8)
    assert 0 < slot.seconds_in_hand < 60
    assert 0 < time.monotonic() - slot.beat < 60


def test_the_parent_sees_what_a_child_writes(start_program: Any) -> None:
    """Every field that a child writes is read by its parent."""
    program = start_program(write_in_a_child)

    assert program.wait() == 0, program.log


def test_only_shards_that_the_pool_has_are_counted() -> None:
    """A pool that grows and shrinks shows as many slots as it has; what a shard that ended has handled still counts."""
    slots = Slots(1, most=3)
    assert (len(slots), len(list(slots))) == (1, 1)

    slots.resize(3)
    slots[2].begin(5, 6)
    slots[2].succeeded()
    slots[2].mark(5, 6)
    assert (len(slots), len(list(slots)), slots.handled()) == (3, 3, 1)

    slots.resize(2)
    assert (len(slots), len(list(slots)), slots.handled(), slots.furthest()) == (2, 2, 1, (5, 6))
    assert slots[2].handled_count == 1


def test_slots_do_not_touch_each_other() -> None:
    """What one shard writes is in no other's slot."""
    slots = Slots(3)
    for field in (slots[1].held, slots[1].errors):
        field(2**64 - 1)
    slots[1].mark(2**64 - 1, 2**64 - 1)
    slots[1].begin(2**64 - 1, 2**64 - 1)

    for neighbour in (slots[0], slots[2]):
        assert neighbour.state is State.GONE
        assert (neighbour.held_count, neighbour.consecutive_errors, neighbour.furthest) == (0, 0, (0, 0))


def test_a_replacement_begins_with_nothing_in_hand_and_goes_on_counting() -> None:
    """A new child in a slot clears what was in hand, held and wrong, and keeps the shard's counts and its mark."""
    slot = Slots(1)[0]
    slot.started(1)
    slot.begin(1, 1)
    slot.succeeded()
    slot.begin(2, 2)
    slot.failed()
    slot.mark(2, 2)
    slot.held(4, unreported=1)
    slot.errors(1)
    slot.begin(3, 3)

    slot.started(2)

    assert (slot.pid, slot.state, slot.item, slot.consecutive_errors) == (2, State.STARTING, None, 0)
    assert (slot.held_count, slot.left_count) == (0, 0)
    assert (slot.handled_count, slot.failed_count, slot.furthest) == (1, 1, (2, 2))


def test_only_an_item_that_was_handled_ends_the_row_of_errors() -> None:
    """A failed item leaves the number of errors in a row as it is, a handled one sets it to 0."""
    slot = Slots(1)[0]
    slot.errors(3)

    slot.begin(1, 1)
    slot.failed()
    assert slot.consecutive_errors == 3

    slot.begin(2, 2)
    slot.succeeded()
    assert slot.consecutive_errors == 0


@pytest.mark.parametrize("let_go", [Slot.succeeded, Slot.failed, Slot.idle, Slot.gone])
def test_an_item_is_in_hand_until_it_is_let_go(let_go: Callable[[Slot], None]) -> None:
    """Who has let go of an item has nothing in hand and is not blamed for it."""
    slot = Slots(1)[0]
    slot.begin(1, 1)
    assert slot.item == (1, 1)

    let_go(slot)

    assert slot.item is None
    assert slot.seconds_in_hand == 0.0


def test_the_pool_counts_over_its_shards() -> None:
    """The handled items of all shards are added, and the furthest of their marks is the pool's."""
    slots = Slots(3)
    for shard, handled in enumerate((2, 0, 3)):
        for number in range(handled):
            slots[shard].begin(0, number)
            slots[shard].succeeded()
    slots[0].mark(5, 9)
    slots[2].mark(6, 1)

    assert len(slots) == 3
    assert slots.handled() == 5
    assert slots.furthest() == (6, 1)


def read_items_while_they_change() -> None:
    slot = Slots(1)[0]

    def spin() -> None:
        number = 0
        while True:
            number += 1
            slot.begin(number, number)
            for _ in range(20):
                pass
            slot.succeeded()

    with child(spin):
        for item in read_while_it_changes(lambda: slot.item):
            assert item is None or item.high == item.low


def test_an_item_read_while_the_child_changes_it_is_never_a_mix_of_two(start_program: Any) -> None:
    """A reader gets one of the items that were in hand, not half of one and half of another."""
    program = start_program(read_items_while_they_change)

    assert program.wait() == 0, program.log


def read_marks_while_they_move() -> None:
    slot = Slots(1)[0]

    def low(high: int) -> int:
        return 1_000 * (high % 2)

    def spin() -> None:
        number = 0
        while True:
            number += 1
            slot.held(number)
            slot.mark(number, low(number))

    with child(spin):
        for furthest in read_while_it_changes(lambda: slot.furthest):
            written = slot.held_count
            assert furthest <= (written, low(written))


def test_a_mark_read_while_the_child_moves_it_is_never_ahead_of_it(start_program: Any) -> None:
    """A reader may get an older mark than the last, but none beyond what the child has seen."""
    program = start_program(read_marks_while_they_move)

    assert program.wait() == 0, program.log


def read_while_it_changes(read: Callable[[], Item | None]) -> Iterator[Item | None]:
    """Yield what is read, often enough and until it has changed often enough to meet most moments of a change."""
    seen: set[Item | None] = set()
    deadline = time.monotonic() + 20
    for number in itertools.count():
        item = read()
        yield item
        seen.add(item)
        if number > 200_000 and len(seen) > 100:
            return
        assert time.monotonic() < deadline, f"only {len(seen)} different ones were read"


def test_a_supervisor_gives_signs_of_life(start_pool: Any) -> None:
    """While it runs, its last sign is no older than it sleeps at the most; one that is frozen gives none."""
    pool = start_pool(say_supervision)
    (begun,) = pool.wait_for("begun")

    pool.freeze()

    pool.wait_for("unsupervised")
    pool.send(signal.SIGCONT)
    pool.wait_for("supervised again")
    assert begun.seconds < SUPERVISOR_SECONDS + 1
    pool.stop()


def say_supervision(child: Child) -> None:
    say("begun", seconds=child.slots.seconds_unsupervised)
    while child.slots.seconds_unsupervised < SUPERVISOR_SECONDS + 1:
        child.slot.idle()
        child.stop.wait(0.05)
    say("unsupervised")
    while child.slots.seconds_unsupervised > 1:
        child.slot.idle()
        child.stop.wait(0.05)
    say("supervised again")
    idle(child)
