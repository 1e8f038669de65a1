"""Every event that can no longer be delivered to a group is counted, once, with its reason and its range of ids."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.group import Known, make_group_anew
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.reader import Reader
from edx_event_bus_redis.internal.stream import Stream
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins
from tests.support.ledgers import records_of
from tests.support.reading import add_entries, make_group, reader_of
from tests.support.troubles import looks
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]

BOTH = pytest.mark.parametrize("workers", [None, 2])


@pytest.fixture
def stream(url: str, client: redis.Redis, stream_name: str) -> Iterator[Stream]:
    """The test's stream, as the package's own code has it."""
    stream = Stream(make_client(url, timeout=10, connect_timeout=10), stream_name)
    yield stream
    stream.close()


@pytest.fixture
def ledger(stream: Stream) -> Ledger:
    """The ledger of the test's group."""
    return Ledger(stream, "group", "test")


def read(reader: Reader, count: int) -> list[bytes]:
    return [entry.id for entry in reader.read(count).entries]


def corrects_itself(client: redis.Redis) -> bool:
    """Whether the server forgets a gap as soon as it is read over, as Valkey and Redis 8.2 do."""
    probe = f"probe-{uuid4().hex}"
    client.xgroup_create(probe, "group", 0, mkstream=True)
    add_entries(client, probe, 3)
    client.xreadgroup("group", "c", {probe: ">"}, count=1)
    client.xtrim(probe, 1, approximate=False)
    client.xreadgroup("group", "c", {probe: ">"})
    (group,) = client.xinfo_groups(probe)
    client.delete(probe)
    return bool(group["entries-read"] == 3)


def lost_lines(consumer: ConsumerProcess) -> list[str]:
    return [line for line in consumer.log.splitlines() if re.search(r"\bLost .* events?\b", line)]


# Trimmed before they were read.


@BOTH
def test_what_was_trimmed_while_the_consumer_was_away_is_counted_at_its_start(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger, workers: int | None
) -> None:
    """After a start with check_backlog each event sent was handled or is in the ledger."""
    consumer = consume(workers=workers, check_backlog=True)
    ids = add_logins(client, stream_name, 20)
    consumer.wait_handled(20)
    assert consumer.stop() == 0
    ids += add_logins(client, stream_name, 300)
    first_lost, last_lost = client.xrange(stream_name)[20][0], client.xrange(stream_name)[269][0]
    client.xtrim(stream_name, 50, approximate=False)

    consumer = consume(workers=workers, check_backlog=True)

    assert {each.event_id for each in consumer.wait_handled(70)} == {*ids[:20], *ids[-50:]}
    assert ledger.totals() == {
        "total": 250,
        "trimmed": 250,
        "deleted": 0,
        "skipped": 0,
        "group_gone": 0,
        "forgotten": 0,
        "dropped_dead_letters": 0,
    }
    (record,) = records_of(ledger)
    assert (record.reason, record.by, record.loss.count) == ("trimmed", "c1", 250)
    assert split_id(record.loss.first) <= split_id(first_lost)
    assert split_id(record.loss.last) >= split_id(last_lost)
    assert abs(record.time - time.time()) < 600
    (line,) = lost_lines(consumer)
    assert "ERROR" in line
    assert f"Lost 250 events: group group on stream {stream_name}: trimmed before they were read" in line


@pytest.mark.parametrize("pools", [1, 2])
def test_what_is_trimmed_while_consumers_are_too_slow_is_counted_once(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger, pools: int
) -> None:
    """However many workers read at once, events handled and events lost add up to those sent, and the log agrees."""
    consumers = [
        consume(workers=2, check_backlog=True, consumer_name=f"c{number}").wait_running(2) for number in range(pools)
    ]
    sent = []
    for _ in range(60):
        sent += add_logins(client, stream_name, 20, "sleep:0.002")
        client.xtrim(stream_name, 15, approximate=False)

    def counted() -> int:
        return len({each.event_id for each in consumers[0].handled()}) + ledger.totals()["total"]

    wait_until(lambda: counted() >= len(sent), what="each event is handled or lost")
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert ledger.totals()["trimmed"] > 0
    assert [consumer.stop() for consumer in consumers] == [0] * pools
    assert counted() == len(sent)
    said = [int(line.split("Lost ")[1].split()[0]) for consumer in consumers for line in lost_lines(consumer)]
    assert sum(said) == ledger.totals()["trimmed"]


