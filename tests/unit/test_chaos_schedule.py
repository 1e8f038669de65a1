"""Every kind of fault comes in a run of the fault suite, whatever its seed."""

import random
from collections import defaultdict

import pytest

from tests.chaos.faults import ALL, Fault
from tests.chaos.schedule import PART_SECONDS, Schedule

WEIGHTS = [fault.weight for fault in ALL]

# Seconds without another fault after which one that needs peace applies.
PEACE = 15.0


def played(seed: int, seconds: float = 600.0, weights: list[float] = WEIGHTS) -> list[tuple[float, str]]:
    """When which fault is done, where some apply only in peace, and others only now and then."""
    choices = random.Random(seed)
    schedule = Schedule(ALL, weights, seconds, choices)
    played, at, last = [], 0.0, -PEACE
    while at < seconds:
        quiet, rarely = at - last >= PEACE, choices.random() < 0.1

        def applies(fault: Fault, *, quiet: bool = quiet, rarely: bool = rarely) -> bool:
            return quiet if fault.needs_peace else rarely or "unread" not in fault.name

        fault = next(filter(applies, schedule.next(at)), None)
        if fault is not None:
            played.append((at, fault.name))
            schedule.done(fault, at)
            last = at
            at += choices.uniform(0.1, 0.8) + fault.rest
        at += 0.02
    return played


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_in_each_part_of_ten_minutes(seed: int) -> None:
    """Twice at least, and spread over the run: also what is rarely drawn, and what applies only in peace."""
    parts: dict[str, set[int]] = defaultdict(set)
    for at, name in played(seed):
        parts[name].add(int(at // PART_SECONDS))

    assert parts == {fault.name: {0, 1} for fault in ALL}


def test_most_of_it_is_drawn_by_weight() -> None:
    """What each kind has for certain leaves the run as wild as it was, also in order and time."""
    names = [name for _, name in played(1)]

    assert len(names) > 600
    assert names.count("worker killed") > 100
    assert [name for _, name in played(2)][:100] != names[:100]


def test_a_seed_is_a_run() -> None:
    """What has been seen can be seen again."""
    assert played(7) == played(7)


def test_what_is_left_out_never_comes() -> None:
    """Without losses no fault that loses events is owed, and a short run owes nothing."""
    weights = [0.0 if fault.loses else fault.weight for fault in ALL]
    assert not {name for _, name in played(3, weights=weights)} & {fault.name for fault in ALL if fault.loses}

    schedule = Schedule(ALL, WEIGHTS, 8.0, random.Random(1))
    assert all(len(schedule.next(at / 10)) == 1 for at in range(80))
