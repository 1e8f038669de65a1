"""The monitor at the end of the pool: it is the last to go."""

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pool import Child, Event, MonitorChild, Outcome, Supervisor
from tests.pool.program import argument, config, flag, idle, monitor, say, say_event, wait_for_flag, watch
from tests.pool.test_stopping import finish_what_is_in_hand
from tests.support.waiting import wait_until


def say_beats(child: MonitorChild) -> None:
    say("watching", time_left=child.stop.time_left)
    while not child.stop.wait(0.01):
        child.slot.idle()
        say("beat")
    say("monitor leaving", time_left=child.stop.time_left, states=[slot.state.name for slot in child.slots])


@pytest.mark.parametrize("to_all", [False, True])
def test_the_monitor_outlives_the_workers(start_pool: Any, to_all: bool) -> None:
    """While workers finish it goes on; it leaves when the last one is gone, also if every process got the signal."""
    pool = start_pool(finish_what_is_in_hand, monitor=say_beats, workers=2, shutdown_timeout=25.0)
    pool.wait_for("busy", 2)
    pool.wait_for("beat")

    (pool.send_to_group if to_all else pool.send)(signal.SIGTERM)
    pool.wait_for("asked", 2)
    pool.wait_for("beat", len(pool.records("beat")) + 20)
    assert not pool.records("monitor leaving")
    pool.raise_flag("finish")

    assert pool.outcome() == "STOPPED"
    (leaving,) = pool.records("monitor leaving")
    finished = pool.records("finished")
    assert len(finished) == 2
    assert all(leaving.at > each.at for each in finished)
    assert leaving.states == ["GONE", "GONE"]
    assert 0 < leaving.time_left <= 25.0
    assert pool.records("watching")[0].time_left == float("inf")
    assert pool.records("Stopped")[0].killed == 0
    assert not pool.records("MonitorDied")
    assert not pool.left()


def test_a_monitor_that_dies_while_the_pool_stops_is_not_replaced(start_pool: Any) -> None:
    """The workers may finish without it, and nobody comes in its place."""
    pool = start_pool(finish_what_is_in_hand, monitor=watch)
    pool.wait_for("busy")
    pool.send(signal.SIGTERM)
    pool.wait_for("asked")

    dead = pool.monitor()
    dead.kill()
    wait_until(lambda: not dead.is_running())
    pool.raise_flag("finish")

    assert pool.outcome() == "STOPPED"
    assert pool.records("finished")
    assert len(pool.records("MonitorStarted")) == 1
    assert not pool.records("MonitorDied")


def watch_without_end(child: MonitorChild) -> None:
    """Ignore that a stop is requested."""
    say("watching")
    while not flag("never").exists():
        child.slot.idle()
        child.stop.wait(0.01)


def hang_when_asked(child: Child) -> None:
    say("ready", shard=child.shard)
    wait_for_flag("never" if argument("hang") else "at once")


@pytest.mark.parametrize(
    ("shutdown_timeout", "worker_hangs", "least"), [(2.0, False, 2.0), (0.2, False, 1.0), (0.2, True, 1.2)]
)
def test_a_monitor_that_does_not_leave_is_killed(
    start_pool: Any, shutdown_timeout: float, worker_hangs: bool, least: float
) -> None:
    """It has until the deadline, at least a second from when the last worker was gone; it does not count as killed."""
    pool = start_pool(
        hang_when_asked if worker_hangs else idle,
        monitor=watch_without_end,
        arguments={"hang": worker_hangs},
        shutdown_timeout=shutdown_timeout,
    ).wait_ready(1)
    pool.wait_for("watching")

    stopped = pool.stop()

    assert stopped.seconds >= least
    assert stopped.killed == int(worker_hangs)
    assert pool.records("end")[0].outcome == "STOPPED"
    assert not pool.left()


def test_a_frozen_monitor_does_not_hold_up_the_stop(start_pool: Any) -> None:
    """A monitor that is suspended, and so cannot answer, is killed when the time is over."""
    pool = start_pool(monitor=watch, shutdown_timeout=0.4, monitor_timeout=3600.0).wait_ready(1)
    pool.wait_for("watching")
    pool.monitor().suspend()

    assert pool.stop().killed == 0
    assert not pool.left()


def test_a_second_signal_kills_the_monitor_too(start_pool: Any) -> None:
    """Whoever insists does not have to wait for the monitor's time."""
    pool = start_pool(monitor=watch_without_end, shutdown_timeout=3600.0).wait_ready(1)
    pool.wait_for("watching")
    worker = pool.worker(0)

    pool.send(signal.SIGTERM)
    wait_until(lambda: not worker.is_running())
    pool.send(signal.SIGINT)

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 0
    assert not pool.left()


def test_a_second_signal_while_workers_finish_kills_everybody(start_pool: Any) -> None:
    """The monitor does not go on when the workers were killed."""
    pool = start_pool(finish_what_is_in_hand, monitor=watch_without_end, workers=2, shutdown_timeout=3600.0)
    pool.wait_for("watching")
    pool.wait_for("busy", 2)

    pool.send(signal.SIGTERM)
    pool.wait_for("asked", 2)
    pool.send(signal.SIGTERM)

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 2
    assert not pool.left()


def crash(child: Child) -> None:
    os._exit(9)


def test_a_pool_that_gives_up_lets_its_monitor_leave(start_pool: Any) -> None:
    """When the only worker was replaced in vain, the monitor is asked to leave like at any other stop."""
    pool = start_pool(crash, monitor=watch, give_up_after_each=4)

    assert pool.outcome() == "GAVE_UP"
    assert pool.records("GaveUp")[0].replacements == 3
    assert len(pool.records("watching")) == len(pool.records("monitor leaving")) == 1
    assert not pool.records("MonitorDied")
    assert not pool.left()


def fail_in_the_parent(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    def refuse(event: Event) -> None:
        say_event(event)
        if flag("refuse").exists():
            raise ValueError("refused")

    try:
        return Supervisor(config(settings), work, monitor(), on_event=refuse).run()
    except ValueError as error:
        say("failed", error=error, left=len(psutil.Process().children()))
        return Outcome.STOPPED


def test_an_exception_of_the_caller_leaves_no_monitor(start_pool: Any) -> None:
    """When a callable of the caller raises, the monitor is dead and buried like the workers."""
    pool = start_pool(idle, fail_in_the_parent, monitor=watch_without_end, workers=2).wait_ready(2)
    pool.wait_for("watching")
    pool.raise_flag("refuse")

    pool.worker(1).kill()
    pool.outcome()

    failed = pool.records("failed")[0]
    assert (failed.error, failed.left) == ("refused", 0)
