"""Workers that have handled enough, or have too much memory, are replaced while they live, or killed."""

import itertools
import signal
import time
from typing import Any

import psutil
import pytest

from pool import Child, Death
from pool.memory import MemoryWatch
from tests.pool.program import argument, flag, idle, say, wait_for_flag
from tests.pool.test_replacing import supervise_prepared

MEBIBYTE = 1024 * 1024


def filled(mebibytes: int) -> bytearray:
    return bytearray(b"x" * 1024) * (1024 * mebibytes)


def handle(child: Child) -> None:
    """Handle items, every other one in vain, until a stop is requested; say how many it were."""
    say("ready", shard=child.shard)
    done = 0
    while not child.stop.requested:
        child.slot.begin(1, done)
        time.sleep(0.001)
        if done % 2:
            child.slot.failed()
        else:
            child.slot.succeeded()
        done += 1
    say("done", shard=child.shard, count=done, hands_over=child.stop.hands_over)


def test_a_worker_that_has_handled_enough_is_replaced(start_pool: Any) -> None:
    """After about as many items as it may handle a worker gives way to a new one, one shard after the other."""
    pool = start_pool(handle, supervise_prepared, workers=2, max_items_per_worker=50)

    done = pool.wait_for("done", 6, hands_over=True)

    assert all(each.count >= 40 for each in done)
    reasons = [each.reason for each in pool.records("WorkerStarted") if each.replaces is not None]
    assert all(reason.startswith("limit of items reached, ") for reason in reasons)
    assert {each.shard for each in done} == {0, 1}
    assert not pool.records("WorkerDied")
    # Each was prepared after the one before it had begun.
    begun = [each.at for each in pool.records("WorkerStarted")][2:]
    prepared = [each.at for each in pool.records("preparing")]
    assert all(begins < at for begins, at in zip(begun, prepared[1:], strict=False))
    assert pool.stop().killed == 0


def test_workers_that_share_the_load_do_not_leave_together(start_pool: Any) -> None:
    """The limit of each worker is another one."""
    pool = start_pool(handle_and_count, workers=4, max_items_per_worker=10_000)

    limits = {each.count for each in pool.wait_for("worn", 4)}

    # Two of four draw the same number once in some hundred times; their replacements may be among them.
    assert len(limits) >= 3
    assert all(8000 <= limit <= 10_000 for limit in limits)
    pool.stop()


def handle_and_count(child: Child) -> None:
    for count in itertools.count(1):
        child.slot.begin(1, count)
        child.slot.succeeded()
        if child.slot._left == 0:  # type: ignore[attr-defined]
            say("worn", count=count)
            break
    while not child.stop.wait(0.05):
        child.slot.idle()


def test_a_worn_worker_may_finish_however_long_it_takes(start_pool: Any) -> None:
    """What is only routine kills nobody: the shutdown timeout is for those that are waited for."""
    pool = start_pool(take_long_when_worn, max_items_per_worker=1, shutdown_timeout=0.2)
    pool.wait_for("asked")

    time.sleep(0.6)
    assert not pool.records("WorkerDied")
    pool.raise_flag("finish")

    pool.wait_for("finished")
    assert pool.wait_for("WorkerStarted", 2)[1].reason == "limit of items reached, 1"
    assert not pool.records("WorkerDied")
    pool.stop()


def take_long_when_worn(child: Child) -> None:
    if child.former is not None:
        idle(child)
        return
    child.slot.begin(1, 1)
    child.slot.succeeded()
    child.slot.begin(1, 2)
    while not child.stop.requested:
        time.sleep(0.005)
    say("asked")
    wait_for_flag("finish")
    child.slot.succeeded()
    say("finished")


def test_whoever_waits_for_a_worn_worker_does_not_wait_for_ever(start_pool: Any) -> None:
    """SIGHUP while a worn worker takes its time: from then on it has the shutdown timeout."""
    pool = start_pool(take_long_when_worn, max_items_per_worker=1, shutdown_timeout=0.4)
    pool.wait_for("asked")

    pool.send(signal.SIGHUP)

    (died,) = pool.wait_for("WorkerDied")
    assert "not done within " in died.cause
    assert died.item == [1, 2]
    pool.wait_for("Renewed")
    pool.stop()


def test_a_worn_worker_stays_until_a_new_one_is_ready(start_pool: Any) -> None:
    """Where no new worker can begin the old one goes on, and is tried again later."""
    pool = start_pool(handle, supervise_prepared, max_items_per_worker=20)
    pool.raise_flag("fail")

    pool.wait_for("SuccessorFailed", 3)
    assert not pool.records("done")
    assert not pool.records("WorkerDied")
    flag_path = pool.directory / "fail"
    flag_path.unlink()

    pool.wait_for("done", hands_over=True)
    assert pool.stop().killed == 0


