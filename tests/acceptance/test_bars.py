"""What the pool has to reach under load and one kind of fault; no time is asserted."""

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.bars import killed_server, killed_workers
from tests.support.events import add_logins
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_workers_killed_all_the_time_cost_a_repeat_each_at_the_most(tmp_path: Path) -> None:
    """4 workers, 5 ms events, a worker killed every 0.2 to 0.6 s: all handled, repeats <= kills, nothing pending."""
    assert killed_workers(tmp_path, 3_000, seed=1).wrong == []


def test_a_server_killed_three_times_costs_nothing(tmp_path: Path) -> None:
    """With an append-only file all events are handled, and nothing is pending."""
    assert killed_server(tmp_path, 1_000).wrong == []


def test_what_fails_twice_is_handled_at_the_third_call_and_delays_nobody(
    consume: Any, client: redis.Redis, prefix: str
) -> None:
    """With max_retries = 3 events that were sent after one that fails twice are all handled before it."""
    stream = f"{prefix}-user-login"
    pool = consume(workers=2, max_retries=3).wait_running(2)
    (failing,) = add_logins(client, stream, 1, "fail:2")
    others = add_logins(client, stream, 100, "sleep:0.005")

    order = [each.event_id for each in pool.wait_handled(101)]

    wait_until(lambda: client.xpending(stream, "group")["pending"] == 0, what="nothing pending")
    assert order[-1] == failing
    assert sorted(order) == sorted([failing, *others])
    assert len([each for each in pool.begun() if each.event_id == failing]) == 3
    assert pool.stop() == 0
