"""What is kept of workers that died: how many, of what, and whether they do nothing but die."""

import math
from typing import Any

import pytest

from pool import Cause, Child, Deaths, Memory, MonitorChild
from pool import deaths as module
from tests.pool.program import say, wait_for_flag
from tests.pool.running import PoolProcess


def test_a_death_is_of_its_shard() -> None:
    """The last cause and the number of deaths are those of the shard, the kinds those of the pool."""
    deaths = Deaths(3)
    assert deaths.of(1) == (0, None, math.inf, 0, 0)

    deaths.record(1, "timed out after 5.0 s", "timed out", 0)
    deaths.record(1, "SIGKILL", "SIGKILL", 4)
    deaths.record(2, "SIGKILL", "SIGKILL", 0)

    assert deaths.of(0).number == 0
    assert deaths.of(1)[:2] == (2, "SIGKILL")
    assert deaths.of(2)[:2] == (1, "SIGKILL")
    assert 0 <= deaths.of(1).seconds_ago < 60
    assert deaths.by_kind() == {"timed out": 1, "SIGKILL": 2}


def test_a_long_cause_is_cut_off_and_a_shorter_one_is_whole() -> None:
    """A cause of any length is kept as far as there is room, and nothing of it shows behind the next one."""
    deaths = Deaths(2)
    deaths.record(0, "x" * 1000, "x", 0)
    assert deaths.of(0).last == "x" * 80
    assert deaths.of(1).number == 0

    deaths.record(0, "SIGKILL", "SIGKILL", 0)

    assert deaths.of(0).last == "SIGKILL"


def test_a_row_of_deaths_ends_with_something_settled_or_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deaths are in a row if the shard has settled nothing in between and they are no more than minutes apart."""
    deaths = Deaths(1)

    def row_after(settled: int) -> int:
        deaths.record(0, "SIGKILL", "SIGKILL", settled)
        return deaths.of(0).in_a_row

    assert [row_after(settled) for settled in (0, 0, 0, 1, 1)] == [1, 2, 3, 1, 2]
    assert deaths.of(0).settled == 1

    monkeypatch.setattr(module, "_ROW_SECONDS", 0.0)

    assert row_after(1) == 1


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Cause(-9), "SIGKILL"),
        (Cause(3), "exit status 3"),
        (Cause(-9, timed_out_after=5.04), "timed out"),
        (Cause(-9, silent_for=180.2), "no sign of life"),
        (Cause(-9, overstayed=30.1), "not done in time"),
        (Cause(-9, memory=Memory(900, 400)), "too much memory"),
        (Cause(75, too_many_errors=True), "too many consecutive errors"),
    ],
)
def test_a_kind_of_cause_has_no_amounts(cause: Cause, kind: str) -> None:
    """Causes that differ only in how long something took, or how much, are of one kind."""
    assert cause.kind == kind


def die(child: Child) -> None:
    say("ready", shard=child.shard)
    wait_for_flag("die")
    if child.shard == 0 and child.former is None:
        raise SystemExit(3)
    while not child.stop.requested:
        child.slot.idle()
        child.stop.wait(0.05)


def tell_deaths(child: MonitorChild) -> None:
    while not child.stop.wait(0.01):
        child.slot.idle()
        for shard in (0, 1):
            deaths = child.slots.deaths.of(shard)
            say("deaths", shard=shard, number=deaths.number, last=deaths.last)
    say("in the end", by_kind=child.slots.deaths.by_kind())


def test_the_monitor_reads_what_the_supervisor_records(start_pool: Any) -> None:
    """A death shows in the monitor's view of that shard alone; workers that leave at the stop are no deaths."""
    pool: PoolProcess = start_pool(die, monitor=tell_deaths, workers=2).wait_ready(2)

    pool.raise_flag("die")

    pool.wait_for("deaths", shard=0, number=1, last="exit status 3")
    pool.stop()
    assert not [each for each in pool.records("deaths", shard=1) if each.number]
    assert pool.records("in the end")[0].by_kind == {"exit status 3": 1}
