"""What somebody else has put into a group's own keys keeps no event from being handled."""

from typing import Any

import pytest
import redis

from edx_event_bus_redis.internal.names import group_key, pool_key
from tests.support.dead_letters import dead_letters
from tests.support.events import add_logins, login_fields
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_version

DELIVERED_AGAIN = {"again_origin": "1-1", "again_failures": "0", "again_history": ""}

STRANGE_ENTRIES = {
    "packed fields that are no JSON": {"dead_packed": "{", **DELIVERED_AGAIN},
    "packed fields that are no list": {"dead_packed": '{"a": 1}', **DELIVERED_AGAIN},
    "packed fields that are no bytes": {"dead_packed": '["\u20ac", ""]', **DELIVERED_AGAIN},
    "packed fields nested deeply": {"dead_packed": "[" * 100_000, **DELIVERED_AGAIN},
    "a huge number": {"a": "b", **DELIVERED_AGAIN, "again_failures": "9" * 5000},
    "an origin of more than 64 bits": {"a": "b", **DELIVERED_AGAIN, "again_origin": "5-99999999999999999999999"},
    "an origin that is none": {"a": "b", **DELIVERED_AGAIN, "again_origin": "x"},
    "a history that is none": {"a": "b", **DELIVERED_AGAIN, "again_history": "[5]"},
}


@pytest.mark.parametrize("entry", STRANGE_ENTRIES.values(), ids=STRANGE_ENTRIES.keys())
def test_among_what_is_delivered_again(
    consume: Any, client: redis.Redis, stream_name: str, entry: dict[str, str]
) -> None:
    """A strange entry becomes a dead letter; no process dies of it."""
    client.xadd(group_key(stream_name, "again", "group"), entry)
    consumer = consume(workers=1).wait_running(1)

    wait_until(lambda: dead_letters(client, stream_name), what="a dead letter")

    consumer.wait_handled(len(add_logins(client, stream_name, 1)))
    assert "died" not in consumer.log


def test_among_the_starts_of_suspects(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A count of starts that is no number counts as none."""
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    add_logins(client, stream_name, 3)
    ((_, entries),) = client.xreadgroup("group", "c1.0", {stream_name: ">"})
    client.hset(group_key(stream_name, "starts", "group"), f"0/{entries[0][0].decode()}", "abc")

    consume(workers=1, check_backlog=True).wait_handled(3)

    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")


@pytest.mark.parametrize("when", ["abc", "9" * 5000])
def test_among_those_who_left(consume: Any, client: redis.Redis, stream_name: str, when: str) -> None:
    """A time at which a consumer left that is none counts as none: others go on, and the start finds it alive."""
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    client.execute_command("XADD", stream_name, "*", *login_fields())
    client.xreadgroup("group", "other", {stream_name: ">"})
    client.hset(group_key(stream_name, "left", "group"), "other", when)

    consumer = consume(workers=1).wait_running(1)

    consumer.wait_handled(len(add_logins(client, stream_name, 5)))


def test_among_the_pools(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Names that are no text, and a lease that nobody of ours wrote, are no obstacle."""
    client.hset(
        group_key(stream_name, "pools", "group"), mapping={b"\xff": b"alive", b"\xfe": b"gone", b"old": b"alive"}
    )
    lease = {"token": "t", "host": b"\xff", "pid": "9" * 5000, "pid_space": b"\xff", "started": b"\xff"}
    client.hset(pool_key(stream_name, "group", "old"), mapping=lease)
    client.hset(pool_key(stream_name, "group", "c1"), mapping=lease)

    consumer = consume(workers=1).wait_running(1)

    consumer.wait_handled(len(add_logins(client, stream_name, 5)))
    assert "belongs to another pool" in consumer.log
    assert "died" not in consumer.log
