"""Redis is restarted, killed, frozen, flushed, loading: the consumer lives and goes on by itself."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from devtools.server import EmbeddedServer
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins
from tests.support.waiting import wait_until

BOTH = pytest.mark.parametrize("workers", [None, 2])


@pytest.fixture
def consume_here(consume: Any, own_server: EmbeddedServer) -> Callable[..., ConsumerProcess]:
    """Start a consumer of the test's own server."""

    def start(**arguments: Any) -> ConsumerProcess:
        workers = arguments.get("workers") or 1
        consumer: ConsumerProcess = consume(url=own_server.url, **arguments)
        return consumer.wait_running(workers)

    return start


@BOTH
def test_a_killed_and_restarted_server_loses_nothing(
    consume_here: Any, own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """With persistence, a server that is killed under load costs no event and needs no restart of the consumer."""
    consumer = consume_here(workers=workers)
    ids = add_logins(own_server.client(), stream_name, 300, "sleep:0.005")
    consumer.wait_handled(30)
    for _ in range(2):
        own_server.kill()
        own_server.restart()
        ids += add_logins(own_server.client(), stream_name, 20, "sleep:0.005")

    consumer.wait_handled(len(ids))

    client = own_server.client()
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert {each.event_id for each in consumer.handled()} == set(ids)
    assert consumer.stop() == 0


@BOTH
def test_a_frozen_server_is_waited_for(
    consume_here: Any, own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """A server that stops answering is noticed, and consuming goes on when it answers again; nothing is stuck."""
    consumer = consume_here(workers=workers)
    client = own_server.client()
    consumer.wait_handled(len(add_logins(client, stream_name, 5)))
    own_server.freeze()
    wait_until(lambda: "ServerUnavailable" in consumer.log, what="the freeze is noticed")
    own_server.thaw()
    wait_until(lambda: "goes on, after" in consumer.log, what="it goes on")

    ids = add_logins(client, stream_name, 50)

    consumer.wait_handled(55)
    assert {each.event_id for each in consumer.handled()} >= set(ids)
    # Also what was read for a client that had given up waiting.
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")


@BOTH
def test_a_flushed_server_is_begun_anew(
    consume_here: Any, own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """After FLUSHALL the group is made anew and every later event is handled, once."""
    consumer = consume_here(workers=workers)
    client = own_server.client()
    ids = add_logins(client, stream_name, 5)
    consumer.wait_handled(5)
    client.flushall()

    ids += add_logins(client, stream_name, 20)

    consumer.wait_handled(25)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
    assert consumer.log.count("was gone; made anew") == 1


@BOTH
def test_a_consumer_can_be_started_before_its_server(
    consume: Any, own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """A consumer that finds no server waits for it."""
    own_server.kill()
    consumer = consume(url=own_server.url, workers=workers)
    wait_until(lambda: "Error consuming event from Redis" in consumer.log, what="an error")
    own_server.restart()
    consumer.wait_running(workers or 1)

    consumer.wait_handled(len(add_logins(own_server.client(), stream_name, 3)))

    assert consumer.stop() == 0


@BOTH
def test_an_unreachable_server_leads_to_the_limit_of_errors(
    consume_here: Any, own_server: EmbeddedServer, workers: int | None
) -> None:
    """With a limit of errors a server that stays away ends the consumer with status 1."""
    settings = {"EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT": 4}
    consumer = consume_here(workers=workers, settings=settings)

    own_server.kill()

    assert consumer.wait(60) == 1
    assert "Too many consecutive errors, exiting (4 in a row)" in consumer.log


def test_a_fault_is_said_once_and_so_is_its_end(
    consume_here: Any, own_server: EmbeddedServer, stream_name: str
) -> None:
    """While the server is away the log has one line for each kind of failure, and one at the end."""
    consumer = consume_here()
    own_server.kill()
    wait_until(lambda: "Connection refused" in consumer.log, what="the server is away")
    lines = consumer.log.count("Error consuming event from Redis")
    time.sleep(1.5)  # Tries go on meanwhile: they begin 0.05 s apart.
    assert consumer.log.count("Error consuming event from Redis") <= lines + 1

    own_server.restart()

    consumer.wait_handled(len(add_logins(own_server.client(), stream_name, 3)))
    assert len(re.findall(r"Consumer c1 goes on, after \d+ failures in", consumer.log)) == 1


def test_idle_polls_are_no_errors(consume_here: Any, own_server: EmbeddedServer, stream_name: str) -> None:
    """A consumer with nothing to do for many polls does not reach its limit of errors."""
    settings = {
        "EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT": 1,
        "EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT": 0.02,
    }
    consumer = consume_here(settings=settings)
    client = own_server.client()
    before = calls(client)

    wait_until(lambda: calls(client) > before + 20, what="many polls")

    assert consumer.process.poll() is None
    assert "Error" not in consumer.log


def calls(client: Any) -> int:
    return int(client.info("commandstats").get("cmdstat_xreadgroup", {}).get("calls", 0))


def test_a_loading_server_is_waited_for(consume: Any, stream_name: str) -> None:
    """A server that is still loading its data refuses commands: the consumer waits until it is done."""
    slow_loading = {"key-load-delay": "3000", "loading-process-events-interval-bytes": "1024"}
    with EmbeddedServer(config=slow_loading) as server:
        client = server.client()
        ids = add_logins(client, stream_name, 300)
        client.mset({f"key{number}": "value" * 10 for number in range(1000)})
        client.save()
        server.kill()
        starting = threading.Thread(target=server.restart)
        starting.start()
        try:
            consumer = consume(url=server.url, check_backlog=True)
            wait_until(lambda: "loading the dataset in memory" in consumer.log, what="the consumer sees it loading")
        finally:
            starting.join()

        consumer.wait_handled(300)

    assert {each.event_id for each in consumer.handled()} == set(ids)
