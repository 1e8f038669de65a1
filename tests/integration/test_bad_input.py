"""Whoever can write to a stream cannot stop its consumers, nor fill their memory."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.avro_values import write_long
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.errors import GroupMissing, ServerUnavailable
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.message import encode_fields
from edx_event_bus_redis.internal.stream import Stream
from tests.acceptance.project import examples
from tests.support.consuming import ConsumerProcess
from tests.support.dead_letters import dead_letters
from tests.support.events import add_logins, login_fields
from tests.support.reading import reader_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_version

MEBIBYTE = 1024 * 1024

LAUNCH = "org.openedx.learning.lti_provider.launch.success.v1"
SKILLS = "org.openedx.learning.xblock.skill.verified.v1"

# Ends the line and goes on as another process; a terminal would show it in red.
FORGED = b"\r\n2026-01-01 CRITICAL \x1b[31mforged line"


@pytest.fixture
def large_server() -> Iterator[EmbeddedServer]:
    """A server of the test's own that writes nothing to its disk, which hundreds of megabytes would take long for."""
    with EmbeddedServer() as server:
        yield server


def with_header(name: bytes, value: bytes) -> list[bytes]:
    fields = login_fields()
    fields[fields.index(name) + 1] = value
    return fields


def with_data(data: bytes, event_type: str | None = None) -> list[bytes]:
    if event_type is None:
        return [*login_fields()[:-1], data]
    return encode_fields(examples.metadata(event_type, 1), data)


def noise(seed: int) -> list[bytes]:
    return with_data(random.Random(seed).randbytes(500))


# What becomes a dead letter, one each.
BAD_ENTRIES: dict[str, Callable[[], list[bytes]]] = {
    "no bytes": lambda: with_data(b""),
    "random bytes": lambda: noise(1),
    "other random bytes": lambda: noise(2),
    "an endless number": lambda: with_data(b"\xff" * MEBIBYTE),
    "a text of a negative size": lambda: with_data(b"\x02\x01" + b"\x01" * 20),
    "a text of a size beyond all measure": lambda: with_data(b"\x02\x01" + write_long(2**62)),
    "a map of more entries than bytes": lambda: with_data(b"\x02" * 30 + write_long(2**60), LAUNCH),
    "a list of a negative count": lambda: with_data(b"\x02" * 30 + write_long(-(2**60)) + write_long(5), SKILLS),
    "a list of a million items": lambda: with_data(b"\x02" * 2 * MEBIBYTE, SKILLS),
    "a map of half a million entries": lambda: with_data(b"\x02" * 2 * MEBIBYTE, LAUNCH),
    "text that is none": lambda: with_data(b"\x02\x01\x06\xff\xfe\xfd\x00\x00"),
    "a forged type": lambda: with_header(b"type", b"org.openedx" + FORGED),
    "an unknown type": lambda: with_header(b"type", b"org.openedx.unknown.v1"),
    "a forged id": lambda: with_header(b"id", FORGED),
    "an id of megabytes": lambda: with_header(b"id", b"-" * 2 * MEBIBYTE),
    "a time out of range": lambda: with_header(b"time", b"99999-01-01T00:00:00+00:00"),
    "a time that leaves the calendar": lambda: with_header(b"time", b"0001-01-01T00:00:00+01:00"),
    "a time of megabytes": lambda: with_header(b"time", b"2" * 2 * MEBIBYTE),
    "a version of megabytes": lambda: with_header(b"minorversion", b"9" * MEBIBYTE),
    "a library version of nothing but dots": lambda: with_header(b"sourcelib", b"." * MEBIBYTE),
    "a field name of megabytes": lambda: [b"n" * 2 * MEBIBYTE, b""],
    "a hundred thousand fields": lambda: [b"f", b"v"] * 100_000,
    "a million fields": lambda: [b"f", b"v"] * 1_000_000 + [b"x", b"y" * 6 * MEBIBYTE],
    "a value of many times the limit": lambda: with_data(b"x" * 64 * MEBIBYTE),
    "a name of many times the limit": lambda: [b"x" * 64 * MEBIBYTE, b""],
    "forged names": lambda: [FORGED, FORGED],
    "names of ours": lambda: [b"dead_packed", b"{", b"dead_shortened_from", b"9" * 15],
}

# What is odd, and an event all the same.
ODD_ENTRIES: dict[str, Callable[[], list[bytes]]] = {
    "a source of megabytes": lambda: with_header(b"source", b"s" * 2 * MEBIBYTE),
    "a forged host": lambda: with_header(b"sourcehost", FORGED),
    "a time in the far future": lambda: with_header(b"time", b"9999-12-31T23:59:59.999999+00:00"),
    "a time in the far past": lambda: with_header(b"time", b"0001-01-01T00:00:00+00:00"),
    "more fields": lambda: [*login_fields(), b"more", b"\xff"],
}

