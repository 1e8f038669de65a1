"""Replacements that achieve nothing: how long they wait and when the pool gives up."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from pool import EXIT_TOO_MANY_ERRORS, Child, Outcome
from tests.pool.program import argument, flag, idle, say, supervise, wait_for_flag
from tests.support.waiting import wait_until

# For tests in which the pool is not to give up for this reason.
NEVER = 1_000_000


def crash(child: Child) -> None:
    """Crash in the shards that the test names, be idle in the others."""
    if child.shard in argument("crashing"):
        os._exit(argument("status") or 9)
    idle(child)


def test_replacements_that_achieve_nothing_wait_longer_and_longer(start_pool: Any) -> None:
    """The first replacement is made at once, each further one waits as the backoff says, and that long."""
    pool = start_pool(
        crash,
        arguments={"crashing": [0]},
        backoff={"first": 0.02, "maximum": 0.1, "jitter": 0.0},
        give_up_after_each=7,
    )
    assert pool.outcome() == "GAVE_UP"

    died, started = pool.records("WorkerDied"), pool.records("WorkerStarted")
    assert [each.replaced_in for each in died] == [0.0, 0.02, 0.04, 0.08, 0.1, 0.1, None]
    for death, replacement in zip(died, started[1:], strict=False):
        assert replacement.at - death.at >= death.replaced_in


def test_delays_are_jittered(start_pool: Any) -> None:
    """The configured jitter is taken off the delays of a pool."""
    pool = start_pool(
        crash,
        arguments={"crashing": [0]},
        backoff={"first": 0.02, "maximum": 0.02, "jitter": 0.5},
        give_up_after_each=8,
    )
    assert pool.outcome() == "GAVE_UP"

    delays = [each.replaced_in for each in pool.records("WorkerDied")[1:-1]]
    assert all(0.01 <= delay <= 0.02 for delay in delays)
    assert len(set(delays)) > 1


def handle_one_and_crash(child: Child) -> None:
    if child.slot.handled_count >= 20:
        idle(child)
        return
    child.slot.begin(0, 1)
    child.slot.succeeded()
    os._exit(9)


def test_progress_begins_a_new_row(start_pool: Any) -> None:
    """A shard that handles something between its deaths is replaced at once, and the pool never gives up."""
    pool = start_pool(handle_one_and_crash, give_up_after=2, give_up_after_each=2).wait_ready(1)

    assert [each.replaced_in for each in pool.records("WorkerDied")] == [0.0] * 20
    pool.stop()


def test_one_crashing_shard_makes_the_pool_give_up(start_pool: Any) -> None:
    """When one shard was replaced in vain often enough and no other achieved anything, all workers are stopped."""
    pool = start_pool(crash, workers=3, arguments={"crashing": [1]}, give_up_after=6, give_up_after_each=NEVER)
    assert pool.outcome() == "GAVE_UP"

    died = pool.records("WorkerDied")
    assert [each.shard for each in died] == [1] * 6
    assert died[-1].replaced_in is None
    gave_up = pool.records("GaveUp")[0]
    assert (gave_up.replacements, gave_up.last) == (5, "exit status 9")
    assert {each.shard for each in pool.records("leaving")} == {0, 2}
    assert pool.records("Stopped")[0].killed == 0


def test_the_pool_gives_up_sooner_when_every_shard_crashes(start_pool: Any) -> None:
    """A fault that takes all shards is no single bad item: fewer replacements each are enough."""
    pool = start_pool(crash, workers=3, arguments={"crashing": [0, 1, 2]}, give_up_after=NEVER, give_up_after_each=3)
    assert pool.outcome() == "GAVE_UP"

    shards = [each.shard for each in pool.records("WorkerDied")]
    assert min(shards.count(shard) for shard in range(3)) == 3


def crash_or_work(child: Child) -> None:
    """Crash in shard 0, each time not before the other worker has handled something; that one may be slow to start."""
    if child.shard == 0:
        before = child.slots.handled()
        while child.slots.handled() == before:
            time.sleep(0.001)
        os._exit(9)
    while not child.stop.requested:
        child.slot.begin(0, 1)
        child.slot.succeeded()
        child.stop.wait(0.001)


def test_a_pool_with_progress_does_not_give_up(start_pool: Any) -> None:
    """However often one shard crashes, the pool goes on while another worker handles anything."""
    pool = start_pool(crash_or_work, workers=2, backoff={"maximum": 0.02}, give_up_after=2, give_up_after_each=2)
    died = pool.wait_for("WorkerDied", 15)

    # It waits nevertheless: the crashing shard itself achieves nothing.
    assert all(each.replaced_in > 0 for each in died[1:])
    assert not pool.records("GaveUp")
    pool.stop()


def test_the_pool_gives_up_when_all_workers_keep_reaching_their_error_limit(start_pool: Any) -> None:
    """When every shard's worker, and its replacement, left because of too many errors, the pool gives up."""
    pool = start_pool(crash, workers=3, arguments={"crashing": [0, 1, 2], "status": EXIT_TOO_MANY_ERRORS})
    assert pool.outcome() == "GAVE_UP"

    shards = [each.shard for each in pool.records("WorkerDied")]
    assert min(shards.count(shard) for shard in range(3)) == 2
    assert pool.records("GaveUp")[0].last == "too many consecutive errors"


