"""Stopping a pool: gracefully, in time, at once."""

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pool import Child, Event, Outcome, Supervisor, WorkerStarted
from tests.pool.program import argument, config, idle, say, say_event, wait_for_flag
from tests.support.waiting import wait_until

STOPPING = [signal.SIGTERM, signal.SIGINT]
NEVER = 1_000_000


@pytest.mark.parametrize("number", STOPPING)
def test_idle_workers_leave_when_the_pool_is_stopped(start_pool: Any, number: signal.Signals) -> None:
    """SIGTERM or SIGINT to the supervisor wakes every idle worker, which leaves by itself; the pool says STOPPED."""
    pool = start_pool(workers=3).wait_ready(3)

    pool.send(number)

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopping")[0].reason == number.name
    assert {each.shard for each in pool.records("leaving")} == {0, 1, 2}
    stopped = pool.records("Stopped")[0]
    assert (stopped.left, stopped.killed) == (0, 0)
    assert stopped.seconds < 10
    assert not pool.records("WorkerDied")
    assert not pool.left()


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_to_the_whole_group_is_a_graceful_stop(start_pool: Any, number: signal.Signals) -> None:
    """Ctrl-C in a terminal and a service manager reach every process at once: the workers still leave by themselves."""
    pool = start_pool(workers=3).wait_ready(3)

    pool.send_to_group(number)

    assert pool.outcome() == "STOPPED"
    assert {each.shard for each in pool.records("leaving")} == {0, 1, 2}
    assert pool.records("Stopped")[0].killed == 0
    assert not pool.records("WorkerDied")


def work_with_a_process(child: Child) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        say("ready", shard=child.shard)
        child.stop.wait(3600)
    say("finished", status=process.returncode)


def test_ctrl_c_does_not_take_a_process_from_its_worker(start_pool: Any) -> None:
    """SIGINT of a terminal is for the supervisor: what a worker has started to do its work goes on until it is done."""
    pool = start_pool(work_with_a_process).wait_ready(1)

    pool.send_to_group(signal.SIGINT)

    assert pool.outcome() == "STOPPED"
    assert pool.records("finished")[0].status == 0


def finish_what_is_in_hand(child: Child) -> None:
    child.slot.held(3)
    child.slot.begin(0, 1)
    say("busy", time_left=child.stop.time_left)
    child.stop.wait(3600)
    say("asked", time_left=child.stop.time_left, requested=child.stop.requested)
    wait_for_flag("finish")
    child.slot.succeeded()
    child.slot.held(2)
    say("finished")


def test_workers_may_finish_within_the_time(start_pool: Any) -> None:
    """Who is busy is told how much time is left, and the pool waits; what a worker still held is counted as left."""
    pool = start_pool(finish_what_is_in_hand, workers=2, shutdown_timeout=25.0)
    pool.wait_for("busy", 2)

    pool.send(signal.SIGTERM)
    asked = pool.wait_for("asked", 2)
    pool.raise_flag("finish")

    assert pool.outcome() == "STOPPED"
    assert all(each.requested and 0 < each.time_left <= 25.0 for each in asked)
    assert len(pool.records("finished")) == 2
    stopped = pool.records("Stopped")[0]
    assert (stopped.left, stopped.killed) == (4, 0)


def be_idle_or_hang(child: Child) -> None:
    if child.shard != 0:
        idle(child)
        return
    child.slot.begin(0, 1)
    child.slot.held(7, unreported=2)
    say("ready", shard=child.shard)
    wait_for_flag("never")


def test_who_does_not_leave_in_time_is_killed(start_pool: Any) -> None:
    """After shutdown_timeout the workers that are left are killed, counted, and what they held is counted too."""
    pool = start_pool(be_idle_or_hang, workers=3, shutdown_timeout=0.4).wait_ready(3)

    stopped = pool.stop()

    assert (stopped.killed, stopped.left) == (1, 9), "what it had finished and not reported is left, too"
    assert 0.4 <= stopped.seconds < 10
    assert {each.shard for each in pool.records("leaving")} == {1, 2}
    assert not pool.left()
    (died,) = pool.records("WorkerDied")
    assert (died.shard, died.item) == (0, [0, 1])
    assert "in be_idle_or_hang" in died.stack


def test_a_frozen_worker_does_not_hold_up_the_stop(start_pool: Any) -> None:
    """A worker that is suspended, and so cannot answer, is killed when the time is over."""
    pool = start_pool(workers=2, shutdown_timeout=0.4).wait_ready(2)
    pool.worker(1).suspend()

    assert pool.stop().killed == 1
    assert not pool.left()


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal_kills_at_once(start_pool: Any, first: signal.Signals, second: signal.Signals) -> None:
    """Whoever insists does not have to wait for shutdown_timeout."""
    pool = start_pool(be_idle_or_hang, workers=2, shutdown_timeout=3600.0).wait_ready(2)

    leaving = pool.worker(1)

    pool.send(first)
    wait_until(lambda: not leaving.is_running())
    pool.send(second)

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 1
    assert not pool.records("WorkerDied")[0].stack
    assert not pool.left()


def leave_when_told_or_hang(child: Child) -> None:
    say("ready", shard=child.shard)
    child.stop.wait(3600)
    say("asked")
    wait_for_flag("never" if child.shard == 0 else "leave")


