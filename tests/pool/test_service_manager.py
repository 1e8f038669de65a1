"""A service manager is told how the process is, by datagrams of its protocol."""

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pool import Child, Outcome, Supervisor
from pool.service_manager import ServiceManager
from tests.pool.program import config, idle, monitor, say_event, wait_for_flag


@pytest.fixture(params=["a path", "an abstract name"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a socket, as the service manager writes it."""
    return str(tmp_path / "notify") if request.param == "a path" else f"@tests/{os.getpid()}/{time.monotonic_ns()}"


@pytest.fixture
def listener(address: str) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        listener.setblocking(False)
        yield listener


def received(listener: socket.socket) -> list[str]:
    """The lines of one message."""
    return listener.recv(4096).decode().split("\n")


def test_states_are_told(address: str, listener: socket.socket) -> None:
    """Ready, reloading, stopping and a status arrive in the words of the protocol, one message each."""
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    before = time.monotonic_ns() // 1000

    manager.ready("4 workers")
    manager.status("3 workers")
    manager.reloading("replacing workers")
    manager.stopping(30.0, "SIGTERM")

    assert received(listener) == ["READY=1", "STATUS=4 workers"]
    assert received(listener) == ["STATUS=3 workers"]
    reloading, moment, status = received(listener)
    assert (reloading, status) == ("RELOADING=1", "STATUS=replacing workers")
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert received(listener) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=40000000", "STATUS=SIGTERM"]


def test_signs_of_life_come_twice_as_often_as_they_are_missed(address: str, listener: socket.socket) -> None:
    """The first is due at once, the next after half of the time that the service manager gives."""
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
    assert manager.next_time() <= time.monotonic()

    before = time.monotonic()
    manager.keep_time()
    manager.keep_time()

    assert received(listener) == ["WATCHDOG=1"]
    with pytest.raises(BlockingIOError):
        listener.recv(1)
    assert before + 1.5 <= manager.next_time() <= time.monotonic() + 1.5


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}],
    ids=["not said", "none", "no number", "of another process"],
)
def test_nobody_is_told_of_life_who_does_not_ask(
    address: str, listener: socket.socket, watchdog: dict[str, str]
) -> None:
    """Without a watchdog for this very process there are no signs of life."""
    manager = ServiceManager({"NOTIFY_SOCKET": address, **watchdog})

    manager.keep_time()

    assert manager.next_time() == math.inf
    with pytest.raises(BlockingIOError):
        listener.recv(1)


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_a_process_without_service_manager_tells_nobody(environment: dict[str, str]) -> None:
    """Everything may be called without a socket, or with one of a kind that only virtual machines have."""
    manager = ServiceManager({**environment, "WATCHDOG_USEC": "1000000"})

    manager.ready("4 workers")
    manager.stopping(1, "SIGTERM")
    manager.keep_time()

    assert manager.next_time() == math.inf


def test_a_service_manager_that_does_not_listen_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Messages that nobody takes are left out: the socket is gone, or full because nobody reads it."""
    path = str(tmp_path / "notify")
    manager = ServiceManager({"NOTIFY_SOCKET": path})
    manager.ready("nobody there yet")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        for number in range(10_000):
            manager.status(str(number))
        assert received(listener) == ["STATUS=0"]


def supervise_served(work: Any, settings: dict[str, Any]) -> Outcome:
    return Supervisor(config(settings), work, monitor(), on_event=say_event, service_manager=ServiceManager()).run()


def wait_and_idle(child: Child) -> None:
    wait_for_flag("begin")
    idle(child)


class ServiceManagerEnd:
    """Takes what a program tells its service manager."""

    def __init__(self) -> None:
        self.address = f"@tests/{os.getpid()}/{time.monotonic_ns()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:])
        self._socket.settimeout(30)

    def close(self) -> None:
        self._socket.close()

    def take(self) -> list[str]:
        """Wait for the next message that is more than a sign of life."""
        while (lines := self._socket.recv(4096).decode().split("\n")) == ["WATCHDOG=1"]:
            pass
        return lines

    def wait_for_sign(self) -> None:
        while self._socket.recv(4096) != b"WATCHDOG=1":
            pass


@pytest.fixture
def service_manager() -> Iterator[ServiceManagerEnd]:
    with contextlib.closing(ServiceManagerEnd()) as end:
        yield end


def test_a_pool_tells_what_becomes_of_it(start_pool: Any, service_manager: ServiceManagerEnd) -> None:
    """It is ready when all workers have begun, reloads at SIGHUP, tells its size, and stops."""
    prefix = ["env", f"NOTIFY_SOCKET={service_manager.address}"]
    pool = start_pool(wait_and_idle, supervise_served, workers=2, shutdown_timeout=20, prefix=prefix)
    pool.wait_for("WorkerStarted", 2)
    pool.raise_flag("begin")

    assert service_manager.take() == ["READY=1", "STATUS=2 workers"]
    assert len(pool.wait_ready(2).records("ready")) == 2
    pool.send(signal.SIGHUP)
    assert service_manager.take()[0] == "RELOADING=1"
    assert service_manager.take() == ["READY=1", "STATUS=2 workers"]
    pool.send(signal.SIGTTIN)
    assert service_manager.take() == ["STATUS=3 workers"]
    pool.send(signal.SIGTERM)
    assert service_manager.take() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000", "STATUS=Stopping: SIGTERM"]
    assert pool.wait() == 0


def test_a_supervisor_gives_signs_of_life(start_pool: Any, service_manager: ServiceManagerEnd) -> None:
    """With a watchdog they come on and on, also while nothing happens in the pool."""
    prefix = ["env", f"NOTIFY_SOCKET={service_manager.address}", "WATCHDOG_USEC=200000"]
    pool = start_pool(idle, supervise_served, prefix=prefix)
    pool.wait_ready(1)

    for _ in range(10):
        service_manager.wait_for_sign()
    pool.stop()