def test_one_worker_at_its_error_limit_is_replaced(start_pool: Any) -> None:
    """Error limits of one shard alone are counted like other deaths in vain."""
    arguments = {"crashing": [0], "status": EXIT_TOO_MANY_ERRORS}
    pool = start_pool(crash, workers=2, arguments=arguments, give_up_after=6)
    assert pool.outcome() == "GAVE_UP"

    assert [each.shard for each in pool.records("WorkerDied")] == [0] * 6


def die_in_turns(child: Child) -> None:
    """Reach the error limit, crash, reach it again …"""
    name = f"crash {child.shard}"
    if flag(name).exists():
        flag(name).unlink()
        os._exit(9)
    flag(name).touch()
    raise SystemExit(EXIT_TOO_MANY_ERRORS)


def test_only_error_limits_in_a_row_count_together(start_pool: Any) -> None:
    """A death for another reason in between begins the row of error limits anew."""
    pool = start_pool(die_in_turns, workers=2, give_up_after=NEVER, give_up_after_each=6)
    assert pool.outcome() == "GAVE_UP"

    shards = [each.shard for each in pool.records("WorkerDied")]
    assert min(shards.count(shard) for shard in range(2)) == 6


def idle_for_a_while_and_leave(child: Child) -> None:
    time.sleep(0.1)
    os._exit(argument("status"))


def test_a_worker_that_lived_long_enough_begins_a_new_row(start_pool: Any) -> None:
    """Deaths after a long idle life are no row: each is answered at once and none makes the pool give up."""
    settings = {"stable_after": 0.05, "give_up_after": 2, "give_up_after_each": 2}
    pool = start_pool(idle_for_a_while_and_leave, arguments={"status": 9}, **settings)
    died = pool.wait_for("WorkerDied", 5)

    assert [each.replaced_in for each in died] == [0.0] * len(died)
    pool.stop()


def test_errors_that_come_slowly_are_a_row_nevertheless(start_pool: Any) -> None:
    """A worker that left because of too many errors has not started well, however long it lived."""
    pool = start_pool(idle_for_a_while_and_leave, arguments={"status": EXIT_TOO_MANY_ERRORS}, stable_after=0.05)

    assert pool.outcome() == "GAVE_UP"


def supervise_with_forks_that_fail(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Let every child die before it can write to its slot, once the test says so."""
    os.register_at_fork(after_in_child=lambda: flag("fork in vain").exists() and os._exit(9))
    return supervise(work, settings)


def test_a_long_life_is_not_inherited(start_pool: Any) -> None:
    """Replacements that die before they touch their slot are not credited with the age of the worker before them."""
    pool = start_pool(idle, supervise_with_forks_that_fail, stable_after=0.5, give_up_after_each=4).wait_ready(1)
    wait_until(lambda: time.monotonic() - pool.records("ready")[0].at > 0.5)
    pool.raise_flag("fork in vain")

    pool.worker(0).kill()

    assert pool.outcome() == "GAVE_UP"
    assert [each.replaced_in == 0.0 for each in pool.records("WorkerDied")] == [True, False, False, False]


def crash_or_be_busy(child: Child) -> None:
    if child.shard == 0:
        os._exit(9)
    say("busy")
    wait_for_flag("finish")
    say("finished")


def test_a_signal_after_giving_up_does_not_cut_the_stop_short(start_pool: Any) -> None:
    """The first SIGTERM finds the pool stopping already: the workers may still finish what they have in hand."""
    pool = start_pool(crash_or_be_busy, workers=2)
    pool.wait_for("busy")
    pool.wait_for("Stopping")
    supervisor = pool.supervisor
    before = supervisor.num_ctx_switches().voluntary

    pool.send(signal.SIGTERM)
    wait_until(lambda: supervisor.num_ctx_switches().voluntary > before)
    pool.raise_flag("finish")

    assert pool.outcome() == "GAVE_UP"
    assert pool.records("finished")
    assert pool.records("Stopped")[0].killed == 0
