"""Acknowledgements are sent without waiting for the reply, and nothing is lost or stuck when that does not come."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.connections import SentAhead
from edx_event_bus_redis.internal.pace import ACK_WINDOW
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_batch, add_logins
from tests.support.proxy import Proxy
from tests.support.troubles import fault_is_said_once, nothing_pending, said
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_version


def client_of(url: str, **options: str) -> redis.Redis:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return make_client(f"{url}?{query}" if query else url, timeout=1.0, connect_timeout=1.0)


def test_other_commands_are_done_before_the_reply_is_read(own_server: EmbeddedServer) -> None:
    """Both get their own replies, and what was lent is given back."""
    client = client_of(own_server.url)
    sent = SentAhead(client, "SADD", "key", "a", "b")

    assert sent.is_on_its_way
    assert [client.echo("one"), client.echo("two")] == [b"one", b"two"]
    assert sent.is_done()
    assert not sent.is_on_its_way
    assert client.scard("key") == 2
    for _ in range(10):
        assert SentAhead(client, "SADD", "key", "c").is_done()
    assert len(client.connection_pool._available_connections) == 2


def test_a_command_that_the_server_refuses_is_not_done(own_server: EmbeddedServer) -> None:
    """And the next one gets its own reply."""
    client = client_of(own_server.url)
    client.set("key", "value")

    assert not SentAhead(client, "SADD", "key", "a").is_done()
    assert client.echo("one") == b"one"


def test_a_command_whose_reply_is_lost_is_not_known_to_be_done(own_server: EmbeddedServer, proxy: Proxy) -> None:
    """Neither by a reset nor by silence; nothing is sent where nobody can be reached, nor twice."""
    client = client_of(proxy.url)
    client.ping()
    proxy.reset_reply_after(0)
    sent = SentAhead(client, "INCR", "key")
    assert not sent.is_done()
    assert not sent.is_done()

    proxy.swallow()
    assert not SentAhead(client, "INCR", "key").is_done()

    proxy.refuse()
    proxy.cut()
    assert not SentAhead(client, "INCR", "key").is_on_its_way

    proxy.normal()
    assert client.get("key") == b"1"


def test_the_only_connection_is_not_taken(own_server: EmbeddedServer) -> None:
    """Where another command could not be sent meanwhile nothing is sent ahead."""
    client = client_of(own_server.url, max_connections="1")

    assert not SentAhead(client, "SADD", "key", "a").is_on_its_way
    assert client.scard("key") == 0


@pytest.mark.parametrize("options", [{}, {"max_connections": 1}], ids=["many connections", "one connection"])
def test_acknowledgements_on_their_way_survive_cuts(
    consume_there: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    proxy: Proxy,
    stream_name: str,
    options: dict[str, int],
) -> None:
    """Fast events while the connections are cut again and again: each is handled once, and nothing stays pending."""
    settings = {"EVENT_BUS_REDIS_CONNECTION_OPTIONS": options}
    consumer = consume_there(workers=2, settings=settings)
    ids = add_logins(server_client, stream_name, 6_000, "sleep:0.0005")
    for number in range(1, 6):
        consumer.wait_handled(number * 900)
        proxy.cut()

    consumer.wait_handled(len(ids))
    nothing_pending(server_client, stream_name)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
    assert consumer.stop() == 0


def test_a_server_that_is_silent_between_two_batches_is_noticed(
    consume_there: Callable[..., ConsumerProcess], server_client: redis.Redis, proxy: Proxy, stream_name: str
) -> None:
    """A worker that handles fast events says that there is no reply to what it has sent, once, and goes on after it."""
    consumer = consume_there(workers=1)
    ids = add_logins(server_client, stream_name, 3_000, "sleep:0.001")
    consumer.wait_handled(500)
    proxy.swallow()
    wait_until(lambda: "c1.0" in said(consumer.log), what="the worker has noticed")
    assert len(consumer.handled()) < len(ids)

    proxy.normal()

    consumer.wait_handled(len(ids))
    nothing_pending(server_client, stream_name)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
    fault_is_said_once(consumer, "c1.0")


def test_nothing_is_begun_before_a_slow_event_is_acknowledged(
    consume_there: Callable[..., ConsumerProcess],
    server_client: redis.Redis,
    proxy: Proxy,
    stream_name: str,
    tmp_path: Path,
) -> None:
    """Nor if events of its type are fast for the most part: who is killed then repeats one slow event at the most."""
    consumer = consume_there(workers=1)
    ids = add_logins(server_client, stream_name, 1_000)
    consumer.wait_handled(len(ids))
    done = tmp_path / "done"
    ids += add_batch(server_client, stream_name, [f"wait:{done}", *["ok"] * 50])
    wait_until(lambda: len(consumer.begun()) == 1_001, what="the slow one is begun")
    proxy.swallow()
    time.sleep(2 * ACK_WINDOW)

    done.touch()

    wait_until(lambda: "c1.0" in said(consumer.log), what="the worker has noticed")
    assert len(consumer.begun()) == 1_001
    proxy.normal()
    consumer.wait_handled(len(ids))
    nothing_pending(server_client, stream_name)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
