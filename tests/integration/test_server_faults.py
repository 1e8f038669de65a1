"""Redis is restarted, killed, frozen, flushed, loading: the consumer lives and goes on by itself."""

import threading
import time
from typing import Any

import pytest

from devtools.server import EmbeddedServer
from tests.support.events import add_logins
from tests.support.troubles import BOTH, NAMES, fault_is_said_once, nothing_pending, said
from tests.support.waiting import wait_until

pytestmark = pytest.mark.server


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
    nothing_pending(client, stream_name)
    assert {each.event_id for each in consumer.handled()} == set(ids)
    assert consumer.stop() == 0


@BOTH
def test_a_server_that_forgets_everything_is_begun_anew(
    consume_here: Any, stream_name: str, workers: int | None
) -> None:
    """Without persistence a restart takes stream and group: the group is made anew, and what comes is handled."""
    with EmbeddedServer() as server:
        consumer = consume_here(url=server.url, workers=workers)
        ids = add_logins(server.client(), stream_name, 5)
        consumer.wait_handled(5)
        server.kill()
        server.restart()
        # Some before the consumer has noticed, which may be a moment or a second.
        ids += add_logins(server.client(), stream_name, 10)
        fault_is_said_once(consumer, *NAMES[workers], kinds=3)
        ids += add_logins(server.client(), stream_name, 10)

        consumer.wait_handled(25)

        assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
        assert consumer.log.count("was gone; made anew") == 1
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
    wait_until(lambda: said(consumer.log).keys() >= set(NAMES[workers]), what="the freeze is noticed")
    own_server.thaw()
    fault_is_said_once(consumer, *NAMES[workers])

    ids = add_logins(client, stream_name, 50)

    consumer.wait_handled(55)
    assert {each.event_id for each in consumer.handled()} >= set(ids)
    # Also what was read for a client that had given up waiting.
    nothing_pending(client, stream_name)


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


@BOTH
def test_a_fault_is_said_once_and_so_is_its_end(
    consume_here: Any, own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """While the server is away each consumer's log has one line for each kind of failure, and one at the end."""
    consumer = consume_here(workers=workers)
    own_server.kill()
    wait_until(lambda: all("refused" in errors[-1] for errors in said(consumer.log).values()), what="it is away")
    time.sleep(1.5)  # Tries go on meanwhile: they begin 0.05 s apart.

    own_server.restart()

    # The connection breaks, a new one is refused, and the server may be seen while it loads its data.
    fault_is_said_once(consumer, *NAMES[workers], kinds=3)
    consumer.wait_handled(len(add_logins(own_server.client(), stream_name, 3)))


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
    with EmbeddedServer(config=slow_loading, start_timeout=60) as server:
        client = server.client()
        ids = add_logins(client, stream_name, 300)
        client.mset({f"key{number}": "value" * 10 for number in range(2500)})
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
