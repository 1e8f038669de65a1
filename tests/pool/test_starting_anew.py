"""A monitor that has the pool stopped and begun anew."""

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pool import EXIT_START_ANEW, Child, Event, MonitorChild, Outcome, Stopping, Supervisor
from tests.pool.program import config, flag, idle, monitor, say, say_event, supervise, watch
from tests.pool.test_stopping import crash_always, finish_what_is_in_hand
from tests.support.waiting import wait_until

NEVER = 1_000_000


def ask_for_a_new_start(child: MonitorChild) -> None:
    """Leave with the status that asks for a new start, the first time and when the test says so; then stay."""
    if flag("asked for a new start").exists():
        watch(child)
        return
    while not flag("start anew").exists():
        child.slot.idle()
        child.stop.wait(0.005)
    flag("asked for a new start").touch()
    raise SystemExit(EXIT_START_ANEW)


def test_the_monitor_can_have_the_pool_begun_anew(start_pool: Any) -> None:
    """At its status the workers are stopped gracefully and run() says START_ANEW; that is no death."""
    pool = start_pool(finish_what_is_in_hand, monitor=ask_for_a_new_start, workers=2)
    pool.wait_for("busy", 2)

    pool.raise_flag("start anew")
    pool.wait_for("asked", 2)
    pool.raise_flag("finish")

    assert pool.outcome() == "START_ANEW"
    assert [each.reason for each in pool.records("Stopping")] == ["start anew"]
    assert len(pool.records("finished")) == 2
    assert pool.records("Stopped")[0].killed == 0
    assert not pool.records("MonitorDied")
    assert len(pool.records("MonitorStarted")) == 1
    assert not pool.left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_asked_to_stop_does_not_begin_anew(start_pool: Any, number: signal.Signals) -> None:
    """A signal during the stop for a new start makes it an end; it is the first one, and cuts nothing short."""
    pool = start_pool(finish_what_is_in_hand, monitor=ask_for_a_new_start)
    pool.wait_for("busy")
    pool.raise_flag("start anew")
    pool.wait_for("asked")
    supervisor = pool.supervisor
    before = supervisor.num_ctx_switches().voluntary

    pool.send(number)
    wait_until(lambda: supervisor.num_ctx_switches().voluntary > before)
    pool.raise_flag("finish")

    assert pool.outcome() == "STOPPED"
    assert pool.records("finished")
    assert pool.records("Stopped")[0].killed == 0


def test_a_second_signal_during_the_stop_for_a_new_start_kills(start_pool: Any) -> None:
    """Whoever insists does not have to wait for shutdown_timeout then either."""
    pool = start_pool(finish_what_is_in_hand, monitor=ask_for_a_new_start, shutdown_timeout=3600.0)
    pool.wait_for("busy")
    pool.raise_flag("start anew")
    pool.wait_for("asked")

    pool.send(signal.SIGTERM)
    pool.send(signal.SIGINT)

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 1


def supervise_and_signal_at_the_last_moment(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Get SIGTERM when the stop begins; with no worker left that is when the loop has looked at signals for good."""

    def tell(event: Event) -> None:
        say_event(event)
        if isinstance(event, Stopping):
            os.kill(os.getpid(), signal.SIGTERM)

    return Supervisor(config(settings), work, monitor(), on_event=tell).run()


def test_a_signal_at_the_last_moment_is_not_lost(start_pool: Any) -> None:
    """SIGTERM after the last child was gone still keeps the pool from being begun anew."""
    long = {"first": 1e7, "maximum": 1e7}
    pool = start_pool(
        crash_always,
        supervise_and_signal_at_the_last_moment,
        monitor=ask_for_a_new_start,
        backoff=long,
        give_up_after=NEVER,
        give_up_after_each=NEVER,
    )
    pool.wait_for("WorkerDied", 2)

    pool.raise_flag("start anew")

    assert pool.outcome() == "STOPPED"
    assert [each.reason for each in pool.records("Stopping")] == ["start anew"]


def supervise_again_and_again(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Do what a caller does that begins anew."""
    while True:
        say("begin", open_files=psutil.Process().num_fds(), children=len(psutil.Process().children()))
        outcome = supervise(work, settings)
        if outcome is not Outcome.START_ANEW:
            return outcome


def test_a_pool_can_be_begun_anew_in_the_same_process(start_pool: Any) -> None:
    """After START_ANEW a new supervisor has children of its own, replaces them and stops like any other."""
    pool = start_pool(idle, supervise_again_and_again, monitor=ask_for_a_new_start, workers=2).wait_ready(2)
    pool.raise_flag("start anew")
    pool.wait_ready(4)
    pool.wait_for("watching")
    assert [each.replaces for each in pool.records("WorkerStarted")] == [None] * 4
    assert len(pool.records("leaving")) == 2

    pool.worker(1).kill()
    pool.wait_ready(5)
    pool.monitor().kill()
    pool.wait_for("watching", 2)

    pool.send(signal.SIGTERM)
    assert pool.outcome() == "STOPPED"
    first, second = pool.records("begin")
    assert (second.open_files, second.children) == (first.open_files, 0)
    assert [each.killed for each in pool.records("Stopped")] == [0, 0]
    assert not pool.left()
