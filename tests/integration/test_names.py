"""A consumer name belongs to one pool at a time."""

import socket
from typing import Any

import psutil
import pytest
import redis

from devtools.server import EmbeddedServer
from tests.support.events import add_logins
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]

HOST = socket.gethostname()


def names(client: redis.Redis, stream: str) -> set[str]:
    return {consumer["name"].decode() for consumer in client.xinfo_consumers(stream, "group")}


def test_a_second_pool_of_a_name_gets_another(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Two pools are given one name: the second adds its host to it, a third a number, and the log says so."""
    first = consume(workers=1).wait_running(1)
    second = consume(workers=1).wait_running(1)
    third = consume(workers=1).wait_running(1)

    ids = add_logins(client, stream_name, 60, "sleep:0.05")

    assert sorted(each.event_id for each in third.wait_handled(60)) == sorted(ids)
    assert len({each.pid for each in first.handled()}) == 3
    assert names(client, stream_name) == {"c1.0", f"c1@{HOST}.0", f"c1@{HOST}-2.0"}
    assert "belongs to another pool" not in first.log
    assert f"belongs to another pool, on host {HOST} with pid {first.process.pid}" in second.log
    assert f"Pool c1@{HOST}: started worker 0" in second.log
    assert first.stop() == second.stop() == third.stop() == 0


def test_a_name_is_free_again_after_its_pool_stopped(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool that stops gives its name back, and leaves no lease."""
    assert consume(workers=1).wait_running(1).stop() == 0
    assert not client.exists(f"{{{stream_name}}}:pool:group:c1")

    assert "Pool c1: started worker 0" in consume(workers=1).wait_running(1).log


def test_a_name_is_free_at_once_after_its_pool_was_killed(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool that was killed is known to be dead on its own machine: the next start has its name and its events."""
    first = consume(workers=1).wait_running(1)
    ids = add_logins(client, stream_name, 3, "sleep:0.5")
    wait_until(first.begun, what="an event is in hand")
    first.process.kill()
    first.process.wait()
    assert client.exists(f"{{{stream_name}}}:pool:group:c1")

    second = consume(workers=1, check_backlog=True).wait_running(1)

    assert "Pool c1: started worker 0" in second.log
    assert {each.event_id for each in second.wait_handled(3)} == set(ids)


def test_the_events_of_a_replaced_pod_are_taken_over(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool of that name on another host is gone without a word: when its lease ends its events are taken over."""
    client.xgroup_create(stream_name, "group", id="0", mkstream=True)
    ids = add_logins(client, stream_name, 4)
    client.xreadgroup("group", "c1.0", {stream_name: ">"}, count=3)
    lease = f"{{{stream_name}}}:pool:group:c1"
    client.hset(lease, mapping={"token": "t", "host": "pod", "pid": 1, "pid_space": "another", "started": "5"})
    client.hset(f"{{{stream_name}}}:pools:group", "c1", "alive")

    pool = consume(workers=1, check_backlog=True).wait_running(1)

    assert "belongs to another pool, on host pod with pid 1" in pool.log
    assert [each.event_id for each in pool.wait_handled(1)] == ids[3:]
    # Nothing is taken over from a pool that holds its name.
    client.pexpire(lease, 2000)
    assert {each.event_id for each in pool.wait_handled(4)} == set(ids)
    wait_until(lambda: names(client, stream_name) == {f"c1@{HOST}.0"}, what="the gone pool's name is removed")
    assert pool.stop() == 0


def test_a_pool_whose_name_was_taken_starts_anew_under_another(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """A pool that could not renew its lease in time, and finds its name taken, goes on under another one."""
    pool = consume(workers=2).wait_running(2)
    ids = add_logins(client, stream_name, 5)
    pool.wait_handled(5)
    workers = set(pool.worker_pids().values())
    lease = f"{{{stream_name}}}:pool:group:c1"
    client.hset(lease, mapping={"token": "t", "host": "pod", "pid": 1, "pid_space": "another", "started": "5"})
    client.persist(lease)

    wait_until(lambda: f"Pool c1@{HOST}: started worker 1" in pool.log, what="started anew")

    ids += add_logins(client, stream_name, 20)
    assert sorted(each.event_id for each in pool.wait_handled(25)) == sorted(ids)
    assert not any(psutil.pid_exists(pid) for pid in workers)
    assert "skipped" not in pool.log
    assert pool.stop() == 0
    assert client.hget(lease, "token") == b"t"


def test_a_heartbeat_says_what_the_workers_do(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """The lease tells who holds it and what each of its workers has in hand."""
    pool = consume(workers=2).wait_running(2)
    add_logins(client, stream_name, 1, "sleep:8")
    ((entry_id, _),) = client.xrange(stream_name)
    lease = f"{{{stream_name}}}:pool:group:c1"

    wait_until(lambda: entry_id in (client.hget(lease, "state") or b""), what="the heartbeat names the entry in hand")

    facts = client.hgetall(lease)
    assert (facts[b"host"].decode(), int(facts[b"pid"])) == (HOST, pool.process.pid)
    assert (facts[b"workers"], facts[b"furthest"]) == (b"2", entry_id)
    assert 0 < client.pttl(lease) <= 10_000
    pool.wait_handled(1)


def test_a_lease_is_renewed_when_memory_is_full(consume: Any, own_server: EmbeddedServer, stream_name: str) -> None:
    """A server that refuses writes for want of memory does not make living pools look gone."""
    consume(url=own_server.url, workers=1).wait_running(1)
    client = own_server.client()
    lease = f"{{{stream_name}}}:pool:group:c1"
    wait_until(lambda: client.hexists(lease, "state"), what="the lease is renewed")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    before = client.pexpiretime(lease)

    wait_until(lambda: client.pexpiretime(lease) > before + 2000, what="renewed twice at the least")

    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("key", "value")


def test_the_name_of_a_pools_worker_is_no_name_for_another_consumer(consume: Any) -> None:
    """A consumer without workers that is named like a shard of a pool of the group is warned at its start."""
    consume(workers=1).wait_running(1)

    single = consume(consumer_name="c1.7").wait_running()

    assert "is that of a worker of pool c1, which may take its events away" in single.log
    assert "is that of a worker" not in consume(consumer_name="c2.7").wait_running().log
