"""Whether the holder of a lease is dead."""

import os
import subprocess
import sys
from subprocess import PIPE

import pytest

from edx_event_bus_redis.internal.holder import Holder, is_surely_dead, this_process


def test_this_process_lives() -> None:
    """A process does not take itself for dead."""
    assert this_process().pid == os.getpid()
    assert not is_surely_dead(this_process())


def test_a_process_that_has_ended_is_dead() -> None:
    """A process of this machine that has ended is known to be dead, also before its parent has buried it."""
    code = (
        "from edx_event_bus_redis.internal.holder import this_process; print(repr(tuple(this_process())), flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", f"{code}; input()"], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        described = process.stdout.readline()
        holder = Holder(*eval(described))  # noqa: S307 -- it is ours
        assert not is_surely_dead(holder)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_surely_dead(holder)
    assert is_surely_dead(holder)


def test_a_later_process_of_the_same_id_is_another() -> None:
    """A process id that is used again does not keep its former owner alive."""
    assert is_surely_dead(this_process()._replace(started="1"))


def test_nobody_knows_of_other_machines_and_containers() -> None:
    """Where process ids mean something else, a holder is alive until its lease ends."""
    assert not is_surely_dead(this_process()._replace(pid_space="another", started="1"))
    assert not is_surely_dead(this_process()._replace(pid_space="", started="1"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide processes")
def test_a_process_that_is_hidden_is_not_dead() -> None:
    """Where /proc does not show the processes of other users (hidepid), they are not taken for dead."""
    code = (
        "import os; from edx_event_bus_redis.internal.holder import *; this_process();"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        f"print(is_surely_dead(this_process()._replace(pid={os.getpid()}, started='1')))"
    )
    hidden = 'mount -t proc -o hidepid=2 proc /proc || exit 77; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", hidden, "sh", sys.executable, "-c", code]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode == 77 or "unshare" in found.stderr:
        pytest.skip("no file system may be mounted here")
    assert found.stdout == "False\n", found.stderr