@BOTH
def test_what_is_trimmed_while_the_consumer_is_frozen_is_counted(
    consume: Any, own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """Also when its blocking read was over before the first event came, so that the next one comes too late."""
    consumer = consume(url=own_server.url, workers=workers, check_backlog=True).wait_running(workers or 1)
    client = own_server.client()
    ids = add_logins(client, stream_name, 5)
    consumer.wait_handled(5)
    pids = [child.pid for child in consumer.children()] if workers else [consumer.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: client.info("clients")["blocked_clients"] == 0, what="no read waits any more")
    ids += add_logins(client, stream_name, 400)
    client.xtrim(stream_name, 30, approximate=False)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)

    handled = {each.event_id for each in consumer.wait_handled(35)}

    assert handled == {*ids[:5], *ids[-30:]}
    ledger = Ledger(Stream(make_client(own_server.url, timeout=10, connect_timeout=10), stream_name), "group")
    assert ledger.totals()["trimmed"] == 370
    assert consumer.stop() == 0


def test_readers_that_find_the_same_gap_count_it_once(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger, url: str
) -> None:
    """Eight consumers that read at once after a trim enter one record together."""
    make_group(client, stream_name)
    add_entries(client, stream_name, 500)
    client.xtrim(stream_name, 300, approximate=False)
    streams = [Stream(make_client(url, timeout=10, connect_timeout=10), stream_name) for _ in range(8)]
    together, results = threading.Barrier(8), []

    def read_once(number: int) -> None:
        reader = reader_of(streams[number], f"c{number}")
        together.wait()
        results.append(read(reader, 10))

    threads = [threading.Thread(target=read_once, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in streams:
        each.close()

    assert [len(result) for result in results] == [10] * 8
    assert [record.loss.count for record in records_of(ledger)] == [200]


def test_a_loss_is_entered_also_when_the_memory_is_full(own_server: EmbeddedServer, stream_name: str) -> None:
    """A server that refuses to take anything more still lets the gap be entered before it is read over."""
    client = own_server.client()
    stream = Stream(make_client(own_server.url, timeout=10, connect_timeout=10), stream_name)
    make_group(client, stream_name)
    add_entries(client, stream_name, 50)
    client.xtrim(stream_name, 20, approximate=False)
    client.config_set("maxmemory", 1)

    assert len(read(reader_of(stream, "c1"), 100)) == 20

    assert Ledger(stream, "group").totals()["trimmed"] == 30
    stream.close()


def test_a_server_that_has_forgotten_the_scripts_costs_no_event(own_server: EmbeddedServer, stream_name: str) -> None:
    """After SCRIPT FLUSH the reads go on, and the next gap is counted again."""
    client = own_server.client()
    stream = Stream(make_client(own_server.url, timeout=10, connect_timeout=10), stream_name)
    make_group(client, stream_name)
    reader = reader_of(stream, "c1")
    ids = add_entries(client, stream_name, 10)
    assert read(reader, 5) == ids[:5]
    client.script_flush()
    assert read(reader, 5) == ids[5:]
    ids = add_entries(client, stream_name, 10)
    client.xtrim(stream_name, 4, approximate=False)

    assert read(reader, 10) == ids[6:]

    assert Ledger(stream, "group").totals()["trimmed"] == 6
    stream.close()


def test_a_gap_that_somebody_else_has_read_over_is_not_counted_twice(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger
) -> None:
    """Where the server still knows of the gap when the end is reached it is counted then, and elsewhere not at all."""
    make_group(client, stream_name)
    add_entries(client, stream_name, 50)
    client.xtrim(stream_name, 20, approximate=False)
    client.xreadgroup("group", "other software", {stream_name: ">"}, count=100)

    assert ledger.look().unread == ledger.look().unread == 0

    assert ledger.totals()["trimmed"] == (0 if corrects_itself(client) else 30)
    assert client.xinfo_groups(stream_name)[0]["lag"] == 0


def test_entries_deleted_before_they_were_read_are_counted_once(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger
) -> None:
    """Somebody deletes entries that nobody has read: these are lost, and never more than these."""
    make_group(client, stream_name)
    reader = reader_of(stream, "c1")
    ids = add_entries(client, stream_name, 30)
    assert read(reader, 10) == ids[:10]
    client.xdel(stream_name, ids[3], ids[10], ids[15], ids[16])
    assert ledger.look().unread == 17

    found = read(reader, 4) + read(reader, 100)

    assert found == [each for each in ids[10:] if each not in {ids[10], ids[15], ids[16]}]
    assert read(reader, 1) == []
    assert ledger.look().unread == 0
    assert ledger.totals()["total"] == 3


def test_no_wrong_number_is_entered_where_the_server_does_not_know(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger
) -> None:
    """A group that other software has made, whose number of entries read is unknown: nothing is said to be lost."""
    add_entries(client, stream_name, 40)
    client.xtrim(stream_name, 30, approximate=False)
    client.xgroup_create(stream_name, "group", "0")
    reader = reader_of(stream, "c1")

    assert len(read(reader, 10)) == 10
    client.xgroup_setid(stream_name, "group", client.xrange(stream_name)[4][0])
    assert len(read(reader, 5)) == 5
    assert ledger.totals()["total"] == 0

    # From now on it is known.
    assert ledger.look().unread == 20
    add_entries(client, stream_name, 10)
    client.xtrim(stream_name, 12, approximate=False)
    assert len(read(reader, 100)) == 12
    assert ledger.totals()["total"] == 18


def test_unread_is_exact_wherever_the_cursor_is(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger
) -> None:
    """At the end, below the first entry, in between, with entries deleted: counted, where the server does not know."""
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    assert ledger.unread() == 0
    ids = add_entries(client, stream_name, 3000)
    assert ledger.unread() == 3000
    client.xreadgroup("group", "other software", {stream_name: ">"}, count=700)
    assert ledger.unread() == 2300
    client.xdel(stream_name, ids[100], ids[2500], ids[2600])
    assert ledger.unread() == 2298
    client.xtrim(stream_name, 1000, approximate=False)
    assert ledger.unread() == 1000
    client.xtrim(stream_name, 0, approximate=False)
    assert ledger.unread() == 0
    assert client.xinfo_groups(stream_name)[0]["last-delivered-id"] == ids[699]
    assert not client.exists(ledger.key)


def test_a_look_finds_out_how_far_behind_a_group_is(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger
) -> None:
    """A group that is thousands of entries behind, and of which the server does not know it, gets its number back."""
    ids = add_entries(client, stream_name, 12_000)
    client.xgroup_create(stream_name, "group", ids[99])

    unread = wait_until(lambda: ledger.look().unread, what="all is counted")

    assert unread == 11_900
    assert client.xinfo_groups(stream_name)[0]["entries-read"] == 100
    assert ledger.totals()["total"] == 0


# The cursor was moved.


def test_what_the_cursor_is_moved_over_is_counted(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger
) -> None:
    """A start without check_backlog skips what was not read, apart from what was trimmed before."""
    consumer = consume(check_backlog=True)
    consumer.wait_handled(len(add_logins(client, stream_name, 5)))
    assert consumer.stop() == 0
    add_logins(client, stream_name, 100)
    client.xtrim(stream_name, 60, approximate=False)
    first, last = client.xrange(stream_name)[0][0], client.xrange(stream_name)[-1][0]

    consumer = consume().wait_running()

    skipped, trimmed = records_of(ledger)
    assert (trimmed.reason, trimmed.loss.count) == ("trimmed", 40)
    assert (skipped.reason, skipped.loss.count) == ("skipped", 60)
    assert (skipped.loss.first, skipped.loss.last) == (first, last)
    assert ledger.totals()["total"] == 100
    assert "skipped 60 events that it had not read" in consumer.log
    ids = add_logins(client, stream_name, 3)
    assert [each.event_id for each in consumer.wait_handled(8)][5:] == ids
    assert client.xinfo_groups(stream_name)[0]["lag"] == 0


def test_last_read_msg_id_counts_what_it_skips_and_nothing_when_it_goes_back(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger
) -> None:
    """Forwards is a loss of what lies in between; backwards loses nothing, though events are handled again."""
    ids = add_logins(client, stream_name, 1200)
    entries = [entry_id.decode() for entry_id, _ in client.xrange(stream_name)]

    consumer = consume(last_read_msg_id=entries[1149])
    assert {each.event_id for each in consumer.wait_handled(50)} == set(ids[-50:])
    assert consumer.stop() == 0
    assert ledger.totals()["skipped"] == 1150

    consumer = consume(last_read_msg_id=entries[1099])
    assert {each.event_id for each in consumer.wait_handled(100)} == set(ids[-100:])
    # What is handled again comes last.
    wait_until(lambda: client.xinfo_groups(stream_name)[0]["lag"] == 0, what="all is read")
    assert consumer.stop() == 0
    assert ledger.totals() == {
        "total": 1150,
        "trimmed": 0,
        "deleted": 0,
        "skipped": 1150,
        "group_gone": 0,
        "forgotten": 0,
        "dropped_dead_letters": 0,
    }


def test_what_was_gone_before_the_group_was_there_is_not_its_loss(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger
) -> None:
    """A new group of an old stream begins with what is left of it."""
    add_logins(client, stream_name, 30)
    client.xtrim(stream_name, 10, approximate=False)

    consume(check_backlog=True).wait_handled(10)

    assert ledger.totals()["total"] == 0


# Deleted while pending.


def test_what_was_deleted_while_pending_is_counted_once(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger
) -> None:
    """Whoever acknowledges an entry without data counts it; whoever comes after that does not."""
    make_group(client, stream_name)
    ids = add_entries(client, stream_name, 10)
    client.xreadgroup("group", "c1", {stream_name: ">"}, count=10)
    client.xdel(stream_name, *ids[2:5])
    batch = reader_of(stream, "c1").read(100)
    assert batch.gone == ids[2:5]
    client.xack(stream_name, "group", ids[2])

    counts = [ledger.acknowledge_gone(stream, batch.gone) for _ in range(2)]

    assert counts == [2, 0]
    (record,) = records_of(ledger)
    assert (record.reason, record.loss.count, record.loss.first, record.loss.last) == ("deleted", 2, ids[2], ids[4])
    assert client.xpending(stream_name, "group")["pending"] == 7


@pytest.mark.parametrize("workers", [None, 2])
def test_a_consumer_counts_what_was_deleted_while_pending_under_its_name(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger, workers: int | None
) -> None:
    """Events handled and events lost add up to those sent."""
    ids = add_logins(client, stream_name, 20)
    client.xgroup_create(stream_name, "group", "0")
    name = "c1.0" if workers else "c1"
    ((_, taken),) = client.xreadgroup("group", name, {stream_name: ">"}, count=12)
    client.xdel(stream_name, *[entry_id for entry_id, _ in taken[3:9]])

    consumer = consume(workers=workers, check_backlog=True)

    assert {each.event_id for each in consumer.wait_handled(14)} == {*ids[:3], *ids[9:]}
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert ledger.totals()["deleted"] == ledger.totals()["total"] == 6


# The group was gone.


@pytest.fixture
def gone_group(client: redis.Redis, stream: Stream, stream_name: str) -> list[bytes]:
    """A stream of 20 entries, whose group is gone; it had delivered the first 15, of which 10 were acknowledged."""
    make_group(client, stream_name)
    ids = add_entries(client, stream_name, 20)
    client.xreadgroup("group", "c1", {stream_name: ">"}, count=15)
    client.xgroup_destroy(stream_name, "group")
    return ids


def test_a_group_that_is_made_anew_has_lost_what_was_pending_and_in_nobodys_hands(
    client: redis.Redis, stream: Stream, stream_name: str, ledger: Ledger, gone_group: list[bytes]
) -> None:
    """The stream is the same: what was unread is still there, what was pending with the dead is not."""
    known = Known(pending=5, held=2, unread=5, later=1, oldest=(int(gone_group[10].split(b"-")[0]), 0))

    for _ in range(2):
        make_group_anew(ledger, gone_group[14], known)

    (record,) = records_of(ledger)
    assert (record.reason, record.loss.count, record.loss.last) == ("group_gone", 3, gone_group[14])
    assert ledger.look().unread == 5
    assert client.xinfo_groups(stream_name)[0]["entries-read"] == 15
    assert ledger.totals()["total"] == 3


def test_a_flush_has_lost_what_was_unread_too(
    own_server: EmbeddedServer, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream is another one, though its ids go on: what was pending, unread and waiting for a retry is gone."""
    client = own_server.client()
    stream = Stream(make_client(own_server.url, timeout=10, connect_timeout=10), stream_name)
    make_group(client, stream_name)
    reader = reader_of(stream, "c1")
    ids = add_entries(client, stream_name, 20)
    assert read(reader, 15) == ids[:15]
    client.flushall()
    new = add_entries(client, stream_name, 8)
    client.xtrim(stream_name, 6, approximate=False)
    ledger = Ledger(stream, "group", "test")
    ledger.gaps.added = 20

    known = Known(pending=5, held=2, unread=5, later=4, oldest=split_id(ids[3]))
    make_group_anew(ledger, ids[14], known)

    (record,) = records_of(ledger)
    assert (record.reason, record.loss.count) == ("group_gone", 12)
    # One that waited for its retry is older than what was pending.
    assert record.loss.first == ids[3]
    assert split_id(ids[19]) <= split_id(record.loss.last) < split_id(new[2])
    assert f"Lost 12 events: group group on stream {stream_name}: it was gone; about so many" in caplog.text
    assert read(reader_of(stream, "c1"), 100) == new[2:]
    # What the new stream had lost by then is the group's loss too.
    assert ledger.totals() == {
        "total": 14,
        "trimmed": 2,
        "deleted": 0,
        "skipped": 0,
        "group_gone": 12,
        "forgotten": 0,
        "dropped_dead_letters": 0,
    }
    stream.close()


def test_a_loss_of_unknown_size_is_entered_as_such(
    client: redis.Redis, stream: Stream, ledger: Ledger, gone_group: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody knows what the group had, the record has the ids and the count 0, and the log says so."""
    make_group_anew(ledger, gone_group[14])

    (record,) = records_of(ledger)
    assert (record.reason, record.loss.count) == ("group_gone", 0)
    assert "it is not known how many events" in caplog.text


@BOTH
def test_a_flush_while_consumers_run_leaves_a_record(
    consume: Any, own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """The ledger begins anew with what the flush has cost, entered by the one process that made the group anew."""
    consumer = consume(url=own_server.url, workers=workers).wait_running(workers or 1)
    client = own_server.client()
    consumer.wait_handled(len(add_logins(client, stream_name, 5)))
    client.flushall()
    consumer.wait_handled(5 + len(add_logins(client, stream_name, 20)))

    ledger = Ledger(Stream(make_client(own_server.url, timeout=10, connect_timeout=10), stream_name), "group")
    assert [record.reason for record in records_of(ledger)] == ["group_gone"]
    assert consumer.stop() == 0


@pytest.mark.parametrize("make", [add_entries, lambda *_: None], ids=["in use", "empty"])
def test_the_ledger_of_a_group_without_losses_is_empty(
    client: redis.Redis, stream_name: str, ledger: Ledger, make: Callable[..., Any]
) -> None:
    """No record, and totals of zero."""
    make_group(client, stream_name)
    make(client, stream_name, 10)

    assert ledger.look().lost is None

    assert records_of(ledger) == []
    assert set(ledger.totals().values()) == {0}


def test_a_flush_has_lost_what_waited_for_its_retry(consume: Any, own_server: EmbeddedServer, stream_name: str) -> None:
    """An event that had failed long before the last one was read lies in the range of the record, and is counted."""
    client = own_server.client()
    pool = consume(url=own_server.url, workers=1, max_retries=10).wait_running()
    add_logins(client, stream_name, 1, "raise")
    # Its fourth retry is eight seconds away, and the monitor looks once a second.
    wait_until(lambda: "retry 4 of 10" in pool.log, what="it has failed four times")
    ((failed, _),) = client.xrange(stream_name)
    pool.wait_handled(len(add_logins(client, stream_name, 20)))
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="all are acknowledged")
    seen = looks(client)
    wait_until(lambda: looks(client) >= seen + 2, what="the monitor has looked")
    client.flushall()

    own_client = make_client(own_server.url, timeout=10, connect_timeout=10)
    ledger = Ledger(Stream(own_client, stream_name), "group")
    (record,) = wait_until(lambda: records_of(ledger), what="a record")

    assert split_id(record.loss.first) <= split_id(failed) <= split_id(record.loss.last)
    assert record.loss.count == 1
