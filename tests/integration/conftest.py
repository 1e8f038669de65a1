"""Consumers of a server of their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from devtools.server import EmbeddedServer
from edx_event_bus_redis import create_producer
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.consuming import ConsumerProcess
from tests.support.proxy import Proxy


@pytest.fixture
def consume_here(consume: Any, own_server: EmbeddedServer) -> Callable[..., ConsumerProcess]:
    """Start a consumer of the test's own server, and wait until it runs."""

    def start(**arguments: Any) -> ConsumerProcess:
        consumer: ConsumerProcess = consume(**{"url": own_server.url, **arguments})
        return consumer.wait_running(arguments.get("workers") or 1)

    return start


@pytest.fixture
def proxy(own_server: EmbeddedServer) -> Iterator[Proxy]:
    """A way to the test's own server that can be made a bad one."""
    with Proxy(own_server.port) as proxy:
        yield proxy


@pytest.fixture
def consume_there(consume_here: Callable[..., ConsumerProcess], proxy: Proxy) -> Callable[..., ConsumerProcess]:
    """Start a consumer that reaches the server through the proxy."""

    def start(**arguments: Any) -> ConsumerProcess:
        return consume_here(url=proxy.url, **arguments)

    return start


@pytest.fixture
def server_client(own_server: EmbeddedServer) -> redis.Redis:
    """A client of the test's own server."""
    return own_server.client()


@pytest.fixture
def producer(bus_settings: None) -> RedisEventProducer:
    """The producer of a service whose server is that of the tests."""
    made = create_producer()
    assert made is not None
    return made
