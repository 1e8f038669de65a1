"""What a pool tells of itself and its workers, once a second, with the lease of its name."""

import contextlib
import json
from typing import Any

import psutil
import pytest
import redis

from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.settings import StatusSettings
from edx_event_bus_redis.internal.status import PoolStatus
from edx_event_bus_redis.internal.survey import Survey
from tests.support.consuming import ConsumerProcess
from tests.support.events import TOPIC, add_logins
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_version


def pool_status(url: str, prefix: str) -> PoolStatus:
    settings = StatusSettings(Server.of(url), TOPIC, prefix, 10_000, keep_unacked=False)
    with contextlib.closing(Clients(settings.server, timeout=5, connect_timeout=5, any_names=True)) as clients:
        (stream,) = Survey(clients, settings, losses_seconds=60).look().streams
    (pool,) = stream.groups[0].pools
    return pool


def test_a_heartbeat_names_the_options_in_force(consume: Any, client: redis.Redis, url: str, prefix: str) -> None:
    """Every --extra key is in it with what it comes to, by option, by setting or by default; the URL is not."""
    pool = consume(
        workers=1, max_retries=3, settings={"EVENT_BUS_REDIS_CONSUMER_HANDLER_TIMEOUT": 45}, check_backlog=True
    ).wait_running(1)

    status = wait_until(lambda: (found := pool_status(url, prefix)) and found.state and found, what="a heartbeat")

    expected = {
        "consumer_name": "c1",
        "workers": 1,
        "check_backlog": True,
        "last_read_msg_id": None,
        "claim_msgs_older_than": 1_800_000,
        "max_retries": 3,
        "max_deliveries": 3,
        "handler_timeout": 45.0,
        "shutdown_timeout": 30.0,
    }
    assert {key: status.options[key] for key in expected} == expected
    assert not any("url" in key for key in status.options)
    lease = client.hgetall(f"{{{prefix}-user-login}}:pool:group:c1")
    assert not any(url.encode() in value for value in lease.values())
    assert pool.stop() == 0


def test_a_heartbeat_names_the_monitor_that_there_is(consume: Any, client: redis.Redis, url: str, prefix: str) -> None:
    """The process id of the monitor is in it, and that of the next one when it was replaced."""
    pool: ConsumerProcess = consume(workers=1).wait_running(1)

    def monitor() -> int | None:
        return pool_status(url, prefix).monitor

    first = wait_until(monitor, what="a heartbeat")
    assert first in {child.pid for child in pool.children()} - {*pool.worker_pids().values()}

    psutil.Process(first).kill()

    second = wait_until(lambda: (found := monitor()) != first and found, what="another monitor")
    assert second in {child.pid for child in pool.children()} - {*pool.worker_pids().values()}
    assert pool.stop() == 0


def test_a_heartbeat_tells_what_each_worker_takes_and_achieves(
    consume: Any, client: redis.Redis, stream_name: str, url: str, prefix: str
) -> None:
    """Rate, memory and processor time are there after some seconds, and near what the worker really does."""
    consume(workers=1).wait_running(1)
    add_logins(client, stream_name, 1000, "sleep:0.02")

    def measured() -> dict[str, Any] | None:
        (worker,) = pool_status(url, prefix).state or [{}]
        return worker if worker.get("rate") and worker.get("memory") and worker.get("cpu") else None

    worker = wait_until(measured, what="everything is measured")

    assert (worker["restarts"], worker["last_death"]) == (0, None)
    # 50 a second at the most, and far less on a machine that is busy.
    assert 0 < worker["rate"] < 75
    assert 0 < worker["cpu"] <= 110
    # The supervisor has loaded everything; what a worker has to itself is a part of what it shows as resident.
    assert 1_000_000 < worker["memory"] < psutil.Process(worker["pid"]).memory_info().rss


def test_a_heartbeat_tells_what_workers_died_of(
    consume: Any, client: redis.Redis, stream_name: str, url: str, prefix: str
) -> None:
    """Restarts are counted for each shard, with what its last worker died of."""
    pool: ConsumerProcess = consume(workers=2, handler_timeout=2).wait_running(2)

    def deaths(shard: int) -> list[Any]:
        state = wait_until(lambda: pool_status(url, prefix).state, what="a heartbeat")
        return [state[shard]["restarts"], state[shard]["last_death"]]

    psutil.Process(pool.worker_pids()[1]).kill()

    wait_until(lambda: deaths(1) == [1, "SIGKILL"], what="it is told")
    assert deaths(0) == [0, None]
    add_logins(client, stream_name, 1, "hang")
    wait_until(lambda: sum(deaths(shard)[0] for shard in (0, 1)) == 4, what="it has died of it three times")
    assert any(str(deaths(shard)[1]).startswith("timed out after 2.") for shard in (0, 1))
    assert pool.stop() == 0


def test_rubbish_in_place_of_a_heartbeat_is_no_error(client: redis.Redis, url: str, prefix: str) -> None:
    """Options and workers that are no JSON, or of another kind, are none."""
    stream = f"{prefix}-{TOPIC}"
    client.xgroup_create(stream, "group", mkstream=True)
    for rubbish in ("{", json.dumps("text"), json.dumps(7)):
        client.hset(f"{{{stream}}}:pool:group:c1", mapping={"host": "h", "state": rubbish, "options": rubbish})
        client.hset(f"{{{stream}}}:pools:group", "c1", "alive")

        status = pool_status(url, prefix)

        assert (status.state, status.options, status.monitor) == ([], {}, None)
