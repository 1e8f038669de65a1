"""Workers that die and are replaced."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from pool import EXIT_TOO_MANY_ERRORS, Child
from tests.pool.program import argument, flag, idle, record, say, wait_for_flag


def die_once(child: Child) -> None:
    """Die in the way that the test asks for; a replacement stays."""
    if flag("died").exists():
        idle(child)
        return
    flag("died").touch()
    how = argument("how")
    if how == "raises":
        raise ValueError("this worker is broken")
    if how == "returns":
        return
    if isinstance(how, int):
        os._exit(how)
    os.kill(os.getpid(), getattr(signal, how))


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("SIGKILL", "SIGKILL"),
        ("SIGSEGV", "SIGSEGV"),
        ("SIGRTMIN", "SIGRTMIN"),
        (7, "exit status 7"),
        (EXIT_TOO_MANY_ERRORS, "too many consecutive errors"),
        ("raises", "exit status 1"),
        ("returns", "exit status 0"),
    ],
)
def test_a_death_is_reported_and_answered(start_pool: Any, how: str | int, cause: str) -> None:
    """However a worker ends without being asked, the cause is reported and the shard has a new worker at once."""
    pool = start_pool(die_once, arguments={"how": how}).wait_ready(1)

    died = pool.records("WorkerDied")[0]
    first, second = pool.wait_for("WorkerStarted", 2)
    assert (died.shard, died.pid, died.cause, died.replaced_in) == (0, first.pid, cause, 0.0)
    assert (second.shard, second.replaces) == (0, first.pid)
    assert pool.records("ready")[0].pid == pool.worker(0).pid


def test_a_replacement_has_the_shard_of_the_dead(start_pool: Any) -> None:
    """The worker of a dead one's shard is replaced under it, and no other worker is touched."""
    pool = start_pool(workers=3).wait_ready(3)
    before = [pool.worker(shard).pid for shard in range(3)]

    pool.worker(1).kill()
    pool.wait_ready(4)

    after = [pool.worker(shard).pid for shard in range(3)]
    assert (after[0], after[2]) == (before[0], before[2])
    assert pool.records("ready")[-1].shard == 1
    started = pool.wait_for("WorkerStarted", 4)
    assert len(started) == 4
    assert (started[-1].shard, started[-1].replaces) == (1, before[1])


def test_workers_that_die_together_are_all_replaced(start_pool: Any) -> None:
    """Deaths that come as one signal to the supervisor are each seen."""
    pool = start_pool(workers=4).wait_ready(4)
    dead = {shard: pool.worker(shard) for shard in range(4)}

    pool.freeze()
    for worker in dead.values():
        worker.kill()
    pool.supervisor.resume()
    pool.wait_ready(8)

    assert {each.shard: each.replaces for each in pool.records("WorkerStarted")[4:]} == {
        shard: worker.pid for shard, worker in dead.items()
    }


def leave_at_once(child: Child) -> None:
    os._exit(9)


def test_no_death_is_missed(start_pool: Any) -> None:
    """Many deaths at the same time as burials and forks are each seen once, with their own cause."""
    at_once = {"first": 0.0, "maximum": 0.0}
    pool = start_pool(leave_at_once, workers=8, backoff=at_once, give_up_after=1_000, give_up_after_each=25)
    assert pool.outcome() == "GAVE_UP"

    started = [each.pid for each in pool.records("WorkerStarted")]
    died = pool.records("WorkerDied")
    assert len(died) >= 8 * 25
    assert {each.cause for each in died} == {"exit status 9"}
    assert len({(each.shard, each.pid) for each in died}) == len(died)
    assert {each.pid for each in died} <= set(started)


def take_items(child: Child) -> None:
    """Handle two items and fail one, then hang with the fourth in hand; of a replacement too."""
    slot = child.slot
    say("ready", counts=[slot.handled_count, slot.failed_count, slot.held_count, slot.consecutive_errors])
    slot.held(9)
    for number in (1, 2):
        slot.begin(child.shard, number)
        slot.succeeded()
    slot.begin(child.shard, 3)
    slot.failed()
    slot.errors(1)
    slot.held(5)
    slot.begin(child.shard, 4)
    say("in hand")
    wait_for_flag("never")


