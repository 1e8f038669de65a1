"""Somebody deletes the group or the consumer: what is in hand is settled as it would have been, once."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from openedx_events.data import EventsMetadata

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.again import AgainStream
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.group import Known, make_group_anew
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.letter import encode_facts
from edx_event_bus_redis.internal.losses import Loss
from edx_event_bus_redis.internal.message import Entry, split_id
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.stream import Stream
from tests.support.consuming import ConsumerProcess
from tests.support.dead_letters import dead_letters
from tests.support.events import SIGNAL, add_logins, login_fields
from tests.support.ledgers import records_of
from tests.support.reading import add_entries, make_group, take_over_of
from tests.support.troubles import BOTH, NAMES, looks, nothing_pending
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]


def destroy_group(client: redis.Redis, stream: str) -> None:
    client.xgroup_destroy(stream, "group")


def delete_consumers(client: redis.Redis, stream: str) -> None:
    for name in itertools.chain(*NAMES.values()):
        if name.encode() in {each["name"] for each in client.xinfo_consumers(stream, "group")}:
            client.xgroup_delconsumer(stream, "group", name)


def flush(client: redis.Redis, _: str) -> None:
    client.flushall()


def delete_stream(client: redis.Redis, stream: str) -> None:
    client.delete(stream)


Drop = Callable[[redis.Redis, str], None]
ALL = pytest.mark.parametrize("drop", [destroy_group, delete_consumers, flush, delete_stream])
STREAM_STAYS = pytest.mark.parametrize("drop", [destroy_group, delete_consumers])
STREAM_GOES = pytest.mark.parametrize("drop", [flush, delete_stream])


def wait_for_group(client: redis.Redis, stream: str) -> None:
    """Wait until there is a group again."""
    wait_until(lambda: client.exists(stream) and client.xinfo_groups(stream), what="the group is made anew")


def dead_events(client: redis.Redis, stream: str) -> list[str]:
    """The ids of the events that are dead letters."""
    return [letter["id"] for letter in dead_letters(client, stream)]


def ledger_of(server: EmbeddedServer, stream: str) -> Ledger:
    return Ledger(Stream(make_client(server.url, timeout=10, connect_timeout=10), stream), "group")


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """A file that an event in hand waits for."""
    return tmp_path / "go"


@pytest.fixture
def drop_in_hand(
    consume_here: Callable[..., ConsumerProcess], server_client: redis.Redis, stream_name: str, go: Path, drop: Drop
) -> Callable[..., tuple[ConsumerProcess, list[str]]]:
    """Start a consumer with these options, drop the event that it has in hand, and return it and the event's ids."""

    def start(order: str, **options: Any) -> tuple[ConsumerProcess, list[str]]:
        consumer = consume_here(**options)
        ids = add_logins(server_client, stream_name, 1, f"wait:{go},{order}")
        wait_until(consumer.begun, what="it has begun")
        drop(server_client, stream_name)
        if options["workers"]:
            # By the monitor. A consumer without one finds out when it reads next.
            wait_for_group(server_client, stream_name)
        return consumer, ids

    return start


# In the hands of a consumer that lives.


@BOTH
@ALL
def test_an_event_that_fails_after_it_was_dropped_becomes_a_dead_letter(
    drop_in_hand: Callable[..., tuple[ConsumerProcess, list[str]]],
    server_client: redis.Redis,
    stream_name: str,
    go: Path,
    workers: int | None,
) -> None:
    """As it would have if it had been pending all the time."""
    consumer, ids = drop_in_hand("raise", workers=workers)

    go.touch()

    wait_until(lambda: dead_events(server_client, stream_name), what="a dead letter")
    consumer.wait_handled(len(add_logins(server_client, stream_name, 3)))
    assert dead_events(server_client, stream_name) == ids
    assert "was not pending for it any more" not in consumer.log


@ALL
def test_an_event_that_fails_after_it_was_dropped_is_tried_again(
    drop_in_hand: Callable[..., tuple[ConsumerProcess, list[str]]],
    server_client: redis.Redis,
    stream_name: str,
    go: Path,
) -> None:
    """It is handled once."""
    consumer, ids = drop_in_hand("fail_once:a", workers=2, max_retries=1)

    go.touch()

    assert [each.event_id for each in consumer.wait_handled(1)] == ids
    consumer.wait_handled(1 + len(add_logins(server_client, stream_name, 3)))
    assert consumer.stop() == 0
    assert len(consumer.handled()) == 4
    assert dead_events(server_client, stream_name) == []


