"""The monitor beside the workers: what it sees, and how it is watched and replaced."""

import os
import time
from collections.abc import Callable
from typing import Any

import multiprocess
import pytest

from pool import EXIT_TOO_MANY_ERRORS, Child, MonitorChild
from tests.pool.program import argument, flag, idle, say, wait_for_flag, watch
from tests.pool.test_overdue import HANGING
from tests.support.waiting import wait_until


def handle_two(child: Child) -> None:
    child.slot.begin(child.shard, 7)
    child.slot.succeeded()
    child.slot.mark(child.shard, 7)
    child.slot.begin(child.shard, 8)
    say("ready", shard=child.shard)
    wait_for_flag("never")


def look(child: MonitorChild) -> None:
    child.slot.begin(9, 9)
    child.slot.succeeded()
    child.slot.mark(9, 9)
    wait_for_flag("look")
    say(
        "seen",
        pids=[slot.pid for slot in child.slots],
        in_hand=[slot.item for slot in child.slots],
        handled=child.slots.handled(),
        furthest=child.slots.furthest(),
        supervisor=child.supervisor,
        parent=os.getppid(),
        name=multiprocess.current_process().name,
        requested=child.stop.requested,
    )
    watch(child)


def test_the_monitor_sees_the_workers_and_is_none_of_them(start_pool: Any) -> None:
    """It reads the slots of all workers; its own is not among them and adds nothing to their sums."""
    pool = start_pool(handle_two, monitor=look, workers=2, shutdown_timeout=0.2).wait_ready(2)

    pool.raise_flag("look")
    seen = pool.wait_for("seen")[0]

    assert seen.pids == [pool.worker(shard).pid for shard in range(2)]
    assert seen.in_hand == [[0, 8], [1, 8]]
    assert (seen.handled, seen.furthest) == (2, [1, 7])
    assert seen.supervisor == seen.parent == pool.process.pid
    assert (seen.name, seen.requested) == ("test.monitor", False)
    assert seen.pid == pool.monitor().pid


def test_the_monitor_comes_first(start_pool: Any) -> None:
    """The monitor is forked before any worker, so that none works unwatched."""
    pool = start_pool(monitor=watch, workers=2).wait_ready(2)

    monitor = pool.records("MonitorStarted")[0]
    assert monitor.replaces is None
    assert all(monitor.at < worker.at for worker in pool.records("WorkerStarted"))
    assert {child.pid for child in pool.supervisor.children()} == {monitor.pid, pool.worker(0).pid, pool.worker(1).pid}


def test_a_killed_monitor_is_replaced_and_no_worker_is_touched(start_pool: Any) -> None:
    """The monitor's death is reported and answered at once; the workers go on."""
    pool = start_pool(monitor=watch, workers=2).wait_ready(2)
    pool.wait_for("watching")
    dead = pool.monitor()

    dead.kill()
    pool.wait_for("watching", 2)

    died = pool.records("MonitorDied")[0]
    assert (died.pid, died.cause, died.replaced_in, died.stack) == (dead.pid, "SIGKILL", 0.0, "")
    assert pool.wait_for("MonitorStarted", 2)[1].replaces == dead.pid
    assert len(pool.records("WorkerStarted")) == 2
    assert not pool.records("WorkerDied")
    assert pool.stop().killed == 0


def test_a_killed_worker_is_replaced_beside_a_monitor(start_pool: Any) -> None:
    """The death of a worker is no business of the monitor, which goes on."""
    pool = start_pool(monitor=watch).wait_ready(1)

    pool.worker(0).kill()
    pool.wait_ready(2)

    assert len(pool.records("MonitorStarted")) == 1
    assert pool.stop().killed == 0


def test_a_frozen_monitor_is_killed_and_replaced(start_pool: Any) -> None:
    """A suspended monitor gives no sign of life: it is killed for that, though it can answer no signal."""
    pool = start_pool(monitor=watch, monitor_timeout=1.0).wait_ready(1)
    pool.wait_for("watching")
    frozen = pool.monitor()

    frozen.suspend()
    pool.wait_for("watching", 2)

    died = pool.records("MonitorDied")[0]
    assert (died.pid, died.stack) == (frozen.pid, "")
    assert died.cause.startswith("no sign of life for ")
    assert not pool.records("WorkerDied")


def hang_once(child: MonitorChild) -> None:
    if not flag("hung").exists():
        flag("hung").touch()
        HANGING[argument("where")]()
    watch(child)


@pytest.mark.parametrize("where", ["python", "c"])
def test_a_monitor_that_hangs_is_killed_and_replaced(start_pool: Any, where: str) -> None:
    """Whatever the monitor hangs in, it is killed, and the stack is reported."""
    pool = start_pool(monitor=hang_once, arguments={"where": where}, monitor_timeout=1.0)

    pool.wait_for("watching")

    died = pool.records("MonitorDied")[0]
    assert died.cause.startswith("no sign of life for ")
    assert f"in hang_in_{where}" in died.stack
    assert died.replaced_in == 0.0


