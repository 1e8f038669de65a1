"""A server that is there and refuses: full memory, a replica, an access list, a key of another type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.private import GroupStore
from tests.support.consuming import ConsumerProcess
from tests.support.dead_letters import dead_letters
from tests.support.events import add_logins
from tests.support.troubles import BOTH, NAMES, ends, fault_is_said_once, nothing_pending, said, wait_refused, wait_said
from tests.support.waiting import wait_until

pytestmark = pytest.mark.server


def waiting_event(client: redis.Redis, stream_name: str, go: Path, order: str, consumer: ConsumerProcess) -> str:
    """Add an event whose handler waits for a file and then obeys; return its id when it has begun."""
    (event_id,) = add_logins(client, stream_name, 1, f"wait:{go},{order}")
    wait_until(lambda: event_id in {each.event_id for each in consumer.begun()}, what="it has begun")
    return event_id


@pytest.mark.parametrize(("max_retries", "order"), [(0, "raise"), (1, "fail:1")])
@BOTH
def test_what_becomes_of_a_failed_event_waits_while_memory_is_full(
    consume_here: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    stream_name: str,
    tmp_path: Path,
    workers: int | None,
    max_retries: int,
    order: str,
) -> None:
    """A retry or a dead letter that the server has no memory for is not lost: it is made when there is memory again."""
    consumer = consume_here(workers=workers, max_retries=max_retries)
    go = tmp_path / "go"
    failing = waiting_event(server_client, stream_name, go, order, consumer)
    server_client.config_set("maxmemory", "1")
    go.touch()
    wait_refused(server_client, 4, "OOM")
    assert dead_letters(server_client, stream_name) == []

    server_client.config_set("maxmemory", "0")

    if max_retries:
        consumer.wait_handled(1)
    else:
        wait_until(lambda: dead_letters(server_client, stream_name), what="the dead letter")
        assert dead_letters(server_client, stream_name)[0]["id"] == failing
    wait_until(lambda: ends(consumer.log), what="it is over")
    errors = fault_is_said_once(consumer, *said(consumer.log))
    assert all("maxmemory" in error for error in errors)
    consumer.wait_handled(max_retries + len(add_logins(server_client, stream_name, 10)))
    nothing_pending(server_client, stream_name)


@BOTH
def test_a_due_retry_that_is_refused_is_no_flood(
    consume_here: Callable[..., ConsumerProcess], server_client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """A retry that is due while memory is full is asked for again and again, said once, and handled in the end."""
    consumer = consume_here(workers=workers, max_retries=1)
    (failing,) = add_logins(server_client, stream_name, 1, "fail:1")
    wait_until(lambda: "is tried again in" in consumer.log, what="it has failed")
    server_client.config_set("maxmemory", "1")
    wait_refused(server_client, 3 * (workers or 1), "OOM")

    server_client.config_set("maxmemory", "0")

    assert consumer.wait_handled(1)[0].event_id == failing
    wait_until(lambda: ends(consumer.log), what="it is over")
    fault_is_said_once(consumer, *said(consumer.log))
    assert consumer.stop() == 0


@pytest.mark.parametrize("commands", ["xreadgroup", "xack", "evalsha eval", "xpending"])
@BOTH
def test_a_command_that_is_not_allowed_is_waited_for(
    consume_here: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    stream_name: str,
    workers: int | None,
    commands: str,
) -> None:
    """When the access list takes a command away the consumer waits until it has it again, and nothing is lost."""
    consumer = consume_here(workers=workers)
    ids = add_logins(server_client, stream_name, 40, "sleep:0.01")
    consumer.wait_handled(10)
    denied, allowed = ([sign + command for command in commands.split()] for sign in "-+")
    server_client.execute_command("ACL SETUSER", "default", *denied)
    ids += add_logins(server_client, stream_name, 10)
    if commands != "xpending":  # Asked for by nobody but scripts, and a script has its caller's permissions.
        wait_said(consumer, *NAMES[workers])
        # Redis counts what it refuses a script under another name.
        wait_refused(server_client, 3 * (workers or 1), "NOPERM", "ERR")

    server_client.execute_command("ACL SETUSER", "default", *allowed)

    consumer.wait_handled(50)
    nothing_pending(server_client, stream_name)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
    if commands != "xpending":
        # Pending entries are read by a script, which puts the same refusal into other words.
        kinds = 2 if commands == "xreadgroup" else 1
        errors = fault_is_said_once(consumer, *NAMES[workers], kinds=kinds)
        assert all("AccessRefused" in error for error in errors)
        # Redis 7.0 does not say what it refuses a script.
        command = commands.split(maxsplit=1)[0]
        assert all(command in error or "The user executing the script" in error for error in errors)


def test_a_fault_of_the_groups_own_keys_does_not_hold_up_the_topic(
    consume_here: Callable[..., ConsumerProcess], server_client: redis.Redis, stream_name: str
) -> None:
    """While retries cannot be looked for, the events of the topic are handled all the same."""
    consumer = consume_here()
    server_client.set(f"{{{stream_name}}}:later:group", "of another type")
    wait_refused(server_client, 2, "WRONGTYPE")

    consumer.wait_handled(len(add_logins(server_client, stream_name, 20)))

    nothing_pending(server_client, stream_name)
    assert not ends(consumer.log)
    server_client.delete(f"{{{stream_name}}}:later:group")
    (error,) = fault_is_said_once(consumer, "c1")
    assert f"{{{stream_name}}}:later:group" in error


@BOTH
def test_a_failover_is_waited_for(
    consume_here: Callable[..., ConsumerProcess],
    own_server: EmbeddedServer,
    server_client: redis.Redis,
    stream_name: str,
    workers: int | None,
) -> None:
    """A server that is made a replica refuses all writes; when it is a primary again consuming goes on."""
    consumer = consume_here(workers=workers)
    ids = add_logins(server_client, stream_name, 100, "sleep:0.01")
    consumer.wait_handled(10)
    with EmbeddedServer() as other:
        other.client().execute_command("REPLICAOF", "127.0.0.1", own_server.port)
        wait_until(lambda: other.client().info("replication")["master_link_status"] == "up", what="replication")
        wait_until(lambda: other.client().xlen(stream_name) == 100, what="the stream is replicated")
        other.client().execute_command("REPLICAOF", "NO", "ONE")
        server_client.execute_command("REPLICAOF", "127.0.0.1", other.port)
        wait_said(consumer, *NAMES[workers])
        wait_refused(server_client, 3 * (workers or 1), "READONLY")
        wait_until(lambda: server_client.info("replication")["master_link_status"] == "up", what="replication")

        server_client.execute_command("REPLICAOF", "NO", "ONE")

        ids += add_logins(server_client, stream_name, 10)
        consumer.wait_handled(110)
        nothing_pending(server_client, stream_name)
    assert {each.event_id for each in consumer.handled()} == set(ids)
    fault_is_said_once(consumer, *NAMES[workers], kinds=3)
    assert "GroupMissing" not in consumer.log


@BOTH
def test_a_stream_that_became_something_else_is_named(
    consume_here: Callable[..., ConsumerProcess], server_client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """A key of another type in the stream's place is named in the error; when it is gone the group is made anew."""
    consumer = consume_here(workers=workers)
    consumer.wait_handled(len(add_logins(server_client, stream_name, 5)))
    with server_client.pipeline() as both:
        both.delete(stream_name).set(stream_name, "of another type").execute()
    wait_said(consumer, *NAMES[workers])
    wait_refused(server_client, 3 * (workers or 1), "WRONGTYPE")
    server_client.delete(stream_name)

    ids = add_logins(server_client, stream_name, 5)

    handled = consumer.wait_handled(10)
    assert [each.event_id for each in handled[5:]] == ids or workers
    # The first may be that the stream is gone.
    fault_is_said_once(consumer, *NAMES[workers], kinds=3)
    for errors in said(consumer.log).values():
        assert [f"(key {stream_name}" in error for error in errors if "WRONGTYPE" in error] == [True]


