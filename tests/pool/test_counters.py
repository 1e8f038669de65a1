"""Counters by name in shared memory."""

import mmap
from typing import Any

import multiprocess

from pool import NamedCounters, totals

FORK = multiprocess.get_context("fork")


def memory(names: int, columns: int = 2) -> memoryview:
    return memoryview(mmap.mmap(-1, NamedCounters.size(names, columns)))


def read(*tables: NamedCounters) -> dict[str, tuple[int, ...]]:
    return totals(tables)


def test_each_name_has_counters_of_its_own() -> None:
    """What is counted under one name and in one column is in no other."""
    counters = NamedCounters(memory(3), 2)
    assert read(counters) == {}

    for name, column in (("a", 0), ("b", 1), ("a", 0), ("c", 1), ("a", 1)):
        counters.add_one(name, column)

    assert read(counters) == {"a": (2, 1), "b": (0, 1), "c": (0, 1)}


def count_in_children() -> None:
    shared = memory(2, 1)

    def count() -> None:
        counters = NamedCounters(shared, 1)
        for name in ("a", "b", "too many"):
            counters.add_one(name, 0)

    for _ in range(3):
        process = FORK.Process(target=count)
        process.start()
        process.join()
    assert read(NamedCounters(shared, 1)) == {"a": (3,), "b": (3,), "other": (3,)}


def test_the_next_process_goes_on_counting(start_program: Any) -> None:
    """Processes that come one after the other count on, each name in the row that it has, and the parent sees it."""
    program = start_program(count_in_children)

    assert program.wait() == 0, program.log


def test_what_there_is_no_room_for_is_counted_together() -> None:
    """When all rows are taken, and when a name is too long, empty or no text, it counts under one name for the rest."""
    counters = NamedCounters(memory(3), 2)
    for number in range(10):
        counters.add_one(f"name {number}", 0)
    assert read(counters) == {"name 0": (1, 0), "name 1": (1, 0), "name 2": (1, 0), "other": (7, 0)}
    counters.add_one("name 2", 0)
    assert read(counters)["name 2"] == (2, 0)

    counters = NamedCounters(memory(3), 2)
    for name in ("", "x" * 113, "ä" * 57, "x" * 112, "\udc80"):
        counters.add_one(name, 1)

    assert read(counters) == {"x" * 112: (0, 1), "\\udc80": (0, 1), "other": (0, 3)}


def test_names_that_do_not_fit_take_no_memory() -> None:
    """However many different names come, a process does not keep them."""
    counters = NamedCounters(memory(3), 2)

    for number in range(1000):
        counters.add_one(f"name {number}", 0)

    assert len(counters._positions) == 3


def test_tables_are_added_up_by_name() -> None:
    """The same name in several tables has one sum, also the one for the rest and a name that is like it."""
    some, others = NamedCounters(memory(2), 2), NamedCounters(memory(1), 2)
    for counters in (some, others):
        for name in ("a", "other", "c"):
            counters.add_one(name, 0)

    assert read(some, others) == {"a": (2, 0), "other": (4, 0)}
