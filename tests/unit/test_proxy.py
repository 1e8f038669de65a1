"""The network of the fault tests does what they ask of it."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.client import make_client
from tests.support.proxy import Proxy


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


def connected(proxy: Proxy, timeout: float = 10.0) -> redis.Redis:
    client = make_client(proxy.url, timeout=timeout, connect_timeout=timeout)
    client.ping()
    return client


def test_it_forwards_what_is_large(proxy: Proxy) -> None:
    """Requests and replies of any size come through unchanged."""
    client, value = connected(proxy), bytes(range(256)) * 8192

    client.set("large", value)

    assert client.get("large") == value


def test_latency_delays_but_does_not_narrow(proxy: Proxy) -> None:
    """Each direction is late by the latency, once, however much is sent."""
    client = connected(proxy)
    proxy.slow(latency=0.2)
    began = time.monotonic()

    client.set("large", b"x" * 1_000_000)

    assert time.monotonic() - began >= 0.4
    proxy.normal()


def test_a_narrow_line_passes_so_many_bytes_a_second(proxy: Proxy) -> None:
    """The bytes of all connections together take their time."""
    clients = [connected(proxy), connected(proxy)]
    clients[0].set("some", b"x" * 10_000)
    proxy.slow(bytes_per_second=40_000)
    began = time.monotonic()

    threads = [threading.Thread(target=client.get, args=["some"]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - began >= 0.45


def test_cut_connections_can_be_made_anew(proxy: Proxy) -> None:
    """A cut ends the command that waits, and the next one has a connection of its own."""
    client = connected(proxy)
    cutting = threading.Timer(0.1, proxy.cut)
    cutting.start()

    with pytest.raises(redis.ConnectionError, match="reset"):
        client.blpop("nothing")

    cutting.join()
    assert client.ping()


def test_refused_are_new_connections_only(proxy: Proxy) -> None:
    """Refusing leaves open connections alone, and ends with ``normal``."""
    client = connected(proxy)
    proxy.refuse()

    assert client.ping()
    with pytest.raises(redis.ConnectionError, match="refused"):
        connected(proxy)
    proxy.normal()
    assert connected(proxy).ping()


def test_swallowed_bytes_come_later(proxy: Proxy) -> None:
    """While bytes are swallowed connections can be made and nothing is answered; then they come."""
    client = connected(proxy, timeout=0.2)
    proxy.swallow()
    with pytest.raises(redis.TimeoutError):
        client.incr("counter")
    with pytest.raises(redis.TimeoutError):
        connected(proxy, timeout=0.2)

    proxy.normal()

    assert client.ping()


def test_a_reply_is_broken_off_in_its_middle(proxy: Proxy) -> None:
    """The first reply that is long enough is broken off by a reset, shorter ones before it and all after it are not."""
    client = connected(proxy)
    client.set("large", b"x" * 100_000)
    proxy.reset_reply_after(50_000)
    assert client.ping()

    with pytest.raises(redis.ConnectionError, match="reset"):
        client.get("large")

    assert (proxy.resets, len(client.get("large"))) == (1, 100_000)


def test_it_outlives_its_server(server: EmbeddedServer, proxy: Proxy) -> None:
    """While the server is away connections are reset; when it is back they work."""
    client = connected(proxy)
    server.kill()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()

    server.restart()

    assert client.ping()


def test_it_leaves_nothing_behind(server: EmbeddedServer) -> None:
    """Its thread, its port and its connections are gone after it."""
    with Proxy(server.port) as proxy:
        client = connected(proxy)
    with pytest.raises(redis.ConnectionError):
        client.ping()
    with pytest.raises(redis.ConnectionError, match="refused"):
        client.ping()
    assert "proxy" not in {thread.name for thread in threading.enumerate()}