@pytest.fixture
def reads_ahead(
    consume_here: Callable[..., ConsumerProcess], server_client: redis.Redis, stream_name: str, go: Path
) -> tuple[ConsumerProcess, list[str]]:
    """A pool of one, which has one event in hand, that waits for the file ``go``, and 9 ahead; and their ids."""
    pool = consume_here(workers=1)
    pool.wait_handled(len(add_logins(server_client, stream_name, 200)))
    nothing_pending(server_client, stream_name)
    metadata = [EventsMetadata(event_type=SIGNAL.event_type) for _ in range(10)]
    with server_client.pipeline() as step:
        for number, each in enumerate(metadata):
            step.xadd(stream_name, fields_of(login_fields(0, "ok" if number else f"wait:{go}", each)))
        step.execute()
    wait_until(lambda: len(pool.begun()) == 201, what="the first has begun")
    assert server_client.xpending(stream_name, "group")["pending"] == 10
    seen = looks(server_client)
    wait_until(lambda: looks(server_client) >= seen + 4, what="the monitor has looked")
    return pool, [str(each.id) for each in metadata]


def fields_of(fields: list[bytes]) -> Any:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def handled_once(pool: ConsumerProcess, ids: list[str]) -> None:
    """Hold that these events are handled, and nothing is handled again but what was in hand."""
    assert {each.event_id for each in pool.wait_handled(200 + len(ids))} >= set(ids)
    assert len(pool.handled()) == 200 + len(ids)


@ALL
def test_what_was_read_ahead_and_dropped_is_handled_after_a_long_wait(
    reads_ahead: tuple[ConsumerProcess, list[str]],
    server_client: redis.Redis,
    stream_name: str,
    go: Path,
    drop: Drop,
) -> None:
    """It has waited too long to be begun, because somebody may have claimed it: but nobody has."""
    pool, ids = reads_ahead
    drop(server_client, stream_name)
    wait_for_group(server_client, stream_name)
    # Longer than what was read ahead may wait.
    time.sleep(5.5)

    go.touch()

    handled_once(pool, ids)
    wait_until(lambda: not server_client.xlen(f"{{{stream_name}}}:again:group"), what="nothing is delivered again")
    assert pool.stop() == 0


@ALL
def test_what_was_read_ahead_and_dropped_is_handled_by_a_successor(
    reads_ahead: tuple[ConsumerProcess, list[str]],
    server_client: redis.Redis,
    stream_name: str,
    go: Path,
    drop: Drop,
) -> None:
    """A worker that gives way hands on what it has not begun, though Redis knows nothing of that any more."""
    pool, ids = reads_ahead
    drop(server_client, stream_name)
    wait_for_group(server_client, stream_name)
    pool.terminate(signal.SIGHUP)
    wait_until(lambda: "SIGHUP" in pool.log, what="the pool is being renewed")

    go.touch()

    handled_once(pool, ids)
    assert pool.stop() == 0


# In the hands of a worker that dies.


@STREAM_STAYS
def test_what_a_dead_worker_had_is_handled_by_its_replacement(
    reads_ahead: tuple[ConsumerProcess, list[str]],
    server_client: redis.Redis,
    stream_name: str,
    go: Path,
    drop: Drop,
) -> None:
    """What it had in hand, and what it had read ahead; and nothing of it is said to be lost."""
    pool, ids = reads_ahead
    drop(server_client, stream_name)
    wait_for_group(server_client, stream_name)

    os.kill(pool.worker_pids()[0], signal.SIGKILL)
    go.touch()

    handled_once(pool, ids)
    nothing_pending(server_client, stream_name)
    assert "Lost" not in pool.log
    assert pool.stop() == 0


@STREAM_GOES
def test_what_a_dead_worker_had_of_a_stream_that_is_gone_is_in_the_ledger(
    reads_ahead: tuple[ConsumerProcess, list[str]],
    own_server: EmbeddedServer,
    server_client: redis.Redis,
    stream_name: str,
    drop: Drop,
) -> None:
    """Exactly that, with its range of ids, and once."""
    pool, _ = reads_ahead
    entries = [entry_id for entry_id, _ in server_client.xrange(stream_name)][200:]
    drop(server_client, stream_name)
    wait_for_group(server_client, stream_name)

    os.kill(pool.worker_pids()[0], signal.SIGKILL)

    ledger = ledger_of(own_server, stream_name)
    wait_until(lambda: "when the worker died" in pool.log, what="it is said")
    pool.wait_handled(200 + len(add_logins(server_client, stream_name, 3)))
    (record,) = [record for record in records_of(ledger) if record.loss.count]
    assert (record.reason, record.loss.count) == ("group_gone", 10)
    assert (record.loss.first, record.loss.last) == (entries[0], entries[-1])
    assert ledger.totals()["total"] == 10
    assert f"Lost 10 events: group group on stream {stream_name} was gone" in pool.log


