"""
A stream that goes back to what it was: as after a failover to a replica that had less, or with an old backup.

Here the key alone goes back, by RESTORE; the group is in it. Failovers of servers are in ``test_failover``.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from devtools.embedded import EmbeddedServer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.group import Known
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.looking_back import LookingBack
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.stream import Stream
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_batch, add_logins
from tests.support.ledgers import records_of
from tests.support.reading import add_entries
from tests.support.troubles import looks, nothing_pending
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]

# Entries in the stream before a test does something, of which the group has read so many.
ADDED, READ = 20, 10


@pytest.fixture
def stream(url: str, client: redis.Redis, stream_name: str) -> Iterator[Stream]:
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    stream = Stream(make_client(url, timeout=10, connect_timeout=10), stream_name)
    yield stream
    stream.close()


def go_back(client: redis.Redis, stream_name: str, dump: bytes) -> None:
    client.restore(stream_name, 0, dump, replace=True)


def forget(client: redis.Redis, stream_name: str, count: int, new: int) -> None:
    """Let the stream forget its last entries; others come."""
    ids = [entry_id for entry_id, _ in client.xrange(stream_name)]
    left = ids[: len(ids) - count]
    (group,) = client.xinfo_groups(stream_name)
    cursor = min(group["last-delivered-id"], left[-1], key=split_id)
    client.delete(stream_name)
    for entry_id in left:
        client.xadd(stream_name, {"name": "value"}, id=entry_id)
    read = sum(split_id(entry_id) <= split_id(cursor) for entry_id in left)
    client.execute_command("XGROUP CREATE", stream_name, "group", cursor, "ENTRIESREAD", read)
    add_entries(client, stream_name, new)


def nothing(client: redis.Redis, stream_name: str) -> None:
    add_entries(client, stream_name, 7)


def trim_the_last(client: redis.Redis, stream_name: str) -> None:
    add_entries(client, stream_name, 7)
    client.xtrim(stream_name, 3, approximate=False)


def trim_all(client: redis.Redis, stream_name: str) -> None:
    client.xtrim(stream_name, 0, approximate=False)
    add_entries(client, stream_name, 7)


def delete_the_last(client: redis.Redis, stream_name: str) -> None:
    ids = [entry_id for entry_id, _ in client.xrange(stream_name)]
    new = add_entries(client, stream_name, 7)
    client.xdel(stream_name, *ids[-3:], *new[2:4])


def look_twice(
    client: redis.Redis, stream: Stream, change: Callable[[redis.Redis, str], None], *, taken: int = 0
) -> Ledger:
    """Look, change something, and look again; the pool has taken so many events meanwhile."""
    add_entries(client, stream.key, ADDED)
    client.xreadgroup("group", "c", {stream.key: ">"}, count=READ)
    ledger = Ledger(stream, "group", "test")
    looking_back = LookingBack(ledger)
    known = Known(pending=READ, held=0, unread=ADDED - READ, oldest=(1, 0))
    looking_back.looked(ledger.look(), known, taken=0, milliseconds=stream.milliseconds())
    change(client, stream.key)
    looking_back.looked(ledger.look(), known, taken=taken, milliseconds=stream.milliseconds())
    return ledger


@pytest.mark.parametrize("change", [nothing, trim_the_last, trim_all, delete_the_last])
def test_what_is_trimmed_or_deleted_is_not_forgotten(
    client: redis.Redis, stream: Stream, change: Callable[[redis.Redis, str], None]
) -> None:
    """The last entry of the former look may be gone for other reasons: nothing is entered as forgotten."""
    ledger = look_twice(client, stream, change)

    assert ledger.totals()["forgotten"] == ledger.totals()["group_gone"] == 0


@pytest.mark.parametrize("new", [0, 3, 30])
@pytest.mark.parametrize(
    ("forgotten", "taken", "lost"),
    [(4, 0, 4), (15, 0, 10), (4, 7, 3), (4, 10, 0), (1, 0, 1)],
    ids=["unread", "read and unread", "some are read since", "all are read since", "one"],
)
def test_what_was_unread_and_is_forgotten_is_lost(
    client: redis.Redis,
    stream: Stream,
    caplog: pytest.LogCaptureFixture,
    forgotten: int,
    taken: int,
    lost: int,
    new: int,
) -> None:
    """However much came since, those are counted that nobody had read, and lie in the range of the record."""
    ids: list[bytes] = []

    def change(client: redis.Redis, stream_name: str) -> None:
        ids.extend(entry_id for entry_id, _ in client.xrange(stream_name))
        forget(client, stream_name, forgotten, new)

    ledger = look_twice(client, stream, change, taken=taken)

    (record,) = records_of(ledger)
    assert (record.reason, record.loss.count) == ("forgotten", lost)
    first, last = split_id(record.loss.first), split_id(record.loss.last)
    left = [split_id(entry_id) for entry_id, _ in client.xrange(stream.key)]
    assert all(first <= split_id(entry_id) <= last for entry_id in ids[-forgotten:])
    assert not any(first <= entry_id <= last for entry_id in left)
    assert f"has forgotten its last entries, at least {forgotten}, and group group had not read" in caplog.text


def test_several_monitors_enter_the_same_once(client: redis.Redis, stream: Stream) -> None:
    """Two that have looked at different times find out the same, and one of them enters it."""
    ledgers = [Ledger(stream, "group", name) for name in ("a", "b")]
    both = [LookingBack(ledger) for ledger in ledgers]

    def look(which: int) -> None:
        both[which].looked(ledgers[which].look(), None, taken=0, milliseconds=stream.milliseconds())

    add_entries(client, stream.key, ADDED)
    look(0)
    add_entries(client, stream.key, 2)
    look(1)
    forget(client, stream.key, 6, new=3)
    look(1)
    add_entries(client, stream.key, 3)
    look(0)

    (record,) = records_of(ledgers[0])
    assert (record.by, record.loss.count) == ("b", 6)


def wait_for_looks(client: redis.Redis, pools: int = 1) -> None:
    """Wait until each pool's monitor has looked once more, at least."""
    seen = looks(client)
    wait_until(lambda: looks(client) >= seen + 3 * pools, what="another look")


