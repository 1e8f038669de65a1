"""SIGTTIN and SIGTTOU: a worker more, a worker less."""

import os
import signal
import time
from typing import Any

from pool import Child, MonitorChild
from tests.pool.program import flag, idle, say, wait_for_flag, watch


def say_size(child: Child) -> None:
    """Say how many shards there are each time that the number changes."""
    say("ready", shard=child.shard, former=child.former)
    size = 0
    while not child.stop.wait(0.01):
        child.slot.idle()
        if len(child.slots) != size:
            size = len(child.slots)
            say("size", shard=child.shard, size=size)
    say("leaving", shard=child.shard, hands_over=child.stop.hands_over)


def test_a_worker_more_and_a_worker_less(start_pool: Any) -> None:
    """SIGTTIN adds the next shard, SIGTTOU ends the highest; all processes see the number, and nobody has died."""
    pool = start_pool(say_size, workers=2).wait_ready(2)
    pool.wait_for("size", 2, size=2)

    pool.send(signal.SIGTTIN)
    pool.wait_for("ready", shard=2)
    pool.wait_for("size", 3, size=3)
    pool.send(signal.SIGTTOU)
    (left,) = pool.wait_for("WorkerLeft")
    pool.wait_for("size", shard=0, count=2, size=2)
    pool.send(signal.SIGTTOU)
    pool.wait_for("WorkerLeft", shard=1)
    pool.wait_for("size", shard=0, size=1)

    assert left.shard == 2
    assert [(each.former, each.workers, each.reason) for each in pool.records("Resized")] == [
        (2, 3, "SIGTTIN"),
        (3, 2, "SIGTTOU"),
        (2, 1, "SIGTTOU"),
    ]
    assert [each.hands_over for each in pool.records("leaving")] == [True, True]
    assert not pool.records("WorkerDied")
    assert pool.stop().killed == 0
    assert not pool.left()


def test_a_pool_stays_within_its_limits(start_pool: Any) -> None:
    """Neither the last worker leaves, nor does one come beyond the limit; each refusal is reported."""
    pool = start_pool(idle, workers=1, most_workers=2).wait_ready(1)

    pool.send(signal.SIGTTOU)
    pool.wait_for("ResizeRefused", limit="fewest", workers=1)
    pool.send(signal.SIGTTIN)
    pool.wait_ready(2)
    pool.send(signal.SIGTTIN)
    pool.wait_for("ResizeRefused", limit="most", workers=2)

    assert len(pool.records("WorkerStarted")) == 2
    assert pool.stop().killed == 0


def busy_in_shard_one(child: Child) -> None:
    if child.shard == 0 or child.former is not None:
        say_size(child)
        return
    say("ready", shard=child.shard, former=None)
    child.slot.begin(7, 8)
    say("busy")
    while not child.stop.requested:
        time.sleep(0.005)
    say("asked")
    wait_for_flag("finish")
    child.slot.succeeded()
    say("finished")


def test_who_leaves_finishes_first_and_counts_until_then(start_pool: Any) -> None:
    """A worker that leaves finishes what it has in hand; as long as it does the pool has its shard."""
    pool = start_pool(busy_in_shard_one, workers=2).wait_ready(2)
    pool.wait_for("busy")

    pool.send(signal.SIGTTOU)
    pool.wait_for("asked")
    time.sleep(0.2)
    assert not pool.records("size", size=1)
    pool.raise_flag("finish")

    pool.wait_for("WorkerLeft", shard=1)
    pool.wait_for("size", size=1)
    assert pool.records("finished")
    assert pool.stop().killed == 0


def test_who_does_not_leave_in_time_is_killed(start_pool: Any) -> None:
    """A worker that is not done within the shutdown timeout is killed and not replaced."""
    pool = start_pool(busy_in_shard_one, workers=2, shutdown_timeout=0.4).wait_ready(2)
    pool.wait_for("busy")

    pool.send(signal.SIGTTOU)

    (died,) = pool.wait_for("WorkerDied")
    assert "not done within " in died.cause
    assert (died.shard, died.item, died.replaced_in) == (1, [7, 8], None)
    pool.wait_for("size", size=1)
    assert len(pool.records("WorkerStarted")) == 2
    assert pool.stop().killed == 0


def test_a_shard_that_is_wanted_again_gets_a_worker_when_the_old_one_is_gone(start_pool: Any) -> None:
    """SIGTTIN while the highest worker still leaves: its shard stays, and its next worker begins after it."""
    pool = start_pool(busy_in_shard_one, workers=2).wait_ready(2)
    pool.wait_for("busy")
    pool.send(signal.SIGTTOU)
    pool.wait_for("asked")

    pool.send(signal.SIGTTIN)
    pool.wait_for("Resized", 2)
    pool.raise_flag("finish")

    new = pool.wait_for("ready", 2, shard=1)[1]
    assert new.at > pool.records("finished")[0].at
    assert not pool.records("size", size=1)
    assert pool.stop().killed == 0


def test_a_shard_that_died_waits_no_longer_when_it_is_not_wanted(start_pool: Any) -> None:
    """A worker that is to be replaced later is not, if its shard is gone by then, and is when it comes back."""
    pool = start_pool(die_in_shard_one, workers=2, backoff={"first": 60.0, "maximum": 60.0, "jitter": 0.0})
    pool.wait_for("WorkerDied", 2, shard=1)

    pool.send(signal.SIGTTOU)
    pool.wait_for("size", size=1)
    pool.send(signal.SIGTTIN)

    pool.wait_for("WorkerDied", 3, shard=1)
    pool.stop()


def die_in_shard_one(child: Child) -> None:
    if child.shard == 1:
        os._exit(3)
    say_size(child)


def test_resizing_during_a_replacement(start_pool: Any) -> None:
    """Shards that come and go while all workers are replaced disturb neither."""
    pool = start_pool(say_size, monitor=watch, workers=3).wait_ready(3)

    pool.send(signal.SIGHUP)
    for _ in range(3):
        pool.send(signal.SIGTTOU)
        pool.send(signal.SIGTTOU)
        time.sleep(0.02)
        pool.send(signal.SIGTTIN)
        time.sleep(0.02)

    pool.wait_for("Renewed", complete=True)
    pool.wait_for("size", size=pool.records("Resized")[-1].workers)
    assert not pool.records("WorkerDied")
    assert pool.stop().killed == 0
    assert not pool.left()


def watch_and_wish(child: MonitorChild) -> None:
    """Wish for as many workers as the flags say."""
    say("watching")
    wished = set()
    while not child.stop.wait(0.01):
        child.slot.idle()
        for number in (1, 3, 9):
            if number not in wished and flag(f"wish {number}").exists():
                wished.add(number)
                child.wish_for_workers(number)


def test_the_monitor_may_wish_for_workers(start_pool: Any) -> None:
    """The pool follows what its monitor wishes, at once and as far as it may, and a later monitor may wish again."""
    pool = start_pool(say_size, monitor=watch_and_wish, workers=2, fewest_workers=2, most_workers=4).wait_ready(2)
    pool.wait_for("watching")

    pool.raise_flag("wish 3")
    pool.wait_for("Resized", workers=3, reason="the monitor asks for it")
    pool.raise_flag("wish 9")
    pool.wait_for("Resized", workers=4)
    pool.raise_flag("wish 1")
    pool.wait_for("Resized", workers=2)
    pool.wait_for("WorkerLeft", 2)
    assert not pool.records("ResizeRefused")
    pool.monitor().kill()

    # The next one says all of them again, in this order; the first may be refused, or not be seen at all.
    pool.wait_for("Resized", 2, workers=4)
    assert pool.stop().killed == 0
