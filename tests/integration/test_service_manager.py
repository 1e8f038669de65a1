"""Consumers tell a service manager that they are ready, that they live, and that they stop."""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.support.events import add_logins


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end, for consumers that are started in the test."""
    address = f"tests/{time.monotonic_ns()}"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(f"\0{address}")
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{address}")
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        yield listener


def told(listener: socket.socket, first: str) -> list[str]:
    """Wait for a message that begins with this line; return its lines."""
    while True:
        lines = listener.recv(4096).decode().split("\n")
        if lines[0] == first:
            return lines


@pytest.mark.parametrize("workers", [None, 2])
def test_a_consumer_tells_its_service_manager(
    consume: Any, client: redis.Redis, stream_name: str, listener: socket.socket, workers: int | None
) -> None:
    """It is ready when it consumes, gives signs of life, also while it is idle, and says that it stops."""
    consumer = consume(workers=workers)

    assert told(listener, "READY=1")[1] == ("STATUS=1 consumer" if workers is None else "STATUS=2 workers")
    consumer.wait_running(workers or 1).wait_handled(len(add_logins(client, stream_name, 3)))
    told(listener, "WATCHDOG=1")
    told(listener, "WATCHDOG=1")
    assert consumer.stop() == 0
    told(listener, "STOPPING=1")
