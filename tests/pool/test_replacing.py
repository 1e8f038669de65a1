"""SIGHUP: every process is replaced by a new one, one after the other."""

import os
import signal
import time
from typing import Any

import pytest

from pool import Child, MonitorChild, Outcome, Stop, Supervisor
from tests.pool.program import config, flag, idle, monitor, say, say_event, wait_for_flag, watch
from tests.pool.test_stopping import finish_what_is_in_hand
from tests.support.waiting import wait_until


def prepare(stop: Stop) -> str:
    say("preparing")
    if flag("hold").exists():
        wait_for_flag("go on")
    if flag("fail").exists():
        os._exit(3)
    return f"prepared by {os.getpid()}"


def supervise_prepared(work: Any, settings: dict[str, Any]) -> Outcome:
    return Supervisor(config(settings), work, monitor(), prepare=prepare, on_event=say_event).run()


def say_former(child: Child) -> None:
    """Say what is known of the predecessor, then wait for the stop."""
    say("former", shard=child.shard, former=child.former, prepared=child.prepared)
    idle(child)


def pids(pool: Any, what: str) -> list[int]:
    return [each.pid for each in pool.records(what)]


def test_every_process_is_replaced_one_after_the_other(start_pool: Any) -> None:
    """SIGHUP replaces the monitor and then each worker by a new one of the same shard; nobody has died."""
    pool = start_pool(idle, monitor=watch, workers=3).wait_ready(3)
    old, old_monitor = pids(pool, "WorkerStarted"), pool.monitor().pid

    pool.send(signal.SIGHUP)
    pool.wait_for("Renewed", complete=True)

    started = pool.records("WorkerStarted")[3:]
    assert [each.shard for each in started] == [0, 1, 2]
    assert [each.replaces for each in started] == old
    assert {each.reason for each in started} == {"SIGHUP"}
    assert len({*old, *(each.pid for each in started)}) == 6
    assert pool.records("MonitorStarted")[1].replaces == old_monitor
    assert pool.records("MonitorStarted")[1].at < started[0].at
    pool.wait_ready(6)
    assert not pool.records("WorkerDied")
    assert not pool.records("MonitorDied")
    assert pool.stop().killed == 0
    assert not pool.left()


def test_the_new_worker_is_prepared_before_the_old_one_is_asked_to_leave(start_pool: Any) -> None:
    """The old worker goes on until the new one is ready, and that begins when the old one is gone."""
    pool = start_pool(say_former, supervise_prepared)
    (old,) = pool.wait_ready(1).records("ready")
    pool.raise_flag("hold")

    pool.send(signal.SIGHUP)
    (preparing,) = pool.wait_for("preparing")
    # The supervisor has looked at everything some times meanwhile.
    pool.send(signal.SIGUSR1)
    pool.wait_for("StackTaken", 2)
    assert not pool.records("leaving")
    pool.raise_flag("go on")

    new = pool.wait_for("former", 2)[1]
    (leaving,) = pool.records("leaving")
    assert leaving.pid == old.pid
    assert leaving.at < new.at
    assert new.pid == preparing.pid
    assert new.prepared == f"prepared by {new.pid}"
    assert pool.stop().killed == 0


def test_an_old_worker_finishes_what_it_has_in_hand(start_pool: Any) -> None:
    """The new worker does not begin before the item in hand is done, and knows that its predecessor gave way."""
    pool = start_pool(finish_then_idle)
    pool.wait_for("busy")

    pool.send(signal.SIGHUP)
    pool.wait_for("asked", hands_over=True)
    time.sleep(0.2)
    assert len(pool.records("WorkerStarted")) == 1
    pool.raise_flag("finish")

    (former,) = pool.wait_for("former")
    assert former.at > pool.records("finished")[0].at
    assert (former.cause, former.item) == ("exit status 0", None)
    assert not pool.records("WorkerDied")
    pool.stop()


def finish_then_idle(child: Child) -> None:
    if child.former is not None:
        say("former", cause=child.former.cause, item=child.former.item)
        idle(child)
        return
    child.slot.begin(7, 8)
    say("busy")
    while not child.stop.requested:
        time.sleep(0.005)
    say("asked", hands_over=child.stop.hands_over)
    wait_for_flag("finish")
    child.slot.succeeded()
    say("finished")


