"""Events of more bytes than EVENT_BUS_REDIS_MAX_EVENT_BYTES: not sent, not handled, and never held for long."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings

from edx_event_bus_redis import EventsNotDelivered, OutgoingEvent
from edx_event_bus_redis.internal.again import AgainStream
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.errors import EventTooLarge
from edx_event_bus_redis.internal.letter import encode_facts
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.producer import RedisEventProducer
from edx_event_bus_redis.internal.sizes import READ_AHEAD_BYTES, size_of
from edx_event_bus_redis.internal.stream import Stream
from tests.support.dead_letters import dead_letters
from tests.support.events import SIGNAL, TOPIC, add_logins, login_data, login_fields
from tests.support.reading import reader_of, take_over_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_version

MEBIBYTE = 1024 * 1024

LARGEST = 10_000


@pytest.fixture
def stream(url: str, stream_name: str, client: redis.Redis) -> Stream:
    """A stream with a group, whose entries may have LARGEST bytes."""
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    return Stream(make_client(url, timeout=30, connect_timeout=5), stream_name, LARGEST)


@pytest.fixture
def small_limit() -> Iterator[None]:
    with override_settings(EVENT_BUS_REDIS_MAX_EVENT_BYTES=LARGEST):
        yield


def deliver(producer: RedisEventProducer, username: str) -> bytes:
    return producer.deliver(
        signal=SIGNAL,
        topic=TOPIC,
        event_key_field="",
        event_data=login_data(order=username),
        event_metadata=SIGNAL.generate_signal_metadata(),
    )


def add(client: redis.Redis, key: str, size: int, count: int = 1) -> list[bytes]:
    """Append entries with a field of so many bytes; return their ids."""
    fields = [*login_fields(), b"more", b"x" * size]
    return [client.execute_command("XADD", key, "*", *fields) for _ in range(count)]


# A producer.


def test_an_event_of_just_the_limit_is_sent(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str
) -> None:
    """The limit is what the names and values of all fields have; one byte more is refused, with a line that says it."""
    size = size_of(login_fields(order="u" * 5000))
    deliver(producer, "u" * 5000)
    ((_, fields),) = client.xrange(stream_name)
    sent = sum(len(name) + len(value) for name, value in fields.items())
    with override_settings(EVENT_BUS_REDIS_MAX_EVENT_BYTES=sent):
        deliver(producer, "u" * 5000)
    with override_settings(EVENT_BUS_REDIS_MAX_EVENT_BYTES=sent - 1), pytest.raises(EventTooLarge) as caught:
        deliver(producer, "u" * 5000)

    assert abs(sent - size) < 100
    assert client.xlen(stream_name) == 2
    assert f"{sent} bytes, more than the {sent - 1} that EVENT_BUS_REDIS_MAX_EVENT_BYTES allows" in str(caught.value)


def test_an_event_that_is_too_large_is_logged_like_any_that_is_not_sent(
    producer: RedisEventProducer,
    client: redis.Redis,
    stream_name: str,
    small_limit: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """send() does not raise, and its line names size, limit and setting."""
    producer.send(
        signal=SIGNAL,
        topic=TOPIC,
        event_key_field="",
        event_data=login_data(order="u" * LARGEST),
        event_metadata=SIGNAL.generate_signal_metadata(),
    )

    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert "error=EventTooLarge: the event has 1" in line
    assert f"more than the {LARGEST} that EVENT_BUS_REDIS_MAX_EVENT_BYTES allows" in line
    assert not client.exists(stream_name)


def test_of_many_events_those_that_are_too_large_are_left_out(
    producer: RedisEventProducer, client: redis.Redis, stream_name: str, small_limit: None
) -> None:
    """send_many() sends the others, and tells which were not."""
    events = [
        OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data(number, order))
        for number, order in enumerate(["a", "u" * LARGEST, "b"])
    ]

    with pytest.raises(EventsNotDelivered) as caught:
        producer.send_many(events)

    (failure,) = caught.value.failures
    assert (failure.position, type(failure.error), failure.uncertain) == (1, EventTooLarge, False)
    assert client.xlen(stream_name) == 2


def test_the_command_says_in_a_line_that_an_event_is_too_large(bus_settings: None, small_limit: None) -> None:
    """``produce_event`` ends with an error, and no traceback."""
    data = {"user": {"id": 1, "is_active": True, "pii": {"username": "u" * LARGEST, "email": "e"}}}

    with pytest.raises(CommandError, match="more than the 10000 that EVENT_BUS_REDIS_MAX_EVENT_BYTES allows"):
        call_command("produce_event", signal=[SIGNAL.event_type], topic=[TOPIC], data=[json.dumps(data)])


# What is read.


def test_of_what_is_too_large_only_short_fields_are_kept(stream: Stream, client: redis.Redis, stream_name: str) -> None:
    """Whether it is read for the first time or again, an entry has its headers, its size, and nothing large."""
    size = size_of([*login_fields(), b"more"]) + LARGEST
    add(client, stream_name, LARGEST)

    (first,), _ = stream.read_new_after((), "group", "c1", 10)
    (again,) = stream.read_pending("group", "c1", b"0-0", 10)

    assert first == again
    assert first.size == size
    assert b"more" not in (first.fields or [])
    assert first.event_id is not None
    assert not first.is_gone


def test_what_has_nothing_short_is_not_taken_for_gone(stream: Stream, client: redis.Redis, stream_name: str) -> None:
    """An entry of one large field is there, though nothing of it is kept."""
    client.xadd(stream_name, {"f": "x" * LARGEST})

    batch = reader_of(stream, "c1").read(10)

    assert [(entry.fields, entry.size) for entry in batch.entries] == [([], LARGEST + 1)]
    assert batch.gone == []


def test_pending_entries_are_read_in_portions(url: str, stream: Stream, client: redis.Redis, stream_name: str) -> None:
    """Of many large entries only so many are read in one go as have the bytes that a process reads ahead."""
    large = Stream(make_client(url, timeout=30, connect_timeout=5), stream_name)
    ids = add(client, stream_name, 3 * MEBIBYTE, 8)
    large.read_new_after((), "group", "c1", 10)

    portion = large.read_pending("group", "c1", b"0-0", 10)
    rest = large.read_pending("group", "c1", portion[-1].id, 10)

    assert [entry.id for entry in [*portion, *rest]] == ids
    assert sum(entry.size for entry in portion[:-1]) < READ_AHEAD_BYTES <= sum(entry.size for entry in portion)


def test_more_than_is_read_ahead_is_left_pending(
    url: str, stream: Stream, client: redis.Redis, stream_name: str
) -> None:
    """A batch that turns out too large is cut, and the rest is read in its turn: none is lost, none is double."""
    reader = reader_of(Stream(make_client(url, timeout=30, connect_timeout=5), stream_name), "c1")
    ids = add(client, stream_name, 3 * MEBIBYTE, 10)

    batches = []
    for _ in range(4):
        batches.append([entry.id for entry in reader.read(10).entries])
        reader.acknowledge(batches[-1] or ids[:1])

    assert [len(batch) for batch in batches] == [6, 4, 0, 0]
    assert list(itertools.chain(*batches)) == ids


def test_what_is_taken_over_is_taken_in_portions(
    url: str, stream: Stream, client: redis.Redis, stream_name: str
) -> None:
    """Also from another consumer; what is too large comes without what makes it so."""
    stream.read_new_after((), "group", "other", 100)
    (giant,) = add(client, stream_name, 8 * MEBIBYTE)
    ids = add(client, stream_name, 3 * MEBIBYTE, 10)
    own = Stream(make_client(url, timeout=30, connect_timeout=5), stream_name, 4 * MEBIBYTE)
    own.read_new_after((), "group", "other", 100)
    GroupStore(own._client, stream_name, "group", "other").leave()
    take_over = take_over_of(own, "c1", 1)

    taken = take_over.take(100)
    entries = own.parsed(taken.entries)

    assert [entry.id for entry in entries] == [giant, *ids[:6]]
    assert entries[0].size > 8 * MEBIBYTE
    assert size_of(entries[0].fields) < 1000
    assert taken.more
    assert [entry.id for entry in own.parsed(take_over.take(100).entries)] == ids[6:]


def test_what_a_dead_worker_had_is_returned_in_portions(
    url: str, stream: Stream, client: redis.Redis, stream_name: str
) -> None:
    """The successor gets what it can hold, and finds the rest among its own pending entries."""
    ids = add(client, stream_name, 3 * MEBIBYTE, 10)
    stream.read_new_after((), "group", "c1", 100)
    store = GroupStore(stream._client, stream_name, "group", "c1")

    large = store.reclaim(ids, again=False)
    small = store.reclaim(ids, again=False, largest=LARGEST)

    assert len(large.entries) == 6
    assert [entry.size > LARGEST for entry in stream.parsed(small.entries)] == [True] * 10
    assert (large.lost, small.lost) == (None, None)


def test_retries_become_due_in_portions(stream: Stream, client: redis.Redis, stream_name: str) -> None:
    """A script moves no more bytes at once than a process reads ahead, and knows the origins of no more."""
    store = GroupStore(stream._client, stream_name, "group", "c1")
    ids = add(client, stream_name, 3 * MEBIBYTE, 10)
    entries = [Entry(entry_id, [b"a", b"x" * 3 * MEBIBYTE]) for entry_id in ids]
    own = Stream(stream._client, stream_name)
    own.read_new_after((), "group", "c1", 100)
    for entry in entries:
        assert store.retry_later(entry, 0.0)

    waiting = store.waiting()
    moved = [store.promote().waiting for _ in range(3)]

    assert (waiting.number, len(waiting.origins), waiting.are_too_many) == (10, 6, True)
    assert moved == [6, 10, 10]
    assert len(store.waiting().origins) == 6


# What becomes of it.


def test_what_is_too_large_is_a_dead_letter_and_can_be_replayed_when_it_is_not(
    consume: Any, client: redis.Redis, stream_name: str, bus_settings: None
) -> None:
    """The dead letter has the headers; with a higher limit its event is taken from the stream."""
    settings = {"EVENT_BUS_REDIS_MAX_EVENT_BYTES": LARGEST}
    consumer = consume(workers=1, check_backlog=True, settings=settings).wait_running(1)
    client.execute_command("XADD", stream_name, "*", *login_fields(1, "u" * LARGEST))
    add_logins(client, stream_name, 5)
    consumer.wait_handled(5)
    (letter,) = wait_until(lambda: dead_letters(client, stream_name), what="a dead letter")
    assert consumer.stop() == 0

    def command(*arguments: str) -> str:
        out = StringIO()
        call_command("event_bus_dead_letters", *arguments, "-t", TOPIC, "-g", "group", stdout=out)
        return out.getvalue()

    (listed,) = json.loads(command("list", "--json"))
    size = listed["too_large"]

    assert letter["dead_cause"] == (
        f"not usable: the event has {size} bytes, more than the {LARGEST} that EVENT_BUS_REDIS_MAX_EVENT_BYTES allows"
    )
    assert (letter["type"], listed["event_type"]) == (SIGNAL.event_type, SIGNAL.event_type)
    assert "short fields, which is all that was kept:" in command("show", "--all")
    assert b"event_data" not in letter.raw
    with (
        override_settings(**settings),
        pytest.raises(CommandError, match=f"{listed['id']}, the event has {size} bytes"),
    ):
        command("replay", "--all")
    assert "replayed 1 dead letter" in command("replay", "--all")
    again = consume(workers=1, check_backlog=True).wait_running(1)
    again.wait_handled(6)
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_what_is_too_large_and_gone_cannot_be_replayed(
    client: redis.Redis, stream: Stream, stream_name: str, bus_settings: None
) -> None:
    """A dead letter whose event was trimmed stays one, and the command says why."""
    (entry_id,) = add(client, stream_name, LARGEST)
    (entry,), _ = stream.read_new_after((), "group", "c1", 1)
    store = GroupStore(stream._client, stream_name, "group", "c1")
    assert store.bury(entry, encode_facts(entry, cause="too large", deliveries=1, consumer="c1"), 100)
    client.xdel(stream_name, entry_id)

    with pytest.raises(CommandError, match=f"{entry_id.decode()} is gone"):
        call_command("event_bus_dead_letters", "replay", "--all", topic=TOPIC, group_id="group", stdout=StringIO())

    assert len(dead_letters(client, stream_name)) == 1
    assert not client.exists(group_key(stream_name, "again", "group"))


def test_what_was_put_back_is_still_too_large(stream: Stream, client: redis.Redis, stream_name: str) -> None:
    """An entry that was dropped while a consumer had it is delivered again as what it was, with its size."""
    add(client, stream_name, LARGEST)
    (entry,), _ = stream.read_new_after((), "group", "c1", 1)
    store = GroupStore(stream._client, stream_name, "group", "c1")
    client.xgroup_destroy(stream_name, "group")

    assert store.put_back([entry]) == 1
    store.promote()
    again = AgainStream(stream._client, store.again, LARGEST)
    (delivered,), _ = again.read_new_after((), "group", "c1", 1)

    assert (delivered.fields, delivered.size, delivered.origin) == (entry.fields, entry.size, entry.id)


def test_what_was_not_too_large_for_another_is_for_this_one(
    stream: Stream, client: redis.Redis, stream_name: str
) -> None:
    """An event that waits for its retry while the limit is lowered is too large when it is due."""
    (entry_id,) = add(client, stream_name, LARGEST)
    (entry,), _ = Stream(stream._client, stream_name).read_new_after((), "group", "c1", 1)
    store = GroupStore(stream._client, stream_name, "group", "c1")
    assert store.retry_later(entry, 0.0)
    store.promote()

    (delivered,), _ = AgainStream(stream._client, store.again, LARGEST).read_new_after((), "group", "c1", 1)

    assert (delivered.size, delivered.origin, delivered.failures) == (entry.size, entry_id, 1)
    assert b"more" not in (delivered.fields or [])
