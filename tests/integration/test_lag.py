"""What a scaler of pods may read of a backlog: the lag that a pool tells, and the one that Redis does."""

from typing import Any

import pytest
import redis

from tests.support.events import add_logins
from tests.support.http import answered, free_port, metrics
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]


@pytest.fixture
def port(consume: Any, client: redis.Redis, stream_name: str) -> int:
    """The port of a pool whose only worker has an event in hand, with 20 more unread."""
    port = free_port()
    consume(workers=1, monitor_port=port).wait_running(1)
    add_logins(client, stream_name, 1, "sleep:60")
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 1, what="an event in hand")
    add_logins(client, stream_name, 20)
    wait_until(lambda: answered(port, "/metrics"), what="the pool answers")
    wait_for_lag(port, 20)
    return port


def wait_for_lag(port: int, lag: int) -> None:
    wait_until(lambda: metrics(port).get("group_lag") == {"": lag}, what=f"a lag of {lag}")


def lag_of_redis(client: redis.Redis, stream_name: str) -> int | None:
    (group,) = client.xinfo_groups(stream_name)
    lag: int | None = group["lag"]
    return lag


def test_a_trim_leaves_what_is_there(client: redis.Redis, stream_name: str, port: int) -> None:
    """After a trim of unread entries both tell what is left, Redis because the pool has put its number right."""
    client.xtrim(stream_name, maxlen=15, approximate=False)

    wait_for_lag(port, 15)
    wait_until(lambda: lag_of_redis(client, stream_name) == 15, what="the number is put right")


def test_redis_knows_no_lag_after_a_deletion(client: redis.Redis, stream_name: str, port: int) -> None:
    """After a deletion of an unread entry the pool tells what is left, and Redis nothing."""
    ((entry_id, _),) = client.xrevrange(stream_name, count=1)
    client.xdel(stream_name, entry_id)

    wait_for_lag(port, 19)
    assert lag_of_redis(client, stream_name) is None
    assert client.xpending(stream_name, "group")["pending"] == 1