def test_the_old_worker_stays_if_the_new_one_fails(start_pool: Any) -> None:
    """A successor that dies before it is ready replaces nobody, and the round is given up."""
    pool = start_pool(idle, supervise_prepared, workers=2).wait_ready(2)
    pool.raise_flag("fail")

    pool.send(signal.SIGHUP)

    pool.wait_for("Renewed", complete=False)
    (failed,) = pool.records("SuccessorFailed")
    assert (failed.shard, failed.cause, failed.reason) == (0, "exit status 3", "SIGHUP")
    assert len(pool.records("WorkerStarted")) == 2
    assert not pool.records("leaving")
    assert not pool.records("WorkerDied")
    assert pool.stop().killed == 0


def test_a_successor_that_hangs_is_killed(start_pool: Any) -> None:
    """One that is not ready in time is killed, its stack is reported, and the old worker stays."""
    pool = start_pool(idle, supervise_prepared, ready_timeout=0.3).wait_ready(1)
    pool.raise_flag("hold")

    pool.send(signal.SIGHUP)

    pool.wait_for("Renewed", complete=False)
    (failed,) = pool.records("SuccessorFailed")
    assert "not done within " in failed.cause
    assert "in prepare" in failed.stack
    assert not pool.records("leaving")
    assert pool.stop().killed == 0


def test_a_round_during_a_round_begins_after_it(start_pool: Any) -> None:
    """SIGHUP twice while the first round runs: every worker is replaced once by each of two rounds."""
    pool = start_pool(idle, supervise_prepared, workers=2).wait_ready(2)
    pool.raise_flag("hold")
    pool.send(signal.SIGHUP)
    pool.wait_for("preparing")

    pool.send(signal.SIGHUP)
    pool.send(signal.SIGHUP)
    # It sleeps, and wakes every few seconds at the least, only when it has taken what was sent.
    before = pool.supervisor.num_ctx_switches().voluntary
    wait_until(lambda: pool.supervisor.num_ctx_switches().voluntary > before, what="both were taken")
    pool.raise_flag("go on")

    pool.wait_for("Renewed", 2, complete=True)
    assert [each.shard for each in pool.wait_for("WorkerStarted", 6)] == [0, 1, 0, 1, 0, 1]
    pool.wait_ready(6)
    assert pool.stop().killed == 0
    assert len(pool.records("Renewing")) == 2


@pytest.mark.parametrize("ready", [False, True])
def test_a_stop_ends_a_round(start_pool: Any, ready: bool) -> None:
    """SIGTERM while a worker is being replaced: the successor is gone, and the old one leaves in time."""
    pool = start_pool(finish_what_is_in_hand, supervise_prepared)
    pool.wait_for("busy")
    if not ready:
        pool.raise_flag("hold")
    pool.send(signal.SIGHUP)
    pool.wait_for("preparing")
    if ready:
        pool.wait_for("asked")

    pool.send(signal.SIGTERM)
    pool.wait_for("Stopping")
    pool.raise_flag("finish")

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 0
    assert len(pool.records("WorkerStarted")) == 1
    assert not pool.left()


def test_a_worker_that_does_not_leave_is_killed(start_pool: Any) -> None:
    """What is still in hand after the shutdown timeout counts as a death, and the next worker is told of it."""
    pool = start_pool(hang_once, shutdown_timeout=0.4)
    pool.wait_for("busy")

    pool.send(signal.SIGHUP)

    (told,) = pool.wait_for("told")
    assert told.item == [7, 8]
    (died,) = pool.records("WorkerDied")
    assert "not done within " in died.cause
    assert "in hang_once" in died.stack
    pool.wait_for("Renewed")
    assert pool.stop().killed == 0


def hang_once(child: Child) -> None:
    if child.former is None:
        child.slot.begin(7, 8)
        say("busy")
        wait_for_flag("never")
    say("told", item=child.former.item if child.former else None)
    idle(child)