def grow(child: Child) -> None:
    """Take memory with each item, and keep it."""
    say("ready", shard=child.shard)
    kept = []
    while not child.stop.requested:
        child.slot.begin(1, len(kept))
        if len(kept) < argument("steps"):
            kept.append(filled(20))
        time.sleep(0.02)
        child.slot.succeeded()
    say("done", shard=child.shard, count=len(kept))


def test_a_worker_that_grows_is_replaced(start_pool: Any) -> None:
    """A worker above its cap gives way, with the amount as the reason; it is not killed."""
    pool = start_pool(
        grow, arguments={"steps": 6}, max_memory_per_worker=100 * MEBIBYTE, memory_patience=0.1
    )  # fmt: skip

    started = pool.wait_for("WorkerStarted", 2)[1]

    used, words = started.reason.split(" MiB of memory, ")
    assert 90 <= int(used) < 200
    assert words == "may have about 100 MiB"
    assert not pool.records("WorkerDied")
    assert pool.stop().killed == 0


def test_memory_that_was_there_from_the_beginning_is_borne_for_a_while(start_pool: Any) -> None:
    """A cap below what a worker needs does not have workers replaced without a pause."""
    pool = start_pool(grow, arguments={"steps": 6}, max_memory_per_worker=100 * MEBIBYTE, memory_patience=60.0)
    pool.wait_for("ready")

    time.sleep(1.0)

    assert len(pool.records("WorkerStarted")) == 1
    pool.stop()


def hog(child: Child) -> None:
    """Take ever more memory for one item; the replacement says what it knows of that."""
    if child.former is not None:
        say("told", former=described(child.former))
        idle(child)
        return
    child.slot.begin(7, 8)
    taken = []
    while not flag("never").exists():
        taken.append(filled(20))
        time.sleep(0.05)


def described(death: Death) -> dict[str, Any]:
    return {"cause": death.cause, "item": death.item, "stack": death.stack}


def test_a_worker_far_above_its_cap_is_killed(start_pool: Any) -> None:
    """Twice the cap in the middle of an item ends the worker; its replacement knows the item, the amount, the stack."""
    pool = start_pool(hog, max_memory_per_worker=60 * MEBIBYTE)

    (told,) = pool.wait_for("told")

    assert told.former["item"] == [7, 8]
    assert " MiB of memory, more than twice the 60 MiB it may have" in told.former["cause"]
    assert "in hog" in told.former["stack"]
    assert pool.stop().killed == 0


def share_what_the_parent_has(child: Child) -> None:
    say("ready", shard=child.shard)
    idle(child)


def supervise_large(work: Any, settings: dict[str, Any]) -> Any:
    kept = filled(150)
    try:
        return supervise_prepared(work, settings)
    finally:
        assert kept


def test_memory_that_is_shared_does_not_count(start_pool: Any) -> None:
    """What a worker has from its parent, and has not written to, belongs to nobody."""
    pool = start_pool(
        share_what_the_parent_has, supervise_large, workers=2, max_memory_per_worker=60 * MEBIBYTE, memory_patience=0.1
    ).wait_ready(2)
    resident = psutil.Process(pool.worker(0).pid).memory_info().rss
    assert resident > 150 * MEBIBYTE

    time.sleep(1.0)

    assert len(pool.records("WorkerStarted")) == 2
    assert pool.stop().killed == 0


def test_a_process_that_is_gone_has_no_memory() -> None:
    """A worker that died a moment ago is no error of the measurement."""
    process = psutil.Popen(["true"])
    watch = MemoryWatch(process.pid, 1, patience=0.0)
    process.wait()
    time.sleep(max(0.0, watch.next_look - time.monotonic()))

    watch.look()

    assert watch.used == 0
    assert not watch.is_worn


@pytest.mark.parametrize(("factor", "worn", "excessive"), [(2.0, False, False), (0.7, True, False), (0.3, True, True)])
def test_a_process_is_measured_by_what_is_its_own(factor: float, worn: bool, excessive: bool) -> None:
    """Against its unique set size a cap is kept, exceeded, or far exceeded."""
    process = psutil.Process()
    watch = MemoryWatch(process.pid, int(process.memory_full_info().uss * factor), patience=0.0)
    time.sleep(max(0.0, watch.next_look - time.monotonic()))

    watch.look()

    assert (watch.is_worn, watch.is_excessive) == (worn, excessive)