def test_a_stream_that_became_something_else_leads_to_the_limit_of_errors(
    consume_here: Callable[..., ConsumerProcess], server_client: redis.Redis, stream_name: str
) -> None:
    """It counts towards the limit of consecutive errors."""
    consumer = consume_here(settings={"EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT": 4})

    with server_client.pipeline() as both:
        both.delete(stream_name).set(stream_name, "of another type").execute()

    assert consumer.wait() == 1
    assert "Too many consecutive errors, exiting (4 in a row)" in consumer.log


def test_retries_that_cannot_be_read_do_not_hold_up_the_topic(
    consume_here: Any, own_server: EmbeddedServer, stream_name: str
) -> None:
    """While the group's own keys fail, as all that writes does when memory is full, the topic's events go on."""
    client = own_server.client()
    consumer = consume_here(settings={"EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP": 2.0})
    client.set(f"{{{stream_name}}}:later:group", "no sorted set")
    wait_until(lambda: "WRONGTYPE" in consumer.log, what="it fails")

    consumer.wait_handled(len(add_logins(client, stream_name, 3)), timeout=20)


@pytest.mark.parametrize("way", ["bury", "retry_later"])
def test_nothing_is_put_elsewhere_that_cannot_be_acknowledged(own_server: EmbeddedServer, way: str) -> None:
    """With a key of another type in the place of the stream no dead letter and no retry is written, however often."""
    client = make_client(own_server.url, timeout=5, connect_timeout=5)
    client.set("stream", "no stream")
    store, entry = GroupStore(client, "stream", "group"), Entry(b"1-1", [b"a", b"b"])
    settle = {"bury": lambda: store.bury(entry, [], 100), "retry_later": lambda: store.retry_later(entry, 1.0)}[way]

    with pytest.raises(ServerError, match="WRONGTYPE"):
        settle()

    assert client.keys() == [b"stream"]
