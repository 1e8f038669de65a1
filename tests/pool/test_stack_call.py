"""SIGUSR1: where all processes of a pool are."""

import os
import signal
import time
from typing import Any

from pool import Child
from tests.pool.program import idle, say, watch
from tests.pool.test_overdue import HANGING
from tests.pool.test_replacing import supervise_prepared


def hang(child: Child) -> None:
    """Hang in Python code in shard 0, in C code in shard 1, and work in the others."""
    say("ready", shard=child.shard)
    if child.shard < 2:
        HANGING[("python", "c")[child.shard]]()
    idle(child)


def test_everybody_says_where_it_is(start_pool: Any) -> None:
    """Stacks of workers, also of those that hang, of the monitor and of the supervisor; one report each."""
    pool = start_pool(hang, monitor=watch, workers=3, shutdown_timeout=0.3).wait_ready(3)
    pool.wait_for("watching")

    pool.send(signal.SIGUSR1)

    taken = {each.role: each for each in pool.wait_for("StackTaken", 5)}
    assert {role: each.shard for role, each in taken.items() if each.shard is not None} == {
        f"worker {shard}": shard for shard in range(3)
    }
    pids = {each.shard: each.pid for each in pool.records("WorkerStarted")}
    assert {role: each.pid for role, each in taken.items()} == {
        "supervisor": pool.process.pid,
        "monitor": pool.monitor().pid,
        **{f"worker {shard}": pid for shard, pid in pids.items()},
    }
    assert "in hang_in_python" in taken["worker 0"].stack
    # How it came to be forked is left out.
    assert taken["worker 0"].stack.rstrip().endswith(" in run_worker")
    assert "multiprocess" not in taken["monitor"].stack
    assert "in hang_in_c" in taken["worker 1"].stack
    assert "in idle" in taken["worker 2"].stack
    assert "in watch" in taken["monitor"].stack
    assert "in _supervise" in taken["supervisor"].stack
    assert not pool.records("WorkerDied")


def sleep_once(child: Child) -> None:
    began = time.monotonic()
    say("ready", shard=child.shard)
    time.sleep(2.0)
    say("slept", seconds=time.monotonic() - began)
    idle(child)


def test_they_go_on_as_if_nothing_had_happened(start_pool: Any) -> None:
    """A call that a worker is in is neither cut short nor fails; a second question is answered as well."""
    pool = start_pool(sleep_once).wait_ready(1)

    pool.send(signal.SIGUSR1)
    pool.wait_for("StackTaken", 2)
    pool.send_to_group(signal.SIGUSR1)
    pool.wait_for("StackTaken", 4)

    assert pool.wait_for("slept")[0].seconds >= 2.0
    assert "in sleep_once" in pool.records("StackTaken")[1].stack
    assert not pool.records("WorkerDied")
    assert pool.stop().killed == 0


def test_a_suspended_child_does_not_answer(start_pool: Any) -> None:
    """It is said that there is no answer, and the others are reported meanwhile."""
    pool = start_pool(idle, workers=2).wait_ready(2)
    os.kill(pool.worker(0).pid, signal.SIGSTOP)

    pool.send(signal.SIGUSR1)

    taken = pool.wait_for("StackTaken", 3)
    assert [each.role for each in taken] == ["supervisor", "worker 1", "worker 0"]
    assert taken[2].stack == ""
    os.kill(pool.worker(0).pid, signal.SIGCONT)
    assert pool.stop().killed == 0


def test_a_child_that_has_only_just_begun_is_not_killed_by_the_question(start_pool: Any) -> None:
    """The signal is held back in a forked child until it is able to answer."""
    pool = start_pool(die_often, backoff={"first": 0.0, "maximum": 0.0}, give_up_after=10_000)
    pool.wait_for("WorkerDied", 5)

    for _ in range(50):
        pool.send(signal.SIGUSR1)
        time.sleep(0.01)

    pool.send(signal.SIGTERM)
    pool.wait()
    assert {each.cause for each in pool.records("WorkerDied")} == {"exit status 3"}


def die_often(child: Child) -> None:
    child.slot.idle()
    os._exit(3)


def test_the_question_is_answered_while_workers_are_replaced(start_pool: Any) -> None:
    """A worker that waits for its turn is no worker yet; the one that it is to replace answers."""
    pool = start_pool(idle, supervise_prepared).wait_ready(1)
    pool.raise_flag("hold")
    pool.send(signal.SIGHUP)
    pool.wait_for("preparing")

    pool.send(signal.SIGUSR1)

    taken = pool.wait_for("StackTaken", 2)[1]
    assert (taken.pid, "in idle" in taken.stack) == (pool.records("ready")[0].pid, True)
    pool.raise_flag("go on")
    pool.wait_for("Renewed", complete=True)
    assert pool.stop().killed == 0