@STREAM_STAYS
def test_an_event_that_kills_after_it_was_dropped_is_started_so_often_and_no_more(
    drop_in_hand: Callable[..., tuple[ConsumerProcess, list[str]]],
    server_client: redis.Redis,
    stream_name: str,
    go: Path,
) -> None:
    """The start at which it was dropped counts like any other."""
    pool, ids = drop_in_hand("kill", workers=1, max_deliveries=2)

    go.touch()

    wait_until(lambda: dead_events(server_client, stream_name) == ids, what="a dead letter")
    assert len(pool.begun()) == 2


# Not dropped, but finished by somebody else.


@pytest.fixture
def group(url: str, client: redis.Redis, stream_name: str) -> Iterator[Stream]:
    """A stream of 5 entries, which c1.0 has read."""
    stream = Stream(make_client(url, timeout=10, connect_timeout=10), stream_name)
    make_group(client, stream_name)
    add_entries(client, stream_name, 5)
    client.xreadgroup("group", "c1.0", {stream_name: ">"})
    # What is entered into the ledger in the millisecond of an entry counts as older than that.
    last = split_id(stream.entries(b"-", b"+", 100)[-1].id)[0]
    wait_until(lambda: stream.milliseconds() > last, what="the next millisecond")
    yield stream
    stream.close()


def store_of(stream: Stream, consumer: str = "c1.0") -> GroupStore:
    return GroupStore(stream._client, stream.key, "group", consumer)


def entries_of(stream: Stream) -> list[Entry]:
    return stream.entries(b"-", b"+", 100)


def bury(store: GroupStore, entry: Entry) -> bool:
    return store.bury(entry, encode_facts(entry, cause="", deliveries=1, consumer=""), 100) is not None


def take_over(stream: Stream, claimant: str) -> list[Entry]:
    """Have a consumer take over whatever others have."""
    return stream.parsed(take_over_of(stream, claimant, older_than=0).take(100).entries)


def test_what_was_taken_over_and_finished_is_not_settled_again(client: redis.Redis, group: Stream) -> None:
    """The pool seemed to be gone, and its consumers were removed then: its events are another one's business."""
    taken = take_over(group, "c2.0")
    group.acknowledge("group", [entry.id for entry in taken])
    client.xgroup_delconsumer(group.key, "group", "c1.0")
    store = store_of(group)

    assert len(taken) == 5
    assert not bury(store, taken[0])
    assert not store.retry_later(taken[1], 0)
    assert store.put_back(taken) == 0
    assert store.reclaim([entry.id for entry in taken], again=False) == ([], None)
    assert client.xpending(group.key, "group")["pending"] == 0
    assert not client.exists(store.dead, store.later)


def test_what_another_one_has_is_its_own_to_settle(client: redis.Redis, group: Stream) -> None:
    """Whoever was cut off, and fails with what was taken over meanwhile, does not settle it for the one that has it."""
    taken, store = take_over(group, "c2.0"), store_of(group)

    assert len(taken) == 5
    assert not bury(store, taken[0])
    assert not store.retry_later(taken[1], 0)
    assert store.put_back(taken) == 0
    assert store.reclaim([entry.id for entry in taken], again=False) == ([], None)
    assert client.xpending(group.key, "group")["consumers"] == [{"name": b"c2.0", "pending": 5}]
    assert not client.exists(store.dead, store.later)
    # They are suspects of the one that has them.
    assert client.hlen(store.starts) == 5
    assert bury(store_of(group, "c2.0"), taken[0])


def test_suspects_that_somebody_has_acknowledged_are_forgotten(client: redis.Redis, group: Stream) -> None:
    """What is in hand is not pending any more: nobody will ever ask again how often it was started."""
    taken = take_over(group, "c2.0")
    store = store_of(group, "c2.0")
    client.xack(group.key, "group", *(entry.id for entry in taken))

    assert store.put_back(taken[:2]) == 0
    assert client.hlen(store.starts) == 3
    assert store.reclaim([entry.id for entry in taken[2:]], again=False) == ([], None)
    assert not client.exists(store.starts)


def test_what_was_taken_back_and_dropped_is_settled(client: redis.Redis, group: Stream) -> None:
    """Another consumer took it over, and this one took it over again: that it was taken is past."""
    take_over(group, "c2.0")
    taken = take_over(group, "c1.0")
    client.xgroup_delconsumer(group.key, "group", "c1.0")

    assert len(taken) == 5
    assert bury(store_of(group), taken[0])