def test_a_death_is_reported_with_the_item_in_hand(start_pool: Any) -> None:
    """The slot tells after a death what the worker had in hand and for how long."""
    pool = start_pool(take_items, workers=2)
    pool.wait_for("in hand", 2)

    pool.worker(1).kill()

    died = pool.wait_for("WorkerDied")[0]
    assert died.item == [1, 4]
    assert 0 < died.seconds_in_hand < 60


def die_or_tell(child: Child) -> None:
    """The first dies of an item, the second does nothing, the third settles one, the fourth does nothing."""
    former = child.former
    say("former", item=None if former is None or former.item is None else former.item.low)
    match len(flags := sorted(flag("x").parent.glob("died-*"))):
        case 0:
            child.slot.begin(0, 7)
        case 2:
            child.slot.begin(0, 8)
            child.slot.succeeded()
    flag(f"died-{len(flags)}").touch()
    if len(flags) < 4:
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for_flag("never")


def test_a_death_is_told_until_something_was_done(start_pool: Any) -> None:
    """A replacement that dies before it has done anything leaves what its predecessor died of to the next one."""
    pool = start_pool(die_or_tell, workers=1)

    assert [each.item for each in pool.wait_for("former", 5)] == [None, 7, 7, None, None]


def test_a_death_with_nothing_in_hand_blames_nothing(start_pool: Any) -> None:
    """A worker that dies between two items is reported without one."""
    pool = start_pool(workers=1).wait_ready(1)

    pool.worker(0).kill()

    died = pool.wait_for("WorkerDied")[0]
    assert (died.item, died.seconds_in_hand) == (None, 0.0)


def test_counts_go_on_over_replacements(start_pool: Any) -> None:
    """What a shard has handled and failed is counted on by the replacement, which holds nothing and has no errors."""
    pool = start_pool(take_items)
    for number in range(1, 4):
        pool.wait_for("in hand", number)
        pool.worker(0).kill()
        pool.wait_for("WorkerStarted", number + 1)
    ready = pool.wait_for("ready", 4)

    assert [each.counts for each in ready] == [[0, 0, 0, 0], [2, 1, 0, 0], [4, 2, 0, 0], [6, 3, 0, 0]]


def start_a_process(child: Child) -> None:
    """Start a process that outlives the worker and keeps everything open that it can inherit."""
    keep_open = [int(name) for name in os.listdir("/dev/fd") if int(name) > 2 and is_open(int(name))]  # noqa: PTH208
    if argument("forked"):
        if os.fork() == 0:
            signal.pause()
    else:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], pass_fds=keep_open)
    idle(child)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("forked", [True, False])
def test_a_process_that_a_worker_has_started_does_not_hide_its_death(start_pool: Any, forked: bool) -> None:
    """A dead worker is replaced, and a pool stops, though a grandchild holds every descriptor of the worker."""
    pool = start_pool(start_a_process, arguments={"forked": forked}, shutdown_timeout=0.5).wait_ready(1)

    pool.worker(0).kill()
    pool.wait_ready(2)

    pool.worker(0).suspend()
    assert pool.stop().killed == 1


def close_everything(child: Child) -> None:
    """Close every descriptor, as a library that makes daemons does, and go on."""
    os.closerange(3, 1024)
    record.cache_clear()
    say("ready", shard=child.shard)
    time.sleep(0.5)
    say("rested")
    wait_for_flag("never")


def test_a_worker_that_closes_its_descriptors_is_not_taken_for_dead(start_pool: Any) -> None:
    """A worker without any open file keeps its shard, and the supervisor does not spin."""
    pool = start_pool(close_everything).wait_ready(1)
    before = pool.supervisor.cpu_times()

    pool.wait_for("rested")

    after = pool.supervisor.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.2
    assert not pool.records("WorkerDied")
