"""A pool that starts and runs: its workers, its idleness, what it borrows from its caller."""

import gc
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pool import Child, Outcome, SignalInbox, Stop, Supervisor, blocked, supervisor
from tests.pool.program import config, flag, idle, say, say_event, supervise, wait_for_flag
from tests.support.waiting import wait_until


def test_each_shard_has_a_worker(start_pool: Any) -> None:
    """N workers are started, one a shard, each a living child of the supervisor with its shard's number."""
    pool = start_pool(workers=3).wait_ready(3)

    started = pool.records("WorkerStarted")
    assert [each.shard for each in started] == [0, 1, 2]
    assert [each.replaces for each in started] == [None] * 3
    said = {each.shard: each.pid for each in pool.records("ready")}
    assert said == {shard: pool.worker(shard).pid for shard in range(3)}
    assert {child.pid for child in pool.supervisor.children()} == set(said.values())


def rest_for_a_second(child: Child) -> None:
    say("ready", shard=child.shard)
    wait_for_flag("rest")
    say("resting")
    child.stop.wait(1.0)
    say("rested")
    child.stop.wait(3600)


def test_an_idle_supervisor_sleeps(start_pool: Any) -> None:
    """While nothing happens the supervisor does not run: it polls nothing."""
    pool = start_pool(rest_for_a_second, workers=2).wait_ready(2)
    supervisor = pool.supervisor
    wait_until(lambda: supervisor.status() == psutil.STATUS_SLEEPING)
    before = supervisor.num_ctx_switches().voluntary

    pool.raise_flag("rest")
    pool.wait_for("rested", 2)

    assert supervisor.num_ctx_switches().voluntary - before <= 1
    assert pool.stop().killed == 0


def supervise_and_look_before_forks(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    supervisor = Supervisor(
        config(settings),
        work,
        on_event=say_event,
        before_fork=lambda: say("fork", children=len(psutil.Process().children())),
    )
    return supervisor.run()


def test_the_caller_is_asked_before_each_fork(start_pool: Any) -> None:
    """What must not be shared can be closed in the parent before the first fork and before each replacement's."""
    pool = start_pool(idle, supervise_and_look_before_forks, workers=2).wait_ready(2)
    assert [each.children for each in pool.records("fork")] == [0, 1]

    pool.worker(0).kill()
    pool.wait_ready(3)

    forks = pool.records("fork")
    assert [each.children for each in forks] == [0, 1, 1]
    assert {each.pid for each in forks} == {pool.process.pid}


SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- looked at, not written to


def named_shared_memory() -> set[str]:
    """What Python's and multiprocess's shared memory and semaphores are called; other programs have theirs there."""
    return {path.name for path in SHARED_MEMORY.iterdir() if path.name.startswith(("psm_", "sem.", "pym-"))}


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="shared memory has names elsewhere")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_shared_memory_is_left(start_pool: Any, end: signal.Signals) -> None:
    """The slots have no name that could outlive the pool, however it ends; nor is there any semaphore."""
    before = named_shared_memory()
    pool = start_pool(workers=2).wait_ready(2)
    for process in (pool.supervisor, pool.worker(0)):
        assert not [mapped.path for mapped in process.memory_maps() if mapped.path.startswith(str(SHARED_MEMORY))]

    pool.send(end)
    pool.wait()

    wait_until(lambda: not pool.left())
    wait_until(lambda: named_shared_memory() <= before)


STOPPING = [signal.SIGTERM, signal.SIGINT]
MANAGED = [*STOPPING, signal.SIGCHLD]


def look_at_process() -> dict[str, Any]:
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return {
        "handlers": [str(signal.getsignal(number)) for number in MANAGED],
        "mask": sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "wakeup descriptor": descriptor,
        "open files": psutil.Process().num_fds(),
        "threads": threading.active_count(),
        "frozen objects": gc.get_freeze_count(),
    }


def supervise_as_guest(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Run a pool in a process that has handlers and a mask of its own."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in MANAGED:
        signal.signal(number, lambda *_: None)
    with blocked((signal.SIGINT, signal.SIGUSR1)):
        before = look_at_process()
        outcome = supervise(work, settings)
        after = look_at_process()
    say("compared", before=before, after=after)
    os.close(reader)
    return outcome


def give_up(child: Child) -> None:
    raise SystemExit(1)


@pytest.mark.parametrize("work", [idle, give_up])
def test_what_the_pool_borrows_is_put_back(start_pool: Any, work: Callable[[Child], None]) -> None:
    """After run() the caller has its signal handlers, mask, wakeup descriptor, open files and threads as before."""
    pool = start_pool(work, supervise_as_guest, workers=2)
    if work is idle:
        pool.wait_ready(2).send(signal.SIGTERM)
    pool.outcome()

    compared = pool.records("compared")[0]
    assert compared.after == compared.before
    assert compared.before["mask"] == [signal.SIGINT, signal.SIGUSR1]


def supervise_after_setting_up(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Set up under a stop of its own, then supervise, with no moment in between at which a signal is lost."""
    with SignalInbox(STOPPING) as inbox:
        stop = Stop(inbox, 20.0)
        say("set up")
        wait_for_flag("hold back")
        with blocked(STOPPING):
            say("held back", requested=stop.requested)
            wait_for_flag("start")
            return supervise(work, settings)


def test_a_signal_that_was_held_back_stops_the_pool(start_pool: Any) -> None:
    """A caller that answers signals itself until it hands over to the pool loses none."""
    pool = start_pool(idle, supervise_after_setting_up)
    pool.wait_for("set up")
    pool.raise_flag("hold back")
    assert not pool.wait_for("held back")[0].requested

    pool.send(signal.SIGTERM)
    pool.raise_flag("start")

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopping")[0].reason == "SIGTERM"
    assert pool.records("Stopped")[0].killed == 0


def fail_in_the_parent(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    def refuse(event: object) -> None:
        say_event(event)  # type: ignore[arg-type]
        if flag("refuse").exists():
            raise ValueError("refused")

    try:
        return Supervisor(config(settings), work, on_event=refuse).run()
    except ValueError as error:
        say("failed", error=error, left=len(psutil.Process().children()))
        return Outcome.STOPPED


def test_an_exception_of_the_caller_leaves_no_child(start_pool: Any) -> None:
    """When a callable of the caller raises, the exception leaves run() and every worker is dead and buried."""
    pool = start_pool(idle, fail_in_the_parent, workers=3).wait_ready(3)
    pool.raise_flag("refuse")

    pool.worker(1).kill()
    pool.outcome()

    failed = pool.records("failed")[0]
    assert (failed.error, failed.left) == ("refused", 0)


def supervise_and_say_wakes(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    supervisor.SUPERVISOR_SECONDS = 0.05
    return Supervisor(config(settings), work, on_event=say_event, on_wake=lambda: say("woke")).run()


def test_the_caller_is_told_of_time_that_passes(start_pool: Any) -> None:
    """Also while nothing happens the supervisor wakes now and then, and its caller can do what is due."""
    pool = start_pool(idle, supervise_and_say_wakes).wait_ready(1)
    before = len(pool.records("woke"))

    woke = pool.wait_for("woke", before + 3)

    assert {each.pid for each in woke} == {pool.process.pid}
    pool.stop()
