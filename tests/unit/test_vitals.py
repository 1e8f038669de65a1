"""What workers take and achieve, measured from outside."""

import itertools
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edx_event_bus_redis.internal import vitals as module
from edx_event_bus_redis.internal.protocols import WorkerLook
from edx_event_bus_redis.internal.vitals import VitalSigns
from tests.support.waiting import wait_until


def worker(shard: int = 0, *, pid: int = 0, handled: int = 0, state: str = "idle") -> WorkerLook:
    return WorkerLook(
        shard=shard,
        pid=pid or os.getpid(),
        state=state,
        entry=None,
        again=False,
        seconds=0.0,
        handled=handled,
        failed=0,
        errors=0,
        restarts=0,
        last_death=None,
        seconds_since_death=float("inf"),
        deaths_in_a_row=0,
        seconds_silent=0.0,
    )


@pytest.fixture
def busy() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process.pid
        process.kill()


def test_a_rate_is_not_known_at_the_first_look() -> None:
    """What was seen once only has no rate, and no share of a processor."""
    ((rate, memory, cpu),) = VitalSigns().measure([worker(handled=5)])

    assert (rate, cpu) == (None, None)
    assert memory is not None


def test_a_rate_is_what_was_handled_between_two_looks(busy: int) -> None:
    """From the second look on there is a rate of events and a share of a processor."""
    signs = VitalSigns()
    handled = iter(range(0, 10**9, 10))

    def found() -> bool:
        ((rate, _, cpu),) = signs.measure([worker(pid=busy, handled=next(handled))])
        return bool(rate and cpu and 1 < cpu < 120)

    wait_until(found)


def test_what_a_shard_achieves_goes_on_when_its_worker_is_replaced(busy: int) -> None:
    """Another process has another processor time, and the shard the same rate."""
    signs = VitalSigns()
    signs.measure([worker(handled=0)])

    ((rate, _, cpu),) = signs.measure([worker(pid=busy, handled=10)])

    assert rate
    assert cpu is None


def test_a_worker_that_is_gone_has_neither_memory_nor_processor_time() -> None:
    """A worker that is gone, or whose process cannot be seen, takes nothing that can be told."""
    signs = VitalSigns()
    signs.measure([worker()])
    for look in (worker(state="gone"), worker(pid=2**22 + 1)):
        for _ in range(2):
            ((rate, memory, cpu),) = signs.measure([look])

        assert rate == 0.0
        assert (memory, cpu) == (None, None)


def test_memory_is_measured_for_one_worker_at_a_time() -> None:
    """With each look one worker more has its memory measured, also beside one that is gone; never more than that."""
    signs = VitalSigns()
    workers = [worker(0), worker(1, state="gone"), worker(2)]

    known = [sum(each.memory is not None for each in signs.measure(workers)) for _ in range(4)]

    assert known[0] <= 1
    assert known[-1] == 2
    assert all(later - earlier in {0, 1} for earlier, later in itertools.pairwise(known))


def test_memory_is_measured_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is kept, and measured anew when it is old."""
    signs = VitalSigns()
    ((_, first, _),) = signs.measure([worker()])
    # Not of what the process has freed and keeps.
    more = mmap.mmap(-1, 50_000_000)
    more.write(b"x" * len(more))
    ((_, second, _),) = signs.measure([worker()])
    assert second == first

    monkeypatch.setattr(module, "_MEMORY_INTERVAL", 0.0)

    ((_, third, _),) = signs.measure([worker()])
    assert third is not None
    assert first is not None
    assert third > first + len(more) / 2


def test_a_pool_may_get_more_workers_and_fewer() -> None:
    """The vitals are those of the workers that there are at each look."""
    signs = VitalSigns()

    assert [len(signs.measure([worker(shard) for shard in range(number)])) for number in (2, 4, 1)] == [2, 4, 1]
