"""Take-over: what a pool or shard that is gone has left is handled within seconds, what is worked at is left alone."""

import contextlib
import signal
import threading
import time
from typing import Any

import psutil
import pytest
import redis

from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.names import pool_key
from edx_event_bus_redis.internal.pools import Known
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.takeover import Departed, Departures, Membership
from tests.support.events import add_batch, add_logins, login_fields
from tests.support.reading import take_over_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]

# Far longer than any of these tests: what is claimed earlier was not claimed because of it.
LONG = 3_600_000


def names(client: redis.Redis, stream: str) -> set[str]:
    return {consumer["name"].decode() for consumer in client.xinfo_consumers(stream, "group")}


def pending(client: redis.Redis, stream: str) -> int:
    return int(client.xpending(stream, "group")["pending"])


def test_shards_that_no_longer_exist_are_taken_over(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Four workers are killed with events in hand, one is started: it handles all of them, and the names are gone."""
    first = consume(workers=4).wait_running(4)
    ids = add_logins(client, stream_name, 24, "sleep:0.3")
    wait_until(lambda: len({each.pid for each in first.begun()}) == 4, what="each worker has an event in hand")
    first.terminate(signal.SIGKILL)
    first.wait()

    second = consume(workers=1, check_backlog=True, claim_msgs_older_than=LONG)

    assert {each.event_id for each in second.wait_handled(24)} == set(ids)
    wait_until(lambda: names(client, stream_name) == {"c1.0"}, what="only the name of the one that lives")
    assert len(second.handled()) <= 24 + 4
    assert second.stop() == 0
    assert pending(client, stream_name) == 0


def test_a_pool_that_is_gone_is_taken_over_by_another(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool is killed and never started again: another pool of the group handles what it had, and tidies up."""
    first = consume(workers=2).wait_running(2)
    ids = add_logins(client, stream_name, 12, "sleep:0.3")
    wait_until(lambda: len({each.pid for each in first.begun()}) == 2, what="each worker has an event in hand")
    second = consume(consumer_name="c2", workers=2, claim_msgs_older_than=LONG).wait_running(2)

    first.terminate(signal.SIGKILL)
    first.wait()

    assert {each.event_id for each in second.wait_handled(12)} == set(ids)
    wait_until(lambda: names(client, stream_name) == {"c2.0", "c2.1"}, what="only the names of those that live")
    wait_until(
        lambda: client.hgetall(f"{{{stream_name}}}:pools:group") == {b"c2": b"alive"}, what="the pool is forgotten"
    )
    assert "Pool c1 of group group on stream" in second.log
    assert second.stop() == 0


def test_what_a_pool_leaves_when_it_stops_is_taken_over(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool that has to leave events behind at its stop hands them to the others at once."""
    first = consume(workers=2, shutdown_timeout=0.5).wait_running(2)
    ids = add_logins(client, stream_name, 2, "sleep:6")
    wait_until(lambda: len(first.begun()) == 2, what="both are in hand")
    second = consume(consumer_name="c2", workers=1, claim_msgs_older_than=LONG).wait_running(1)

    assert first.stop() == 0

    assert {each.event_id for each in second.wait_handled(2)} == set(ids)
    wait_until(lambda: names(client, stream_name) == {"c2.0"}, what="only the name of the one that lives")


def test_nothing_is_kept_of_pools_that_come_and_go(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Neither the consumers of a pool that stopped stay, nor the pool's name, nor the word that they left."""
    consume(workers=1).wait_running(1)
    for name in ("pod-1", "pod-2"):
        assert consume(consumer_name=name, workers=2).wait_running(2).stop() == 0

    wait_until(lambda: client.hkeys(f"{{{stream_name}}}:pools:group") == [b"c1"], what="the pools are forgotten")

    assert names(client, stream_name) == {"c1.0"}
    assert client.hgetall(f"{{{stream_name}}}:left:group") == {}


def test_word_of_a_worker_that_never_read_is_forgotten(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A worker that was stopped before its first read is no consumer; that it left is forgotten with its pool."""
    left, pools = f"{{{stream_name}}}:left:group", f"{{{stream_name}}}:pools:group"
    client.hset(left, mapping={"pod.0": 1, "pod.11": 1, "pod.x": 1, "other.0": 1})
    client.hset(pools, "pod", "gone")

    consume(workers=1).wait_running(1)

    wait_until(lambda: client.hkeys(pools) == [b"c1"], what="the pool is forgotten")
    assert {*client.hkeys(left)} == {b"pod.x", b"other.0"}


def test_a_living_worker_keeps_its_event(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """However long a handler runs, neither its siblings nor another pool nor other software claims its event."""
    first = consume(workers=2, claim_msgs_older_than=1000).wait_running(2)
    second = consume(consumer_name="c2", workers=1, claim_msgs_older_than=1000).wait_running(1)
    add_logins(client, stream_name, 2, "sleep:6")
    wait_until(lambda: len(first.begun()) == 2, what="both are begun")

    def claimed_by_other_software() -> list[Any]:
        _, entries, *_ = client.xautoclaim(stream_name, "group", "other", min_idle_time=3000)
        return list(entries)

    claimed: list[Any] = []
    wait_until(
        lambda: claimed.extend(claimed_by_other_software()) or len(first.handled()) == 2, what="both are handled"
    )

    assert claimed == []
    assert len(first.begun()) == 2
    assert first.stop() == second.stop() == 0
    assert pending(client, stream_name) == 0


def test_a_frozen_pool_repeats_only_what_it_had_in_hand(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool stands still until others have taken over what it had: when it wakes up it does not begin it again."""
    first = consume(workers=1).wait_running(1)
    add_logins(client, stream_name, 400, "ok")
    first.wait_handled(400)
    # Fast events have taught the worker to read ahead, so it has the slow one and some of those behind it.
    ids = add_logins(client, stream_name, 1, "sleep:8") + add_logins(client, stream_name, 30, "ok", first=1)
    wait_until(lambda: len(first.begun()) == 401, what="the slow event is in hand")
    second = consume(consumer_name="c2", workers=1, claim_msgs_older_than=LONG).wait_running(1)
    processes = [psutil.Process(first.process.pid), *first.children()]
    for process in processes:
        process.suspend()
    try:
        wait_until(lambda: {each.event_id for each in second.handled()} >= set(ids), what="taken over")
    finally:
        for process in processes:
            process.resume()
    more = add_logins(client, stream_name, 20, "ok")

    wait_until(lambda: {each.event_id for each in first.handled()} >= set(more), what="both go on")
    wait_until(lambda: pending(client, stream_name) == 0, what="nothing pending")
    handled = [each.event_id for each in first.handled()]
    repeated = {event_id for event_id in handled if handled.count(event_id) > 1}
    assert repeated <= {ids[0]}
    assert first.stop() == second.stop() == 0


def test_consumers_of_other_software_are_claimed_from_in_time(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """What other software has had for longer than claim_msgs_older_than is claimed; what it lost is in the ledger."""
    ids = add_logins(client, stream_name, 5)
    client.xgroup_create(stream_name, "group", id="0")
    ((_, entries),) = client.xreadgroup("group", "other", {stream_name: ">"}, count=5)
    client.xdel(stream_name, entries[1][0], entries[3][0])

    pool = consume(workers=2, claim_msgs_older_than=500, check_backlog=True)

    handled = {each.event_id for each in pool.wait_handled(3)}
    assert handled == {ids[0], ids[2], ids[4]}
    wait_until(lambda: pending(client, stream_name) == 0, what="nothing pending")
    records = [record for _, record in client.xrange(f"{{{stream_name}}}:lost:group")]
    assert {record[b"reason"] for record in records} == {b"deleted"}
    assert sum(int(record[b"count"]) for record in records) == int(records[-1][b"total"]) == 2
    assert {records[0][b"first"], records[-1][b"last"]} == {entries[1][0], entries[3][0]}
    # Not one of ours to remove.
    assert "other" in names(client, stream_name)
    assert pool.stop() == 0


def test_a_consumer_that_left_is_taken_over_at_once(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A consumer without workers that leaves events behind when it stops does not make them wait."""
    client.xgroup_create(stream_name, "group", id="0", mkstream=True)
    ids = add_logins(client, stream_name, 6)
    client.xreadgroup("group", "c0", {stream_name: ">"}, count=4)
    GroupStore(client, stream_name, "group", "c0").leave()

    second = consume(consumer_name="c2", check_backlog=True, claim_msgs_older_than=LONG)

    assert {each.event_id for each in second.wait_handled(6)} == set(ids)


def test_an_undecodable_entry_of_a_gone_pool_is_a_dead_letter(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """Garbage that a pool had when it died becomes a dead letter of whoever takes it over."""
    client.xgroup_create(stream_name, "group", id="0", mkstream=True)
    client.hset(f"{{{stream_name}}}:pools:group", "c0", "gone")
    client.execute_command("XADD", stream_name, "*", "garbage", "1")
    client.execute_command("XADD", stream_name, "*", *login_fields())
    client.xreadgroup("group", "c0.7", {stream_name: ">"})

    pool = consume(workers=1, check_backlog=True, claim_msgs_older_than=LONG)

    pool.wait_handled(1)
    wait_until(lambda: client.xlen(f"{{{stream_name}}}:dead:group") == 1, what="a dead letter")
    wait_until(lambda: names(client, stream_name) == {"c1.0"}, what="the empty name is removed")


def own_stream(url: str, stream_name: str) -> Stream:
    return Stream(make_client(url, timeout=5, connect_timeout=5), stream_name)


def test_who_left_on_purpose_had_nothing_in_hand(url: str, client: redis.Redis, stream_name: str) -> None:
    """What it had read ahead is handled like anything else; of others all that they had may have killed them."""
    add_logins(client, stream_name, 6)
    client.xgroup_create(stream_name, "group", id="0")
    for name in ("left.0", "left.1", "back"):
        client.xreadgroup("group", name, {stream_name: ">"}, count=2)
    time.sleep(0.01)  # To leave is a later moment than to read.
    for name in ("left.1", "back"):
        GroupStore(client, stream_name, "group", name).leave()
    time.sleep(0.01)
    # This one has come back since. Redis 7.0 notices who reads what is pending, not who reads nothing.
    client.xreadgroup("group", "back", {stream_name: "0"}, count=2)
    ids = [entry_id for entry_id, _ in client.xrange(stream_name)]

    time.sleep(0.01)
    taken = take_over_of(own_stream(url, stream_name), "c1", 1).take(100)

    assert sorted(entry_id for entry_id, _ in taken.entries) == ids
    assert {*client.hkeys(f"{{{stream_name}}}:starts:group")} == {b"0/" + each for each in (*ids[:2], *ids[4:])}


@pytest.fixture
def departures(url: str, client: redis.Redis, stream_name: str) -> Departures:
    """Whose consumers have departed, for pool c1, which has one shard."""
    client.hset(pool_key(stream_name, "group", "c1"), "token", "own")
    asking = make_client(url, timeout=5, connect_timeout=5)
    return Departures(asking, stream_name, stream_name, "group", Membership("c1", "own", lambda: 1))


def test_the_name_of_a_gone_shard_goes_when_nothing_is_pending_for_it(
    client: redis.Redis, stream_name: str, departures: Departures
) -> None:
    """What is pending stays pending until somebody has it; living shards keep their empty names."""
    add_logins(client, stream_name, 1)
    client.xgroup_create(stream_name, "group", id="0")
    client.xreadgroup("group", "c1.1", {stream_name: ">"})
    for name in ("c1.0", "c1.2", "gone.0"):
        client.xgroup_createconsumer(stream_name, "group", name)

    assert departures.tidy(Known(["c1"], ["gone"])) == Departed(1, ["c1"])

    assert names(client, stream_name) == {"c1.0", "c1.1"}
    (entry,) = client.xpending_range(stream_name, "group", "-", "+", 10)
    assert entry["consumer"] == b"c1.1"
    client.xack(stream_name, "group", entry["message_id"])
    assert departures.tidy(Known(["c1"], ["gone"])) == Departed(0, [])
    assert names(client, stream_name) == {"c1.0"}


def test_a_name_is_not_removed_under_one_that_reads(
    url: str, client: redis.Redis, stream_name: str, departures: Departures
) -> None:
    """Nothing comes in between the look at what is pending and the removal: what was read then would be lost."""
    add_logins(client, stream_name, 300)
    client.xgroup_create(stream_name, "group", id="0")
    is_over, tidied = threading.Event(), []

    def tidy() -> None:
        while not is_over.is_set():
            tidied.append(departures.tidy(Known(["c1"], [])))

    with contextlib.ExitStack() as stack:
        thread = threading.Thread(target=tidy)
        thread.start()
        stack.callback(thread.join)
        stack.callback(is_over.set)
        for _ in range(300):
            ((_, [(entry_id, _)]),) = client.xreadgroup("group", "c1.1", {stream_name: ">"}, count=1)
            # An acknowledgement finds it still pending, or it was dropped with the name.
            assert client.xack(stream_name, "group", entry_id) == 1

    assert Departed(0, []) in tidied


def test_what_ends_a_worker_that_leaves_is_a_suspect(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """An event whose handler interrupts its process during a stop was in hand: it is blamed, the others are not."""
    first = consume(workers=None, consumer_name="c0").wait_running(1)
    add_logins(client, stream_name, 50)
    first.wait_handled(50)
    add_batch(client, stream_name, ["sleep:1,interrupt", "ok", "ok"])
    wait_until(lambda: len(first.begun()) == 51, what="it is in hand")

    first.terminate()
    first.wait()

    (in_hand, _), *ahead = client.xrange(stream_name)[50:]
    assert client.hgetall(f"{{{stream_name}}}:starts:group") == {b"0/" + in_hand: b"0"}
    assert pending(client, stream_name) == 1 + len(ahead)
    assert client.hexists(f"{{{stream_name}}}:left:group", "c0")


def test_what_several_consumers_have_lost_is_entered_with_the_ids_of_each(
    url: str, client: redis.Redis, stream_name: str
) -> None:
    """Whoever comes first by name need not have the oldest entries: no loss lies outside of the ledger's ranges."""
    add_logins(client, stream_name, 6)
    ids = [entry_id for entry_id, _ in client.xrange(stream_name)]
    client.xgroup_create(stream_name, "group", id="0")
    for name in ("z", "m", "a"):
        client.xreadgroup("group", name, {stream_name: ">"}, count=2)
    client.xdel(stream_name, *ids)
    time.sleep(0.01)  # What is claimed has to be older than a millisecond.

    taken = take_over_of(own_stream(url, stream_name), "c1", 1).take(100)

    assert taken.lost == ids
    records = [record for _, record in client.xrange(f"{{{stream_name}}}:lost:group")]
    assert sorted((record[b"first"], record[b"last"]) for record in records) == [
        (ids[0], ids[1]),
        (ids[2], ids[3]),
        (ids[4], ids[5]),
    ]
    assert records[-1][b"total_deleted"] == b"6"