def test_who_left_just_before_the_kill_was_not_killed(start_pool: Any) -> None:
    """A worker that is dead already when the others are killed is not counted with them."""
    pool = start_pool(leave_when_told_or_hang, workers=3, shutdown_timeout=3600.0).wait_ready(3)
    workers = [pool.worker(shard) for shard in (1, 2)]

    pool.send(signal.SIGTERM)
    pool.wait_for("asked", 3)
    pool.freeze()
    pool.raise_flag("leave")
    wait_until(lambda: all(worker.status() == psutil.STATUS_ZOMBIE for worker in workers))
    pool.send(signal.SIGTERM)
    pool.supervisor.resume()

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 1


def crash_when_asked(child: Child) -> None:
    say("ready", shard=child.shard)
    child.stop.wait(3600)
    os._exit(9)


def test_nobody_is_replaced_while_the_pool_stops(start_pool: Any) -> None:
    """A worker that crashes on its way out ends the pool like one that leaves properly."""
    pool = start_pool(crash_when_asked, workers=2).wait_ready(2)

    assert pool.stop().killed == 0
    assert len(pool.records("WorkerStarted")) == 2
    assert pool.records("end")[0].outcome == "STOPPED"


def crash_always(child: Child) -> None:
    os._exit(9)


def test_a_pool_that_waits_to_replace_a_worker_stops_at_once(start_pool: Any) -> None:
    """SIGTERM during the delay of a replacement ends the pool without it, also if the delay is months."""
    long = {"first": 1e7, "maximum": 1e7}
    pool = start_pool(crash_always, backoff=long, give_up_after=NEVER, give_up_after_each=NEVER, shutdown_timeout=1e7)
    assert pool.wait_for("WorkerDied", 2)[1].replaced_in > 1e6

    stopped = pool.stop()

    assert stopped.seconds < 10
    assert len(pool.records("WorkerStarted")) == 2


def test_a_timeout_of_any_length_can_be_asked_for(start_pool: Any) -> None:
    """A stop that may take for ever is one."""
    pool = start_pool(finish_what_is_in_hand, shutdown_timeout=float("inf"))
    pool.wait_for("busy")

    pool.send(signal.SIGTERM)
    pool.wait_for("asked")
    pool.raise_flag("finish")

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 0


def supervise_and_stop_while_forking(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    forks = 0

    def stop_before(fork: int) -> None:
        nonlocal forks
        if forks == fork:
            os.kill(os.getpid(), signal.SIGTERM)
        forks += 1

    return Supervisor(
        config(settings), work, on_event=say_event, before_fork=lambda: stop_before(argument("fork"))
    ).run()


@pytest.mark.parametrize("fork", [0, 2])
def test_a_pool_that_is_stopped_while_it_forks_stops(start_pool: Any, fork: int) -> None:
    """SIGTERM before the first fork, or between two, ends the pool with no worker left, killed or forgotten."""
    pool = start_pool(idle, supervise_and_stop_while_forking, workers=4, arguments={"fork": fork})

    assert pool.outcome() == "STOPPED"
    started = {each.shard for each in pool.records("WorkerStarted")}
    assert {each.shard for each in pool.records("leaving")} == started
    assert pool.records("Stopped")[0].killed == 0
    assert not pool.records("WorkerDied")


def supervise_and_signal_newborns(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Send each worker what a service manager may send it, as soon as it is there."""

    def tell(event: Event) -> None:
        say_event(event)
        if isinstance(event, WorkerStarted):
            os.kill(event.pid, signal.SIGINT)
            os.kill(event.pid, signal.SIGTERM)

    return Supervisor(config(settings), work, on_event=tell).run()


def test_a_newborn_worker_keeps_a_signal_until_it_can_answer(start_pool: Any) -> None:
    """SIGTERM to a worker that has hardly been forked is neither lost nor deadly: its work is asked to stop."""
    pool = start_pool(
        idle, supervise_and_signal_newborns, workers=2, give_up_after=NEVER, give_up_after_each=20, stable_after=3600.0
    )

    assert pool.outcome() == "GAVE_UP"
    died = pool.records("WorkerDied")
    assert len(died) >= 40
    assert {each.cause for each in died} == {"exit status 0"}
    assert len(pool.records("ready")) == len(pool.records("leaving")) == len(pool.records("WorkerStarted"))


def test_a_worker_that_is_asked_to_leave_is_replaced(start_pool: Any) -> None:
    """SIGTERM to one worker alone, by an operator, ends that worker gracefully and nothing else."""
    pool = start_pool(workers=2).wait_ready(2)

    pool.worker(1).terminate()
    pool.wait_ready(3)

    assert pool.records("leaving")[0].shard == 1
    assert pool.records("WorkerDied")[0].cause == "exit status 0"
    assert pool.stop().killed == 0


def leave_badly(child: Child) -> None:
    """Shard 0 dies of what it has in hand when it is asked to stop; shard 1 does not leave at all."""
    child.slot.begin(7, child.shard)
    say("ready", shard=child.shard)
    child.stop.wait(3600)
    if child.shard == 0:
        os._exit(3)
    wait_for_flag("never")


def test_who_does_not_leave_in_good_order_is_named(start_pool: Any) -> None:
    """A death during a stop is told with its cause and what was in hand, and so is a worker that had to be killed."""
    pool = start_pool(leave_badly, workers=2, shutdown_timeout=0.5).wait_ready(2)

    assert pool.stop().killed == 1

    died, killed = pool.records("WorkerDied")
    assert (died.shard, died.cause, died.item, died.replaced_in) == (0, "exit status 3", [7, 0], None)
    assert (killed.shard, killed.item, killed.replaced_in) == (1, [7, 1], None)
    assert killed.cause.startswith("not done within ")