def watch_for_a_while(child: MonitorChild) -> None:
    """Give signs of life for twice as long as none may be given."""
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        child.slot.idle()
        time.sleep(0.01)
    say("watched")
    watch(child)


def test_a_monitor_that_gives_signs_of_life_is_left_alone(start_pool: Any) -> None:
    """The time is from one sign of life to the next, not that of its life."""
    pool = start_pool(monitor=watch_for_a_while, monitor_timeout=1.5)

    pool.wait_for("watched")

    assert not pool.records("MonitorDied")


def end_once(child: MonitorChild) -> None:
    if not flag("ended").exists():
        flag("ended").touch()
        how = argument("how")
        if how == "returns":
            return
        if how == "raises":
            raise ValueError("this monitor is broken")
        raise SystemExit(how)
    watch(child)


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("returns", "exit status 0"),
        ("raises", "exit status 1"),
        (EXIT_TOO_MANY_ERRORS, f"exit status {EXIT_TOO_MANY_ERRORS}"),
    ],
)
def test_however_a_monitor_ends_it_is_replaced(start_pool: Any, how: str | int, cause: str) -> None:
    """While the pool runs, leaving properly is a death like any other, and no status has a worker's meaning."""
    pool = start_pool(monitor=end_once, arguments={"how": how})

    pool.wait_for("watching")

    died = pool.records("MonitorDied")[0]
    assert (died.cause, died.replaced_in) == (cause, 0.0)


def crash(child: MonitorChild) -> None:
    child.slot.idle()
    os._exit(9)


def test_a_monitor_that_crashes_again_and_again_waits_longer_and_ends_nothing(start_pool: Any) -> None:
    """Replacements wait as the backoff says; they never make the pool give up, and the workers go on."""
    pool = start_pool(
        monitor=crash,
        workers=2,
        backoff={"first": 0.02, "maximum": 0.1, "jitter": 0.0},
        monitor_timeout=3600.0,
        give_up_after=1,
        give_up_after_each=1,
    )

    died = pool.wait_for("MonitorDied", 12)

    assert [each.replaced_in for each in died][:5] == [0.0, 0.02, 0.04, 0.08, 0.1]
    assert {each.replaced_in for each in died[4:]} == {0.1}
    started = pool.records("MonitorStarted")
    for death, replacement in zip(died, started[1:], strict=False):
        assert replacement.at - death.at >= death.replaced_in
    pool.wait_ready(2)
    assert len(pool.records("WorkerStarted")) == 2
    assert pool.stop().killed == 0
    assert pool.outcome() == "STOPPED"


def work_and_crash(child: MonitorChild) -> None:
    until = time.monotonic() + argument("seconds")
    while time.monotonic() < until:
        child.slot.idle()
        time.sleep(0.005)
    os._exit(9)


def sleep_and_crash(child: MonitorChild) -> None:
    time.sleep(argument("seconds"))
    os._exit(9)


@pytest.mark.parametrize(
    ("monitor", "settings"),
    [
        (work_and_crash, {"monitor_timeout": 1.0, "stable_after": 3600.0}),
        (sleep_and_crash, {"monitor_timeout": 3600.0, "stable_after": 1.0}),
    ],
)
def test_a_monitor_that_did_well_begins_a_new_row(
    start_pool: Any, monitor: Callable[[MonitorChild], None], settings: dict[str, float]
) -> None:
    """Having given signs of life for as long as it may give none, or having lived for long, it is replaced at once."""
    pool = start_pool(monitor=monitor, arguments={"seconds": 1.2}, **settings)

    died = pool.wait_for("MonitorDied", 4)

    assert {each.replaced_in for each in died} == {0.0}


def hang_always(child: MonitorChild) -> None:
    HANGING["python"]()


def test_a_monitor_that_never_gave_a_sign_of_life_did_not_do_well(start_pool: Any) -> None:
    """Being killed late is no long life: monitors that hang from the start are a row, whose replacements wait."""
    pool = start_pool(monitor=hang_always, monitor_timeout=0.2)

    died = pool.wait_for("MonitorDied", 3)

    assert [each.replaced_in > 0 for each in died] == [False, True, True]


def test_sigterm_to_the_monitor_alone_is_not_heeded(start_pool: Any) -> None:
    """Only the supervisor has the monitor leave: it goes on after a signal of somebody else, and does not spin."""
    pool = start_pool(idle, monitor=watch).wait_ready(1)
    pool.wait_for("watching")
    monitor = pool.monitor()
    before = monitor.cpu_times().user

    monitor.terminate()
    wait_until(lambda: monitor.num_ctx_switches().voluntary > 100)

    assert not pool.records("monitor leaving")
    assert monitor.cpu_times().user - before < 1.0
    pool.stop()
    assert len(pool.records("monitor leaving")) == 1
