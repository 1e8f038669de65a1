"""Dead letters that have to make room for newer ones: their events are gone for good, and that is counted and said."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.core.management import call_command

from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.letter import encode_facts
from edx_event_bus_redis.internal.losses import Loss
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.private import Buried, GroupStore
from edx_event_bus_redis.internal.stream import Stream
from tests.support.dead_letters import dead_letters
from tests.support.events import add_logins
from tests.support.ledgers import records_of
from tests.support.reading import make_group
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]


@pytest.fixture
def stream(url: str, client: redis.Redis, stream_name: str) -> Iterator[Stream]:
    """A stream with a group."""
    stream = Stream(make_client(url, timeout=10, connect_timeout=10), stream_name)
    make_group(client, stream_name)
    yield stream
    stream.close()


@pytest.fixture
def ledger(stream: Stream) -> Ledger:
    """The ledger of the group."""
    return Ledger(stream, "group")


def here(*arguments: str) -> str:
    """Run the command that shows the status, and return what it printed."""
    out = io.StringIO()
    call_command("event_bus_status", *arguments, stdout=out)
    return out.getvalue()


class Burying:
    """Makes dead letters of new entries of a stream."""

    def __init__(self, url: str, client: redis.Redis, stream: str) -> None:
        self.store = GroupStore(make_client(url, timeout=10, connect_timeout=10), stream, "group", "c1")
        self._client = client
        self._stream = stream

    def read(self, size: int = 1) -> Entry:
        """Return a new entry, which is pending."""
        entry_id = self._client.xadd(self._stream, {"a": "b" * size})
        self._client.xreadgroup("group", "c1", {self._stream: ">"})
        return Entry(entry_id, [b"a", b"b" * size])

    def bury(self, entry: Entry, most: int) -> Buried:
        """Make a dead letter of it, of which so many are to be kept."""
        buried = self.store.bury(entry, encode_facts(entry, cause="", deliveries=1, consumer="c1"), most)
        assert buried is not None
        return buried

    def letters(self) -> list[bytes]:
        """Return the ids of the entries of which there are dead letters."""
        return [letter.raw[b"dead_entry_id"] for letter in dead_letters(self._client, self._stream)]


@pytest.fixture
def burying(url: str, client: redis.Redis, stream: Stream) -> Burying:
    """Makes dead letters."""
    return Burying(url, client, stream.key)


def test_the_oldest_make_room_and_are_in_the_ledger(burying: Burying, ledger: Ledger) -> None:
    """With the ids that their events had, whatever order they became dead letters in."""
    entries = [burying.read() for _ in range(22)]
    first, second, *others = entries
    for entry in (second, first, *others[:-1]):
        assert burying.bury(entry, 20).dropped is None
    assert len(burying.letters()) == 21

    buried = burying.bury(others[-1], 19)

    assert buried == Buried(Loss(3, first.id, others[0].id), "")
    assert burying.letters() == [entry.id for entry in others[1:]]
    (record,) = records_of(ledger)
    assert (record.reason, record.loss, record.by) == ("dropped_dead_letters", buried.dropped, "c1")
    assert ledger.totals()["dropped_dead_letters"] == ledger.totals()["total"] == 3


def test_none_is_dropped_where_there_is_room(burying: Burying, ledger: Ledger) -> None:
    """As many as are to be kept are kept."""
    for _ in range(5):
        assert burying.bury(burying.read(), 5) == Buried(None, "")

    assert len(burying.letters()) == 5
    assert ledger.totals()["total"] == 0


def test_a_cap_that_was_lowered_is_reached_step_by_step(burying: Burying, ledger: Ledger) -> None:
    """No step drops more than some, so that none holds the server up."""
    for _ in range(450):
        burying.bury(burying.read(), 1000)

    dropped = [burying.bury(burying.read(), 3).dropped for _ in range(3)]

    assert [each and each.count for each in dropped] == [200, 200, 50]
    assert len(burying.letters()) == 3
    assert ledger.totals()["dropped_dead_letters"] == 450


def test_large_ones_are_dropped_a_few_at_once(burying: Burying) -> None:
    """What is looked at before it goes is no more than some megabytes."""
    for _ in range(12):
        burying.bury(burying.read(3_000_000), 1000)

    dropped = burying.bury(burying.read(), 1).dropped

    assert dropped is not None
    assert dropped.count == 6


def test_what_somebody_else_has_put_there_is_dropped_by_its_own_id(
    burying: Burying, client: redis.Redis, ledger: Ledger
) -> None:
    """It is none of ours, so the id of an entry is not known."""
    foreign = client.xadd(burying.store.dead, {"a": "b"})
    named = client.xadd(burying.store.dead, dict.fromkeys(["dead_entry_id", *map(str, range(9))], "none"))

    assert burying.bury(burying.read(), 1).dropped == Loss(2, foreign, named)


def test_nothing_is_dropped_that_the_ledger_cannot_take(burying: Burying, client: redis.Redis, ledger: Ledger) -> None:
    """The new dead letter is there, and so are the old ones; once the ledger is mended they go."""
    client.set(ledger.key, "somebody else's")

    buried = [burying.bury(burying.read(), 1) for _ in range(3)]

    assert [each.dropped for each in buried] == [None] * 3
    assert [bool(each.trouble) for each in buried] == [False, True, True]
    assert "WRONGTYPE" in buried[-1].trouble
    assert ledger.key in buried[-1].trouble
    assert len(burying.letters()) == 3
    assert client.xpending(ledger.stream.key, "group")["pending"] == 0

    client.delete(ledger.key)
    dropped = burying.bury(burying.read(), 1).dropped
    assert dropped is not None
    assert dropped.count == 3


def test_sent_is_handled_and_dead_and_lost(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger, bus_settings: None
) -> None:
    """A consumer says what went, in few lines and one error for the first; status and check tell it as well."""
    consumer = consume(settings={"EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN": 10}).wait_running()
    add_logins(client, stream_name, 60, "raise")
    add_logins(client, stream_name, 5)
    consumer.wait_handled(5)
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert consumer.stop() == 0

    letters, lost = len(dead_letters(client, stream_name)), ledger.totals()["dropped_dead_letters"]
    assert 10 <= letters <= 11
    assert 5 + letters + lost == 65
    said = re.findall(r"Lost (\d+) events? that had failed: group group on stream", consumer.log)
    assert sum(map(int, said)) == lost
    # At once, every ten seconds, and in the end.
    assert len(said) < len(records_of(ledger, 100))
    assert f"{lost} dropped dead letters" in here()
    (group,) = json.loads(here("--json"))["streams"][0]["groups"]
    assert (group["lost"], group["lost_by_reason"]["dropped_dead_letters"]) == (lost, lost)


def test_a_consumer_says_that_it_cannot_drop(
    consume: Any, client: redis.Redis, stream_name: str, ledger: Ledger
) -> None:
    """Once, though more and more become dead letters; and once that it can again."""
    client.set(ledger.key, "somebody else's")
    consumer = consume(settings={"EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN": 1}).wait_running()
    add_logins(client, stream_name, 5, "raise")
    wait_until(lambda: len(dead_letters(client, stream_name)) == 5, what="five dead letters")
    client.delete(ledger.key)
    add_logins(client, stream_name, 1, "raise")
    wait_until(lambda: len(dead_letters(client, stream_name)) == 1, what="one dead letter")
    assert consumer.stop() == 0

    assert consumer.log.count("cannot be checked for losses") == 1
    assert ledger.key in consumer.log
    assert consumer.log.count("can be checked for losses again") == 1
