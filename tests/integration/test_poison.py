"""Events that kill their worker or hang: started so many times, then dead letters; others are never blamed."""

from typing import Any

import pytest
import redis

from tests.support.dead_letters import dead_letters
from tests.support.events import add_logins
from tests.support.waiting import wait_until


def buried(client: redis.Redis, stream_name: str, count: int = 1) -> Any:
    def enough() -> Any:
        found = dead_letters(client, stream_name)
        return found if len(found) >= count else None

    return wait_until(enough, timeout=60, what=f"{count} dead letters")


@pytest.mark.parametrize(
    ("order", "worker_exit"),
    [("kill", "SIGKILL"), ("exit:3", "exit status 3"), ("segfault", "SIGSEGV")],
)
def test_an_event_that_kills_is_started_so_many_times(
    consume: Any, client: redis.Redis, stream_name: str, order: str, worker_exit: str
) -> None:
    """It is started max_deliveries times, then a dead letter that says how its workers ended."""
    pool = consume(workers=2, max_deliveries=3).wait_running(2)
    before = add_logins(client, stream_name, 100)
    (poison,) = add_logins(client, stream_name, 1, order)
    after = add_logins(client, stream_name, 100)

    (letter,) = buried(client, stream_name)

    pool.wait_handled(200)
    assert letter["id"] == poison
    assert letter["dead_worker_exit"] == worker_exit
    assert letter["dead_deliveries"] == "3"
    assert worker_exit in letter["dead_cause"]
    assert len([each for each in pool.begun() if each.event_id == poison]) == 3
    assert {each.event_id for each in pool.handled()} == {*before, *after}
    assert pool.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0
    assert client.hgetall(f"{{{stream_name}}}:starts:group") == {}


@pytest.mark.parametrize("most", [1, 2])
def test_max_deliveries_is_exact(consume: Any, client: redis.Redis, stream_name: str, most: int) -> None:
    """max_deliveries = 1 means one start."""
    pool = consume(workers=1, max_deliveries=most).wait_running(1)
    add_logins(client, stream_name, 1, "kill")

    buried(client, stream_name)

    assert len(pool.begun()) == most


@pytest.mark.parametrize("order", ["hang", "swallow", "hang_in_c"])
def test_a_hanging_event_is_ended_with_its_stack(
    consume: Any, client: redis.Redis, stream_name: str, order: str
) -> None:
    """Beyond handler_timeout the worker is killed, whatever it hangs in; the dead letter has time and Python stack."""
    pool = consume(workers=1, max_deliveries=2, handler_timeout=0.5).wait_running(1)
    (poison,) = add_logins(client, stream_name, 1, order)

    (letter,) = buried(client, stream_name)

    pool.wait_handled(len(add_logins(client, stream_name, 3)))
    assert letter["id"] == poison
    assert letter["dead_cause"].startswith("timed out after 0.")
    assert f"in _{order}" in letter["dead_traceback"]
    assert len([each for each in pool.begun() if each.event_id == poison]) == 2


def test_a_hanging_event_ends_a_consumer_without_workers(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Without workers nobody else can end it: the process leaves with status 1 and its stack, start after start."""
    arguments = {"max_deliveries": 2, "handler_timeout": 0.5, "check_backlog": True}
    add_logins(client, stream_name, 1, "hang_in_c")
    for _ in range(2):
        consumer = consume(**arguments)
        assert consumer.wait() == 1
        assert "in _hang_in_c" in consumer.log

    consumer = consume(**arguments)

    buried(client, stream_name)
    consumer.wait_handled(len(add_logins(client, stream_name, 1)))
    assert len(consumer.begun()) == 3


def test_a_slow_event_within_its_time_is_not_ended(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """handler_timeout is for one event: many that follow each other may take longer together."""
    pool = consume(workers=1, handler_timeout=1.5).wait_running(1)

    pool.wait_handled(len(add_logins(client, stream_name, 8, "sleep:0.3")))

    assert "died" not in pool.log


@pytest.mark.parametrize("most", [2, 3])
def test_an_event_that_kills_the_whole_pool_is_started_so_many_times(
    consume: Any, client: redis.Redis, stream_name: str, most: int
) -> None:
    """When the pool dies as a whole, start after start, the event in hand still gets exactly so many starts."""
    arguments = {"workers": 2, "max_deliveries": most, "check_backlog": True}
    pool = consume(**arguments).wait_running(2)
    others = add_logins(client, stream_name, 30)
    (poison,) = add_logins(client, stream_name, 1, "kill_pool")
    others += add_logins(client, stream_name, 30)
    for _ in range(most):
        assert pool.wait(60) != 0
        pool = consume(**arguments)

    (letter,) = buried(client, stream_name)

    pool.wait_handled(60)
    assert letter["id"] == poison
    assert len([each for each in pool.begun() if each.event_id == poison]) == most
    assert {each.event_id for each in pool.handled()} == set(others)
    assert pool.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_entries_that_were_read_ahead_are_not_blamed(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Events behind a poison one are pending again and again, and none of them becomes a dead letter."""
    pool = consume(workers=1, max_deliveries=4, check_backlog=True).wait_running(1)
    add_logins(client, stream_name, 50)
    pool.wait_handled(50)
    poisons = add_logins(client, stream_name, 2, "kill")
    innocent = add_logins(client, stream_name, 50)

    letters = buried(client, stream_name, 2)

    pool.wait_handled(100)
    assert {letter["id"] for letter in letters} == set(poisons)
    assert {each.event_id for each in pool.handled()} >= set(innocent)
    assert len(dead_letters(client, stream_name)) == 2
