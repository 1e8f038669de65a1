"""The group's cursor: moved once per start, never over what a live consumer is going to read."""

from typing import Any

import psutil
import pytest
import redis

from tests.support.events import add_logins
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]


def cursor(client: redis.Redis, stream_name: str) -> bytes:
    (group,) = client.xinfo_groups(stream_name)
    return bytes(group["last-delivered-id"])


def test_a_new_group_begins_at_the_end(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Without check_backlog only new events are handled, and the log counts those that were skipped."""
    add_logins(client, stream_name, 7)
    consumer = consume().wait_running()
    assert "skipped 7 events that it had not read" in consumer.log

    ids = add_logins(client, stream_name, 3)

    assert [each.event_id for each in consumer.wait_handled(3)] == ids


def test_check_backlog_begins_where_the_group_was(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """With check_backlog nothing is skipped: a new group reads the whole stream."""
    ids = add_logins(client, stream_name, 5)

    consumer = consume(check_backlog=True, workers=2)

    assert {each.event_id for each in consumer.wait_handled(5)} == set(ids)
    assert "skipped" not in consumer.log


def test_a_restart_of_the_only_consumer_moves_to_the_end(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A start under the same name, with nobody else in the group, skips what it did not read, and says so."""
    assert consume().wait_running().stop() == 0
    add_logins(client, stream_name, 4)

    consumer = consume().wait_running()

    assert "skipped 4 events that it had not read" in consumer.log
    assert cursor(client, stream_name) == client.xinfo_stream(stream_name)["last-generated-id"]


def test_last_read_msg_id_replays(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """last_read_msg_id moves the cursor there, also with workers, and each event behind it is handled once more."""
    ids = add_logins(client, stream_name, 6)
    after = client.xrange(stream_name)[1][0].decode()
    assert consume().wait_running().stop() == 0

    consumer = consume(workers=2, last_read_msg_id=after)

    handled = consumer.wait_handled(4)
    assert sorted(each.event_id for each in handled) == sorted(ids[2:])


def test_a_second_pool_does_not_skip_what_the_first_has_not_read(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """A pool that joins a group with live consumers leaves the cursor where it is: no event is lost."""
    first = consume(workers=1).wait_running()
    ids = add_logins(client, stream_name, 60, "sleep:0.2")
    first.wait_handled(3)

    second = consume(workers=2, consumer_name="c2").wait_running(2)

    assert {each.event_id for each in second.wait_handled(60)} == set(ids)
    assert "has live consumers (c1.0): its cursor stays" in second.log
    assert len({each.pid for each in second.handled()}) == 3
    assert first.stop() == second.stop() == 0


def test_a_pool_of_the_same_name_does_not_skip_what_the_first_has_not_read(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """A pod that is started before the one it replaces is stopped, as in a rolling update, throws nothing away."""
    first = consume(workers=1).wait_running()
    ids = add_logins(client, stream_name, 40, "sleep:0.05")
    first.wait_handled(3)

    second = consume(workers=1).wait_running()
    assert first.stop() == 0

    assert {each.event_id for each in second.wait_handled(40)} == set(ids)
    assert "skipped" not in second.log


def test_a_second_pool_does_not_skip_while_the_first_is_idle(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """An idle consumer in a long poll is alive: the cursor stays."""
    consume(workers=1).wait_running()
    wait_until(lambda: client.xinfo_consumers(stream_name, "group"), what="the first pool has joined the group")

    second = consume(workers=1, consumer_name="c2").wait_running()

    assert "skipped" not in second.log


def test_a_replaced_worker_skips_nothing(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """While a pool of one is between two workers, events arrive: its replacement reads them all."""
    pool = consume(workers=1, check_backlog=False).wait_running()
    everything = []
    for round_number in range(1, 5):
        victim = pool.worker_pids()[0]
        psutil.Process(victim).kill()
        everything += add_logins(client, stream_name, 10)
        wait_until(lambda victim=victim: pool.worker_pids()[0] != victim, what=f"replacement {round_number}")
        pool.wait_handled(len(everything))

    assert {each.event_id for each in pool.handled()} == set(everything)
    assert pool.log.count("skipped") == 0
    assert pool.stop() == 0
