"""A pool under load whose workers are killed again and again."""

import array
import os
import random
import sys
from pathlib import Path
from typing import Any

import psutil

from pool import Child
from tests.pool.program import argument, say
from tests.support.waiting import wait_until

WORKERS = 3


def count(child: Child) -> None:
    """Handle the numbers from 0: write each down, then say that it was handled."""
    slot, directory = child.slot, Path(argument("directory"))
    descriptor = os.open(directory / f"handled-{child.shard}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    say("ready", shard=child.shard)
    while not child.stop.requested:
        number = slot.handled_count
        slot.begin(child.shard, number)
        # Numbers of one width never cross a page of the file, at which SIGKILL can cut a write in two.
        os.write(descriptor, number.to_bytes(8, sys.byteorder))
        slot.succeeded()
    say("counted", shard=child.shard, handled=slot.handled_count, total=child.slots.handled())


def test_no_item_is_lost_however_often_workers_are_killed(start_pool: Any, tmp_path: Path) -> None:
    """Under SIGKILL in a loop every item is handled, and repeated only if its worker died with it in hand."""
    kills = int(os.environ.get("POOL_TEST_KILLS", "60"))
    pool = start_pool(count, workers=WORKERS, arguments={"directory": str(tmp_path)}, give_up_after_each=3)
    pool.wait_ready(WORKERS)
    victims = []
    for number in range(kills):
        victim = pool.worker(random.randrange(WORKERS))
        victim.kill()
        victims.append(victim.pid)
        pool.wait_for("WorkerStarted", WORKERS + number + 1)
    stopped = pool.stop()

    died = pool.records("WorkerDied")
    assert [each.pid for each in died] == victims
    assert {each.cause for each in died} == {"SIGKILL"}
    assert (stopped.left, stopped.killed) == (0, 0)
    counted = {each.shard: each.handled for each in pool.records("counted")}
    for shard in range(WORKERS):
        written = array.array("Q", (tmp_path / f"handled-{shard}").read_bytes())
        deaths = [each for each in died if each.shard == shard]
        # The item that the last one killed had in hand is still to be handled if its replacement was stopped at once.
        assert set(written) - {counted[shard]} == set(range(counted[shard]))
        assert len(written) - counted[shard] <= len(deaths)
        assert all(each.item is None or each.item[0] == shard for each in deaths)
    # Each shard's last number is its own count, that of all together the pool's.
    assert max(each.total for each in pool.records("counted")) == sum(counted.values())
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in victims), what="no zombie")
