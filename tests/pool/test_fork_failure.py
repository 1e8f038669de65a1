"""An operating system that has no process to give."""

import os
import resource
from collections.abc import Callable
from typing import Any

import psutil

from pool import Child, Event, ForkFailed, Outcome, Supervisor, WorkerStarted
from tests.pool.program import argument, config, idle, monitor, say, say_event, watch

# No process of any user has this id, and the limit of processes binds it, unlike root.
NOBODY = 61_234


def supervise_with_no_process_to_have(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Forbid every fork as soon as so many workers have started, and permit them again after so many refusals."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    started = refused = 0

    def tell(event: Event) -> None:
        nonlocal started, refused
        say_event(event)
        if isinstance(event, WorkerStarted):
            started += 1
        if isinstance(event, ForkFailed):
            refused += 1
            say("refused", open_files=psutil.Process().num_fds(), error=type(event.error).__name__)
        if started == argument("started") and refused == 0:
            resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
        if refused == argument("refused"):
            resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))

    if argument("started") == 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    return Supervisor(config(settings), work, monitor(), on_event=tell).run()


def test_a_refused_fork_is_tried_again(start_pool: Any) -> None:
    """A pool that starts while no process is to be had reports that, waits longer and longer, and starts later."""
    pool = start_pool(
        idle,
        supervise_with_no_process_to_have,
        arguments={"started": 0, "refused": 5},
        backoff={"first": 0.02, "maximum": 0.1, "jitter": 0.0},
    ).wait_ready(1)

    failed = pool.records("ForkFailed")
    assert [each.retry_in for each in failed] == [0.02, 0.04, 0.08, 0.1, 0.1]
    assert {each.error for each in pool.records("refused")} == {"BlockingIOError"}
    assert pool.records("WorkerStarted")[0].replaces is None
    # A refusal is no death: the first one is answered at once.
    pool.worker(0).kill()
    assert pool.wait_for("WorkerDied")[0].replaced_in == 0.0


def test_a_refused_replacement_is_tried_again(start_pool: Any) -> None:
    """A dead worker whose replacement is refused is replaced as soon as there are processes, the others go on."""
    pool = start_pool(
        idle, supervise_with_no_process_to_have, workers=2, arguments={"started": 2, "refused": 3}
    ).wait_ready(2)
    dead = pool.worker(0)

    dead.kill()
    pool.wait_ready(3)

    assert len(pool.records("ForkFailed", shard=0)) == 3
    last = pool.records("WorkerStarted")[-1]
    assert (last.shard, last.replaces) == (0, dead.pid)
    assert len(pool.records("WorkerDied")) == 1
    assert pool.stop().killed == 0


def test_refused_forks_leave_nothing_open(start_pool: Any) -> None:
    """However often a fork is refused, the supervisor does not run out of descriptors."""
    pool = start_pool(
        idle, supervise_with_no_process_to_have, workers=2, arguments={"started": 0, "refused": 20}
    ).wait_ready(2)

    assert len({each.open_files for each in pool.records("refused")}) == 1
    assert pool.stop().killed == 0


def test_a_refused_monitor_is_tried_again(start_pool: Any) -> None:
    """A monitor for which no process is to be had is reported without a shard, and comes later, as do the workers."""
    pool = start_pool(
        idle, supervise_with_no_process_to_have, monitor=watch, arguments={"started": 0, "refused": 5}
    ).wait_ready(1)
    pool.wait_for("watching")
    # The monitor may be there before its supervisor has said so.
    (started,) = pool.wait_for("MonitorStarted")

    shards = [each.shard for each in pool.records("ForkFailed")]
    assert set(shards) == {None, 0}
    assert shards[0] is None
    assert started.replaces is None
    assert not pool.records("MonitorDied")
    assert pool.stop().killed == 0