@pytest.mark.parametrize("names", [["c1"], ["c1", "c2"]], ids=["one pool", "two pools"])
def test_pools_go_on_and_say_what_is_lost(
    consume: Callable[..., ConsumerProcess],
    own_server: EmbeddedServer,
    stream_name: str,
    tmp_path: Path,
    names: list[str],
) -> None:
    """What was in hand is handled, what was unread is lost and in the ledger once, and what comes is handled."""
    client, go = own_server.client(), tmp_path / "go"
    pools = [consume(url=own_server.url, consumer_name=name, workers=1, check_backlog=True) for name in names]
    for pool in pools:
        pool.wait_running()
    pools[0].wait_handled(len(add_logins(client, stream_name, 5)))
    nothing_pending(client, stream_name)
    dump = client.dump(stream_name)
    ids = add_logins(client, stream_name, 40, f"wait:{go}")
    entries = {fields[b"id"].decode(): split_id(entry_id) for entry_id, fields in client.xrange(stream_name)}
    wait_until(lambda: len(pools[0].begun()) == 5 + len(names), what="each has one in hand")
    wait_for_looks(client, len(names))

    go_back(client, stream_name, dump)
    more = add_logins(client, stream_name, 3)

    ledger = group_key(stream_name, "lost", "group")
    wait_until(lambda: client.xlen(ledger), what="a record")
    go.touch()
    wait_until(lambda: set(more) <= {each.event_id for each in pools[0].handled()}, what="they go on")
    nothing_pending(client, stream_name)
    wait_for_looks(client, len(names))
    lost = set(ids) - {each.event_id for each in pools[0].handled()}
    # What a worker has read ahead it handles, too.
    assert 0 < len(lost) <= 40 - len(names)
    ((_, record),) = client.xrange(ledger)
    assert (record[b"reason"], int(record[b"count"])) == (b"forgotten", len(lost))
    assert all(split_id(record[b"first"]) <= entries[each] <= split_id(record[b"last"]) for each in lost)
    assert sum(pool.log.count("has forgotten its last entries") for pool in pools) == 1
    assert [pool.stop() for pool in pools] == [0] * len(names)


@pytest.mark.parametrize("retries", [1, 0])
def test_what_fails_in_hand_is_not_dropped(
    consume: Callable[..., ConsumerProcess], client: redis.Redis, stream_name: str, tmp_path: Path, retries: int
) -> None:
    """An event that fails after its entry was forgotten is tried again, or a dead letter, like any other."""
    go = tmp_path / "go"
    consumer = consume(max_retries=retries, check_backlog=True).wait_running()
    consumer.wait_handled(len(add_logins(client, stream_name, 2)))
    nothing_pending(client, stream_name)
    dump = client.dump(stream_name)
    (event_id,) = add_logins(client, stream_name, 1, f"wait:{go},fail_once:it")
    wait_until(lambda: len(consumer.begun()) == 3, what="it is in hand")
    go_back(client, stream_name, dump)
    add_logins(client, stream_name, 2)

    go.touch()

    consumer.wait_handled(4 + retries)
    if retries:
        assert event_id in {each.event_id for each in consumer.handled()}
    else:
        wait_until(lambda: client.xlen(group_key(stream_name, "dead", "group")) == 1, what="a dead letter")
    assert "was not pending any more" not in consumer.log


def test_what_was_read_ahead_is_handled_however_long_it_waits(
    consume: Callable[..., ConsumerProcess], client: redis.Redis, stream_name: str, tmp_path: Path
) -> None:
    """Entries that a worker has read ahead, and that are forgotten before it begins them, are handled."""
    go = tmp_path / "go"
    consumer = consume(check_backlog=True).wait_running()
    consumer.wait_handled(len(add_logins(client, stream_name, 200)))
    nothing_pending(client, stream_name)
    dump: Any = client.dump(stream_name)
    ids = add_batch(client, stream_name, [f"wait:{go}", *["ok"] * 9])
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 10, what="all are read ahead")
    wait_until(lambda: len(consumer.begun()) == 201, what="the first is in hand")
    began = time.monotonic()
    go_back(client, stream_name, dump)

    # What has waited for so long may be somebody else's by now.
    wait_until(lambda: time.monotonic() - began > 6, what="what is read ahead is stale")
    go.touch()

    consumer.wait_handled(210)
    assert set(ids) <= {each.event_id for each in consumer.handled()}