def die_on_order(child: Child) -> None:
    say("former", item=child.former.item if child.former else None)
    if child.former is None:
        child.slot.begin(7, 8)
        wait_for_flag("die")
        os._exit(4)
    idle(child)


def test_a_death_while_the_successor_is_prepared_is_told(start_pool: Any) -> None:
    """A worker that dies with an item in hand meanwhile is replaced by one that knows of it, not by the successor."""
    pool = start_pool(die_on_order, supervise_prepared)
    pool.wait_for("former")
    pool.raise_flag("hold")
    pool.send(signal.SIGHUP)
    (preparing,) = pool.wait_for("preparing")

    pool.raise_flag("die")

    new = pool.wait_for("former", 2)[1]
    assert new.item == [7, 8]
    assert new.pid != preparing.pid
    pool.wait_for("Renewed")
    assert pool.stop().killed == 0
    assert not pool.left()


def hold_death_back(child: Child) -> None:
    """Die once; the next one neither begins anything nor tells anybody."""
    if child.former is None:
        child.slot.begin(7, 8)
        os._exit(4)
    say("former", item=child.former.item)
    idle(child)


def test_a_death_is_passed_on_by_who_has_done_nothing(start_pool: Any) -> None:
    """A worker that gives way before it has begun anything may not have dealt with the death that it was told of."""
    pool = start_pool(hold_death_back)
    pool.wait_for("former")

    pool.send(signal.SIGHUP)

    assert [each.item for each in pool.wait_for("former", 2)] == [[7, 8], [7, 8]]
    pool.wait_for("Renewed")
    pool.stop()


def watch_and_tell(child: MonitorChild) -> None:
    say("watching")
    while not child.stop.wait(0.01):
        child.slot.idle()
    say("monitor leaving", hands_over=child.stop.hands_over)


def test_a_monitor_knows_whether_another_one_is_to_come(start_pool: Any) -> None:
    """It hands over at SIGHUP, and leaves for good at the end of the pool."""
    pool = start_pool(idle, monitor=watch_and_tell).wait_ready(1)
    pool.wait_for("watching")

    pool.send(signal.SIGHUP)
    pool.wait_for("Renewed")
    pool.wait_for("watching", 2)
    pool.stop()

    assert [each.hands_over for each in pool.records("monitor leaving")] == [True, False]


def ignore_the_stop(child: MonitorChild) -> None:
    say("watching")
    while not flag("never").exists():
        child.slot.idle()
        time.sleep(0.01)


def test_a_monitor_that_does_not_give_way_is_killed(start_pool: Any) -> None:
    """A monitor that gives signs of life and stays is killed after its time-out; the round goes on."""
    pool = start_pool(idle, monitor=ignore_the_stop, monitor_timeout=0.4, shutdown_timeout=1.0).wait_ready(1)
    pool.wait_for("watching")

    pool.send(signal.SIGHUP)

    pool.wait_for("Renewed", complete=True)
    assert "not done within " in pool.records("MonitorDied")[0].cause
    pool.wait_for("watching", 2)
    pool.stop()


def say_ignored(child: Child) -> None:
    signals = (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
    say("ignored", ignored=[number.name for number in signals if signal.getsignal(number) is signal.SIG_IGN])
    idle(child)


def test_workers_ignore_what_is_for_the_supervisor(start_pool: Any) -> None:
    """None of the signals that steer the pool stops or ends a worker or a program that it runs."""
    pool = start_pool(say_ignored)

    assert pool.wait_for("ignored")[0].ignored == ["SIGINT", "SIGHUP", "SIGTTIN", "SIGTTOU"]
    pool.stop()


def test_a_terminal_that_hangs_up_is_for_the_supervisor(start_pool: Any) -> None:
    """Workers and monitor ignore the signals that steer the pool when a whole group gets them."""
    pool = start_pool(idle, monitor=watch).wait_ready(1)
    pool.wait_for("watching")

    pool.send_to_group(signal.SIGHUP)

    pool.wait_for("Renewed", complete=True)
    assert not pool.records("WorkerDied")
    assert not pool.records("MonitorDied")
    assert pool.stop().killed == 0