def test_what_somebody_has_acknowledged_is_not_settled(client: redis.Redis, group: Stream) -> None:
    """The consumer is in its group: then what is not pending was finished."""
    entries = entries_of(group)
    client.xack(group.key, "group", *(entry.id for entry in entries))
    store = store_of(group)

    assert not bury(store, entries[0])
    assert store.put_back(entries) == 0
    assert store.reclaim([entries[1].id], again=False) == ([], None)
    assert client.xpending(group.key, "group")["pending"] == 0


@pytest.mark.parametrize("drop", [destroy_group, delete_consumers])
def test_what_was_dropped_is_settled_once(client: redis.Redis, group: Stream, drop: Drop) -> None:
    """A reply is lost, and the consumer asks once more: there is one dead letter, and one retry."""
    entries = entries_of(group)
    drop(client, group.key)
    store = store_of(group)

    assert [bury(store, entries[0]) for _ in range(2)] == [True, False]
    assert [store.retry_later(entries[1], 0) for _ in range(2)] == [True, False]
    assert [store.put_back(entries) for _ in range(2)] == [3, 0]
    assert client.xlen(store.dead) == 1
    assert client.zcard(store.later) == 4


def test_what_a_group_that_was_made_anew_delivers_again_is_its_own_business(client: redis.Redis, group: Stream) -> None:
    """Another pool made it, which had seen less: what lies behind its cursor was delivered to somebody and handled."""
    entries = entries_of(group)
    client.xgroup_destroy(group.key, "group")
    make_group_anew(Ledger(group, "group", "c2"), entries[2].id, Known())
    ((_, again),) = client.xreadgroup("group", "c2.0", {group.key: ">"})
    client.xack(group.key, "group", *(entry_id for entry_id, _ in again))
    store = store_of(group)

    assert [entry_id for entry_id, _ in again] == [entries[3].id, entries[4].id]
    assert not bury(store, entries[3])
    assert store.put_back(entries) == 3
    assert store.reclaim([entries[4].id], again=False) == ([], None)


@pytest.mark.parametrize("drop", [destroy_group, delete_consumers, lambda *_: None])
def test_a_replacement_has_in_hand_at_once_what_its_predecessor_had(
    client: redis.Redis, group: Stream, drop: Drop
) -> None:
    """Dropped or not, it is pending then; what was deleted while it was pending is not among it, nor another one's."""
    entries = entries_of(group)
    drop(client, group.key)
    make_group_anew(Ledger(group, "group", "c1"), entries[-1].id, Known())
    if client.xpending(group.key, "group")["pending"]:
        client.xclaim(group.key, "group", "c2.0", 0, [entries[0].id])
        client.xdel(group.key, entries[1].id)
        entries = entries[2:]
    ids = [entry.id for entry in entries]

    reclaimed = [store_of(group).reclaim(ids, again=False) for _ in range(2)]

    assert [(group.parsed(raw), lost) for raw, lost in reclaimed] == [(entries, None)] * 2
    assert [each["message_id"] for each in client.xpending_range(group.key, "group", "-", "+", 9, "c1.0")][-3:] == ids[
        -3:
    ]


def test_what_the_stream_does_not_have_any_more_is_lost_once(client: redis.Redis, group: Stream) -> None:
    """A reply is lost, and the replacement asks once more."""
    ids = [entry.id for entry in entries_of(group)]
    client.xgroup_delconsumer(group.key, "group", "c1.0")
    client.xdel(group.key, ids[1], ids[3])
    store = store_of(group)

    first, second = (store.reclaim([ids[3], ids[1]], again=False) for _ in range(2))

    assert first == ([], Loss(2, ids[1], ids[3]))
    assert second == ([], None)
    assert Ledger(group, "group").totals()["group_gone"] == 2


def test_retries_that_were_dropped_are_settled_as_well(client: redis.Redis, group: Stream) -> None:
    """They are of a stream of the group's own: there they are deleted when they are settled."""
    store = store_of(group)
    for entry in entries_of(group)[:3]:
        assert store.retry_later(entry, 0)
    assert store.promote().waiting == 3
    again = AgainStream(group._client, store.again)
    entries, _ = again.read_new_after((), "group", "c1.0", 10)
    client.xgroup_delconsumer(store.again, "group", "c1.0")

    assert bury(store, entries[0])
    assert store.put_back(entries) == 2

    assert client.xlen(store.again) == 0
    assert client.zcard(store.later) == 2
    assert store.promote().waiting == 2
    assert [entry.failures for entry in again.read_new_after((), "group", "c1.0", 10)[0]] == [1, 1]