# Bytes that a process may have had at the most. A bare one has 100 MiB; the largest reply has 64, which are there more
# than once while it is read.
MOST_MEMORY = 600 * MEBIBYTE


def peak_memory(process: psutil.Process) -> int:
    """The most resident memory that the process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def add(client: redis.Redis, stream: str, fields: list[bytes]) -> None:
    client.execute_command("XADD", stream, "*", *fields)


def assert_sound(consumer: ConsumerProcess, client: redis.Redis, stream: str, pids: set[int]) -> None:
    """The processes are those of the beginning, nothing is left pending, and no line was forged."""
    wait_until(lambda: client.xpending(stream, "group")["pending"] == 0, what="nothing pending")
    assert {child.pid for child in consumer.children()} == pids
    assert "\x1b" not in consumer.log
    assert not re.search(r"^2026-01-01 CRITICAL", consumer.log, re.MULTILINE)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.timeout(300)
def test_a_pool_goes_on_whatever_is_in_the_stream(consume: Any, large_server: EmbeddedServer, stream_name: str) -> None:
    """Bad entries become dead letters, the events between them are handled, and no process dies or grows."""
    client = large_server.client()
    client.config_set("proto-max-bulk-len", 512 * MEBIBYTE)
    consumer = consume(url=large_server.url, workers=2, check_backlog=True).wait_running(2)
    pids = {child.pid for child in consumer.children()}
    good = 0
    for make in [*BAD_ENTRIES.values(), *ODD_ENTRIES.values()]:
        add(client, stream_name, make())
        good += len(add_logins(client, stream_name, 10))

    consumer.wait_handled(good + len(ODD_ENTRIES), timeout=200)
    wait_until(lambda: client.xlen(f"{{{stream_name}}}:dead:group") == len(BAD_ENTRIES), what="the dead letters")

    assert_sound(consumer, client, stream_name, pids)
    assert {letter["dead_cause"].partition(":")[0] for letter in dead_letters(client, stream_name)} == {"not usable"}
    for child in consumer.children():
        assert peak_memory(child) < MOST_MEMORY, child.cmdline()
    assert client.memory_usage(f"{{{stream_name}}}:dead:group", samples=0) < 64 * MEBIBYTE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.timeout(300)
def test_a_backlog_of_large_events_is_handled(consume: Any, large_server: EmbeddedServer, stream_name: str) -> None:
    """Events of four megabytes, which do not exceed the limit, are handled, and are not in memory for long together."""
    client = large_server.client()
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    add_logins(client, stream_name, 200)
    for number in range(40):
        add(client, stream_name, login_fields(number, "u" * 4 * MEBIBYTE))
        add_logins(client, stream_name, 2)

    consumer = consume(url=large_server.url, workers=1, check_backlog=True).wait_running(1)
    pids = {child.pid for child in consumer.children()}
    consumer.wait_handled(200 + 3 * 40, timeout=200)

    assert_sound(consumer, client, stream_name, pids)
    for child in consumer.children():
        assert peak_memory(child) < MOST_MEMORY, child.cmdline()


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="limits of other processes are set by Linux alone")
def test_an_entry_for_which_there_is_no_memory_stops_nobody(
    consume: Any, large_server: EmbeddedServer, stream_name: str
) -> None:
    """A worker that cannot hold a reply fails; it, or its successor, does not have to hold it again, and goes on."""
    client = large_server.client()
    consumer = consume(url=large_server.url, workers=1, check_backlog=True).wait_running(1)
    add_logins(client, stream_name, 5)
    consumer.wait_handled(5)
    for process in [psutil.Process(consumer.process.pid), *consumer.children()]:
        most = process.memory_info().vms + 150 * MEBIBYTE
        process.rlimit(psutil.RLIMIT_AS, (most, most))

    add(client, stream_name, with_data(b"x" * 200 * MEBIBYTE))
    add_logins(client, stream_name, 5)

    consumer.wait_handled(10)
    (letter,) = dead_letters(client, stream_name)
    assert "more than the 5242880 that EVENT_BUS_REDIS_MAX_EVENT_BYTES allows" in letter["dead_cause"]
    # hiredis says so; without it Python raises an exception that ends the worker. Or the server is too slow.
    assert re.search(r"Out of memory|replaced worker 0|Timeout reading", consumer.log)
    assert len(consumer.worker_pids()) == 1


def test_ids_of_the_far_future_stop_producers_and_no_consumer(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """The last id that there is ends what can be appended; what was appended is handled, and counted as it is."""
    consumer = consume(workers=1, check_backlog=True).wait_running(1)
    add_logins(client, stream_name, 3)
    for entry_id in (f"{2**63}-1", f"{2**64 - 1}-{2**64 - 1}"):
        client.execute_command("XADD", stream_name, entry_id, *login_fields())

    consumer.wait_handled(5)

    with pytest.raises(redis.ResponseError, match="exhausted the last possible ID"):
        add_logins(client, stream_name, 1)
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert not client.exists(f"{{{stream_name}}}:lost:group")
    # The way out that the documentation tells.
    client.xtrim(stream_name, maxlen=0, approximate=False)
    now = f"{int(client.time()[0]) * 1000}-0"
    client.execute_command("XSETID", stream_name, now)
    client.execute_command("XGROUP", "SETID", stream_name, "group", now)
    add_logins(client, stream_name, 5)
    consumer.wait_handled(10)
    assert not client.exists(f"{{{stream_name}}}:lost:group")
    assert "died" not in consumer.log


def test_a_number_that_was_set_by_hand_is_no_loss(url: str, client: redis.Redis, stream_name: str) -> None:
    """XSETID can claim any number of entries: the ledger enters none of them, and goes on to enter what is lost."""
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    stream = Stream(make_client(url, timeout=5, connect_timeout=5), stream_name)
    reader, ledger = reader_of(stream, "c1"), Ledger(stream, "group")
    add_logins(client, stream_name, 5)
    assert len(reader.read(10).entries) == 5
    last = client.xinfo_stream(stream_name)["last-generated-id"]

    client.execute_command("XSETID", stream_name, last, "ENTRIESADDED", 2**62, "MAXDELETEDID", "0-0")
    reader.read(10)
    before = ledger.totals()["total"]
    add_logins(client, stream_name, 10)
    client.xtrim(stream_name, maxlen=3, approximate=False)
    reader.read(10)

    assert before == 0
    assert ledger.totals()["total"] < 100


@pytest.mark.parametrize("fields", [[b"f", b"x" * 40 * MEBIBYTE], [b"f", b"v"] * 400_000], ids=["bytes", "fields"])
def test_a_stream_that_is_a_burden_is_looked_at_seldom(
    url: str, client: redis.Redis, stream_name: str, fields: list[bytes]
) -> None:
    """The server copies its last entry for each look: consumer and monitor look again only after a while."""
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    ledger = Ledger(Stream(make_client(url, timeout=30, connect_timeout=5), stream_name), "group")
    add_logins(client, stream_name, 1)
    ledger.look()
    reply = ledger.stream.read_new_after(ledger.gaps.command(), "group", "c1", 10)[1]
    ledger.gaps.checked(reply)
    light = ledger.gaps.command(), ledger.rest_until <= time.monotonic()

    add(client, stream_name, fields)
    ledger.look()
    reply = ledger.stream.read_new_after(ledger.gaps.command(), "group", "c1", 10)[1]
    ledger.gaps.checked(reply)

    assert light[0]
    assert light[1]
    assert ledger.gaps.command() == ()
    assert ledger.rest_until > time.monotonic()


def test_the_status_of_a_stream_has_no_need_of_what_is_in_it(url: str, client: redis.Redis, stream_name: str) -> None:
    """Of the first, the last and the next entry only the ids come from the server, however large they are."""
    stream = Stream(make_client(url, timeout=30, connect_timeout=5), stream_name)
    for _ in range(2):
        add(client, stream_name, [b"f", b"x" * 8 * MEBIBYTE])
    first, last = (entry_id for entry_id, _ in client.xrange(stream_name))
    client.config_resetstat()

    about = stream.about()

    assert (about.first, about.last, about.length) == (first, last, 2)
    assert (stream.next_id(b"0-0"), stream.next_id(first), stream.next_id(last)) == (first, last, None)
    assert stream.last_id() == last
    assert client.info("stats")["total_net_output_bytes"] < MEBIBYTE
    with pytest.raises(GroupMissing):
        Stream(stream._client, f"{stream_name}-missing").about()


def test_a_server_that_is_too_slow_for_a_look_is_read_without(own_server: EmbeddedServer, stream_name: str) -> None:
    """When it has not answered in time twice, reads go without a check for a while, and nobody looks at the group."""
    client = own_server.client()
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    impatient = Stream(make_client(own_server.url, timeout=0.3, connect_timeout=5), stream_name)
    reader, ledger = reader_of(impatient, "c1"), Ledger(impatient, "group")
    reader.read(1)
    ledger.look()
    before = reader._gaps.command(), ledger.rest_until <= time.monotonic()

    own_server.freeze()
    for _ in range(2):
        for ask in (lambda: reader._new(1, (), None), ledger.look):
            with pytest.raises(ServerUnavailable):
                ask()
    own_server.thaw()
    reader.failed()

    assert all(before)
    assert reader._gaps.command() == ()
    assert ledger.rest_until > time.monotonic()
    add_logins(client, stream_name, 1)
    assert wait_until(lambda: reader.read(1).entries, what="the event is read")
