"""The monitor of a pool on a real server: it may die or hang, and the workers go on; it warns of losses to come."""

import re
import signal
from typing import Any

import psutil
import pytest
import redis

from devtools.server import EmbeddedServer
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins, login_fields
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_version

LONG = 3_600_000


def monitor_pid(pool: ConsumerProcess) -> int:
    return int(re.findall(r"(?:started|replaced) monitor, pid (\d+)", pool.log)[-1])


def test_a_killed_monitor_is_replaced(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """The monitor is killed again and again: each time there is a new one, and no worker is touched."""
    pool = consume(workers=2).wait_running(2)
    workers = pool.worker_pids()
    for _ in range(3):
        former = monitor_pid(pool)
        psutil.Process(former).kill()
        wait_until(lambda former=former: monitor_pid(pool) != former, what="a new monitor")
    ids = add_logins(client, stream_name, 20)

    assert {each.event_id for each in pool.wait_handled(20)} == set(ids)
    assert pool.worker_pids() == workers
    assert pool.log.count("monitor, pid") == 1 + 2 * 3
    assert pool.stop() == 0
    assert not client.exists(f"{{{stream_name}}}:pool:group:c1")


def test_a_frozen_monitor_is_replaced_before_the_lease_ends(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """While a monitor hangs, nobody takes the pool for gone: an event in hand is handled once."""
    pool = consume(workers=1).wait_running(1)
    # Before the other pool is there: the server would hand it to that one's blocking read, although it is frozen.
    add_logins(client, stream_name, 1, "sleep:20")
    wait_until(pool.begun, what="the event is in hand")
    other = consume(consumer_name="c2", workers=1, claim_msgs_older_than=LONG).wait_running(1)
    other.terminate(signal.SIGSTOP)
    for child in other.children():
        if child.pid != monitor_pid(other):
            child.suspend()
    try:
        frozen = monitor_pid(pool)
        psutil.Process(frozen).suspend()

        wait_until(lambda: "no sign of life for" in pool.log, what="the supervisor notices")
        wait_until(lambda: monitor_pid(pool) != frozen, what="a new monitor")
    finally:
        for child in other.children():
            child.resume()
        other.terminate(signal.SIGCONT)
    pool.wait_handled(1)

    assert "is gone" not in other.log
    assert len(pool.begun()) == 1
    assert pool.stop() == other.stop() == 0


def test_a_group_that_falls_behind_is_warned_of(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """When the unread part of a stream reaches four fifths of its cap the log says so, and says when it is over."""
    pool = consume(workers=1, settings={"EVENT_BUS_REDIS_STREAM_MAX_LEN": 100}).wait_running(1)
    add_logins(client, stream_name, 1, "sleep:8")
    add_logins(client, stream_name, 90, "ok", first=1)

    wait_until(lambda: "falls behind: " in pool.log, what="a warning")

    assert re.search(rf"Group group on stream {stream_name} falls behind: (8|9)\d of 100 entries unread", pool.log)
    wait_until(lambda: re.search(r"has caught up: \d+ of 100 entries unread", pool.log), what="it is over")


def test_what_a_destroyed_group_had_pending_is_in_the_ledger(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """The group is destroyed while somebody else has entries: those are lost and counted, not those of live workers."""
    lost = add_logins(client, stream_name, 4)
    client.xgroup_create(stream_name, "group", id="0")
    client.xreadgroup("group", "other", {stream_name: ">"}, count=4)
    pool = consume(workers=1, check_backlog=True).wait_running(1)
    in_hand = add_logins(client, stream_name, 1, "sleep:4")
    wait_until(pool.begun, what="an event is in hand")
    # The monitor has to have seen what is going to be lost.
    heartbeat = client.hget(f"{{{stream_name}}}:pool:group:c1", "state")
    for _ in range(2):
        wait_until(
            lambda seen=heartbeat: client.hget(f"{{{stream_name}}}:pool:group:c1", "state") != seen, what="another look"
        )
        heartbeat = client.hget(f"{{{stream_name}}}:pool:group:c1", "state")
    client.xgroup_destroy(stream_name, "group")

    more = add_logins(client, stream_name, 2)

    wait_until(lambda: {each.event_id for each in pool.handled()} >= {*in_hand, *more}, what="it goes on")
    assert not {each.event_id for each in pool.handled()} & set(lost)
    ((_, record),) = client.xrange(f"{{{stream_name}}}:lost:group")
    assert (record[b"reason"], record[b"count"]) == (b"group_gone", b"4")
    assert re.search(r"Lost 4 events: group group on stream \S+: it was gone", pool.log)
    assert pool.stop() == 0


def test_a_stream_that_somebody_else_has_made_anew_is_noticed(
    consume: Any, own_server: EmbeddedServer, stream_name: str
) -> None:
    """A flush, and a start that makes the group before any living pool reads: what was lost is entered once."""
    client = own_server.client()
    pools = [consume(url=own_server.url, consumer_name=name, workers=1).wait_running(1) for name in ("c1", "c2")]
    add_logins(client, stream_name, 40, "sleep:2")
    wait_until(lambda: len(pools[0].begun()) == 2, what="both have one in hand")
    leases = [f"{{{stream_name}}}:pool:group:{name}" for name in ("c1", "c2")]
    for _ in range(2):
        seen = {lease: client.hget(lease, "state") for lease in leases}
        wait_until(lambda seen=seen: all(client.hget(lease, "state") != state for lease, state in seen.items()))

    with client.pipeline() as at_once:
        at_once.flushall().xgroup_create(stream_name, "group", id="0", mkstream=True)
        at_once.execute_command("XADD", stream_name, "*", *login_fields())
        at_once.execute()

    ledger = f"{{{stream_name}}}:lost:group"
    wait_until(lambda: client.xlen(ledger), what="a record")
    wait_until(lambda: any("it was gone; about so many" in pool.log for pool in pools), what="a line in the log")
    wait_until(lambda: len(pools[0].handled()) >= 3, what="they go on")
    ((_, record),) = client.xrange(ledger)
    assert record[b"reason"] == b"group_gone"
    # About: what was in hand, or handled since the last look, is not lost.
    assert 30 <= int(record[b"count"]) <= 40
