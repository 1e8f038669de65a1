"""Where entries come from: own pending ones, claimed ones, new ones."""

import json
import re
from typing import Any

import pytest
import redis
from openedx_events.data import EventsMetadata

from tests.support.events import SIGNAL, add_logins, login_fields
from tests.support.waiting import wait_until


def lost(log: str) -> int:
    """Return how many events a log counts as lost."""
    return sum(int(count) for count in re.findall(r"Lost (\d+) events?\b", log))


def take(client: redis.Redis, stream_name: str, consumer: str, count: int) -> list[bytes]:
    """Make entries pending for a consumer that then never acknowledges them."""
    ((_, entries),) = client.xreadgroup("group", consumer, {stream_name: ">"}, count=count)
    return [entry_id for entry_id, _ in entries]


@pytest.mark.parametrize(("workers", "name"), [(None, "c1"), (1, "c1.0")])
def test_own_pending_entries_come_first(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None, name: str
) -> None:
    """What was pending under its name when it was stopped is handled first, in order, then what is new."""
    ids = add_logins(client, stream_name, 10)
    client.xgroup_create(stream_name, "group", id="0")
    take(client, stream_name, name, 6)

    consumer = consume(workers=workers, check_backlog=True)

    assert [each.event_id for each in consumer.wait_handled(10)] == ids
    assert consumer.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_entries_of_a_gone_consumer_are_claimed_while_running(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """Entries that become old enough only after the start are claimed too."""
    client.xgroup_create(stream_name, "group", mkstream=True)
    consumer = consume(claim_msgs_older_than=1500, check_backlog=True).wait_running()
    consumer.wait_handled(len(add_logins(client, stream_name, 1)))
    ids = give_away(client, stream_name, 5)

    handled = consumer.wait_handled(6)

    assert {each.event_id for each in handled} >= set(ids)
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert consumer.log.count("Running consumer") == 1


def give_away(client: redis.Redis, stream_name: str, count: int) -> list[str]:
    """Append entries and give them to another consumer in one step, before the one under test can read them."""
    script = """
    for index, fields in ipairs(cjson.decode(ARGV[1])) do
      redis.call('XADD', KEYS[1], '*', unpack(fields))
    end
    redis.call('XREADGROUP', 'GROUP', 'group', 'gone', 'STREAMS', KEYS[1], '>')
    """
    metadata = [EventsMetadata(event_type=SIGNAL.event_type) for _ in range(count)]
    entries = [[field.decode("latin-1") for field in login_fields(0, "ok", each)] for each in metadata]
    client.eval(script, 1, stream_name, json.dumps(entries))
    return [str(each.id) for each in metadata]


def test_pending_entries_without_data_are_acknowledged_and_counted(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """Own pending entries that were trimmed away are no wall: they are acknowledged, counted, and the rest goes on."""
    ids = add_logins(client, stream_name, 10)
    client.xgroup_create(stream_name, "group", id="0")
    taken = take(client, stream_name, "c1", 5)
    client.xdel(stream_name, taken[0], taken[2])

    consumer = consume(check_backlog=True)

    handled = consumer.wait_handled(8)
    assert [each.event_id for each in handled] == [ids[1], *ids[3:]]
    assert lost(consumer.log) == 2
    assert consumer.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_claimed_entries_without_data_are_counted(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Entries of a gone consumer that were trimmed away leave the pending entries list and are counted."""
    add_logins(client, stream_name, 5)
    client.xgroup_create(stream_name, "group", id="0")
    taken = take(client, stream_name, "gone", 5)
    client.xdel(stream_name, *taken[:3])

    consumer = consume(check_backlog=True, claim_msgs_older_than=1)

    consumer.wait_handled(2)
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert lost(consumer.log) == 3


def test_a_slow_handler_leaves_the_rest_to_its_siblings(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A worker with a slow handler reads one entry at a time, so that every worker has something to do."""
    pool = consume(workers=4).wait_running(4)
    add_logins(client, stream_name, 8, "sleep:0.3")

    pool.wait_handled(8)

    assert len({each.pid for each in pool.handled()}) == 4


@pytest.mark.parametrize("workers", [None, 3])
def test_a_group_that_is_gone_is_made_anew(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """After the group was destroyed it is made anew where it was: nothing is lost, nothing repeated."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    ids = add_logins(client, stream_name, 20)
    consumer.wait_handled(20)
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")

    pipeline = client.pipeline()
    pipeline.xgroup_destroy(stream_name, "group")
    pipeline.execute()
    ids += add_logins(client, stream_name, 20)

    handled = consumer.wait_handled(40)
    assert sorted(each.event_id for each in handled) == sorted(ids)
    assert consumer.log.count("was gone; made anew") == 1


@pytest.mark.parametrize("workers", [None, 3])
def test_a_deleted_stream_is_begun_anew(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """After the stream was deleted the next one is read from its beginning, even if its ids are smaller."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    consumer.wait_handled(len(add_logins(client, stream_name, 5)))
    pipeline = client.pipeline()
    pipeline.delete(stream_name)
    for number in range(3):
        pipeline.execute_command("XADD", stream_name, f"5-{number}", *login_fields(number))
    pipeline.execute()

    consumer.wait_handled(8)

    assert consumer.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0
