"""The ends of families: workers whose supervisor is killed, and orphans that a supervisor inherits."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pool import Child, MonitorChild, Outcome
from tests.pool.program import idle, say, supervise, wait_for_flag
from tests.support.waiting import wait_until

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")

# From <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36


def be_deaf(child: Child) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    say("ready", shard=child.shard)
    wait_for_flag("never")


@LINUX_ONLY
@pytest.mark.parametrize("work", [idle, be_deaf])
@pytest.mark.parametrize("suspended", [False, True])
def test_workers_die_with_a_killed_supervisor(start_pool: Any, work: Callable[[Child], None], suspended: bool) -> None:
    """When the supervisor is killed no worker goes on, whatever it was doing and however frozen it is."""
    pool = start_pool(work, workers=3).wait_ready(3)
    if suspended:
        for shard in range(3):
            pool.worker(shard).suspend()

    pool.send(signal.SIGKILL)
    pool.wait()

    wait_until(lambda: not pool.left(), what="no orphan")


def watch_deafly(child: MonitorChild) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    say("watching")
    wait_for_flag("never")


@LINUX_ONLY
@pytest.mark.parametrize("suspended", [False, True])
def test_the_monitor_dies_with_a_killed_supervisor(start_pool: Any, suspended: bool) -> None:
    """When the supervisor is killed its monitor does not go on either."""
    pool = start_pool(monitor=watch_deafly, monitor_timeout=3600.0).wait_ready(1)
    pool.wait_for("watching")
    if suspended:
        pool.monitor().suspend()

    pool.send(signal.SIGKILL)
    pool.wait()

    wait_until(lambda: not pool.left(), what="no orphan")


def supervise_children_that_wait_for_its_end(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Let every child wait between its fork and its first own step until the supervisor is gone."""
    supervisor = os.getpid()

    def wait_for_its_end() -> None:
        say("forked")
        while os.getppid() == supervisor:
            time.sleep(0.005)

    os.register_at_fork(after_in_child=wait_for_its_end)
    return supervise(work, settings)


def test_a_worker_whose_supervisor_was_killed_while_it_forked_does_not_begin(start_pool: Any) -> None:
    """A child that finds its parent gone before it can be tied to it leaves without doing any work."""
    pool = start_pool(idle, supervise_children_that_wait_for_its_end)
    pool.wait_for("forked")

    pool.send(signal.SIGKILL)
    pool.wait()

    wait_until(lambda: not pool.left(), what="no orphan")
    assert not pool.records("ready")


def leave_an_orphan(child: Child) -> None:
    """Start a process by way of a shell that is gone at once, and look at what becomes of it after its death."""
    script = "python=$1; $python -c 'import signal; signal.pause()' > /dev/null & echo $!"
    shell = subprocess.run(["sh", "-c", script, "sh", sys.executable], stdout=subprocess.PIPE, check=True)
    orphan = int(shell.stdout)
    say("orphan", orphan=orphan, parent=psutil.Process(orphan).ppid())
    wait_for_flag("kill")
    os.kill(orphan, signal.SIGKILL)
    while psutil.pid_exists(orphan):
        time.sleep(0.005)
    say("reaped")
    idle(child)


def supervise_as_subreaper(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Inherit orphans as process 1 does."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    return supervise(work, settings)


def as_process_1() -> list[str]:
    """Return the command that runs another as process 1 of a namespace; skip the test where that is not permitted."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"a PID namespace is not permitted here: {tried.stderr.strip()}")
    return command


@LINUX_ONLY
def test_a_supervisor_buries_the_orphans_that_it_inherits(start_pool: Any) -> None:
    """The end of an unknown process leaves no zombie, is no worker's death and does not disturb the pool."""
    pool = start_pool(leave_an_orphan, supervise_as_subreaper)
    orphan = pool.wait_for("orphan")[0]
    assert orphan.parent == pool.process.pid

    pool.raise_flag("kill")
    pool.wait_for("reaped")

    pool.wait_ready(1)
    assert pool.supervisor.children() == [pool.worker(0)]
    assert not pool.records("WorkerDied")
    assert pool.stop().killed == 0


@LINUX_ONLY
def test_a_supervisor_can_be_process_1(start_pool: Any) -> None:
    """As process 1 of a container a supervisor buries orphans, replaces workers, and stops on SIGTERM."""
    pool = start_pool(leave_an_orphan, prefix=as_process_1())
    assert pool.wait_for("orphan")[0].parent == 1
    assert pool.records("WorkerStarted")[0].pid > 1
    pool.raise_flag("kill")
    pool.wait_for("reaped")
    pool.wait_ready(1)

    # Seen from here the processes have other numbers.
    (supervisor,) = psutil.Process(pool.process.pid).children()
    (worker,) = supervisor.children()
    worker.kill()
    pool.wait_ready(2)
    assert [child.status() == psutil.STATUS_ZOMBIE for child in supervisor.children()] == [False]
    supervisor.terminate()

    assert pool.outcome() == "STOPPED"
    assert pool.records("Stopped")[0].killed == 0
    assert not pool.left()


@LINUX_ONLY
def test_nothing_outlives_a_killed_process_1(start_pool: Any) -> None:
    """When process 1 is killed with its container its workers are gone."""
    pool = start_pool(idle, prefix=as_process_1(), workers=2).wait_ready(2)
    (supervisor,) = psutil.Process(pool.process.pid).children()

    supervisor.kill()

    wait_until(lambda: not pool.left())


def inherit_the_dead(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Have a dead child already when the pool starts, as a shell leaves it to the program it is replaced by."""
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    return supervise(work, settings)


@LINUX_ONLY
def test_the_dead_that_were_there_before_are_buried(start_pool: Any) -> None:
    """A child that died before the pool started is no zombie any more when its workers run."""
    pool = start_pool(idle, inherit_the_dead).wait_ready(1)

    wait_until(lambda: pool.supervisor.children() == [pool.worker(0)])
