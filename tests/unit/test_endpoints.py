"""The HTTP server of the monitor, in a process of its own: it answers, and nobody can hold it up."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.answering import ServerProcess
from tests.support.http import answered, ask, connections_of, free_port
from tests.support.waiting import wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    with ExitStack() as stack:

        def begin(host: str = "127.0.0.1", port: int = 0, **limits: float) -> ServerProcess:
            server = ServerProcess(host, port or free_port(), tmp_path / "log", **limits)
            stack.callback(server.kill)
            return server

        yield begin


@pytest.fixture
def port(start: Callable[..., ServerProcess]) -> int:
    return answering(start()).port


def answering(server: ServerProcess) -> ServerProcess:
    """Wait until the server answers."""
    wait_until(lambda: answered(server.port, "/hello"), what="it answers")
    return server


def talk(port: int, sent: bytes) -> bytes:
    """Send something and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(sent)
        return everything(client)


def everything(client: socket.socket) -> bytes:
    received = b""
    while part := client.recv(65536):
        received += part
    return received


def status(reply: bytes) -> int:
    return int(reply.split()[1])


def test_a_known_path_is_answered(port: int) -> None:
    """GET of a known path, with or without a query, has its answer; HEAD has the same headers and no body."""
    reply = ask(port, "/hello?verbose=1")
    assert (reply.status, reply.body) == (200, "hello")
    assert (reply.headers["Content-Type"], reply.headers["Content-Length"]) == ("text/plain", "5")

    head = ask(port, "/hello", method="HEAD")

    assert (head.status, head.body, head.headers) == (200, "", reply.headers)


@pytest.mark.parametrize("path", ["/", "/hello/", "/../hello", "//hello", "/metrics"])
def test_any_other_path_is_404(port: int, path: str) -> None:
    """What is no known path is not found, by whatever method."""
    assert ask(port, path).status == 404
    assert ask(port, path, method="POST").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"])
def test_any_other_method_is_405(port: int, method: str) -> None:
    """Only GET and HEAD are allowed, and the answer says so; it arrives though a body was not read."""
    reply = ask(port, "/hello", method=method, body=b"x" * 100_000)

    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\n\n", 400),
        (b"GET /hello\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1 more\r\n\r\n", 400),
        (b"GET /h\xe4llo HTTP/1.1\r\n\r\n", 400),
        (b"GET http://[::1/hello HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\n\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /hello HTTP/1.1\r\n" + b"X: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"x" * 1_000_000, 431),
        (b"GET http://127.0.0.1/hello HTTP/1.1\r\n\r\n", 200),
        (b"GET /hello HTTP/1.0\n\n", 200),
    ],
)
def test_what_is_no_request_is_refused(port: int, sent: bytes, expected: int) -> None:
    """What cannot be read, or is too long, is refused with a status of its own; unusual requests are answered."""
    assert status(talk(port, sent)) == expected


def test_an_answer_that_fails_is_500(start: Callable[..., ServerProcess]) -> None:
    """An error in an answer is logged and answered, and the next request is answered as before."""
    server = answering(start())

    assert ask(server.port, "/fail").status == 500

    assert "ZeroDivisionError" in server.log
    assert ask(server.port, "/hello").status == 200


def test_nobody_waits_for_a_slow_client(port: int) -> None:
    """While clients send nothing, half a request, or do not read what they asked for, others are answered."""
    with ExitStack() as stack:
        for sent in (b"", b"GET /he", b"GET /large HTTP/1.1\r\n\r\n"):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(sent)

        for _ in range(20):
            assert ask(port, "/hello").body == "hello"


def test_a_slow_client_is_closed_in_the_end(start: Callable[..., ServerProcess]) -> None:
    """Who does not get its request across in time is closed without an answer, however lively it is."""
    server = answering(start(seconds=1.0))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /hello HTTP/1.1\r\n")
        client.settimeout(0.05)

        def is_closed() -> bool:
            try:
                client.send(b"X: y\r\n")
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(is_closed, what="it is closed")


def test_who_does_not_read_its_answer_is_closed_in_the_end(start: Callable[..., ServerProcess]) -> None:
    """An answer that is not read is not kept for ever."""
    server = answering(start(seconds=1.0))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert client.recv(1) == b"H"

        wait_until(lambda: not established(server), what="it is gone")

        assert len(everything(client)) < 20_000_000


def test_more_clients_than_there_is_room_for_close_the_oldest(start: Callable[..., ServerProcess]) -> None:
    """However many connections somebody holds open, the next one is answered, and the oldest are not kept."""
    server = answering(start())
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(100)]

        assert ask(server.port, "/hello").body == "hello"

        assert len(established(server)) <= 32
        clients[-1].sendall(b"GET /hello HTTP/1.1\r\n\r\n")
        assert status(everything(clients[-1])) == 200


def test_a_large_answer_arrives_whole(port: int) -> None:
    """An answer that does not fit into the system's buffers is sent in parts."""
    assert len(ask(port, "/large").body) == 20_000_000


def test_a_port_that_is_taken_is_said_once_and_tried_again(start: Callable[..., ServerProcess]) -> None:
    """While somebody else has the port it is tried and said once; as soon as it is free it is answered."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = start(port=other.getsockname()[1])
        wait_until(lambda: "cannot answer" in server.log, what="it is said")
        before = sleeps(server.pid)
        wait_until(lambda: sleeps(server.pid) >= before + 2, what="it was tried again")
    answering(server)

    (line,) = [line for line in server.log.splitlines() if "cannot answer" in line]
    assert f"Pool c1 cannot answer to HTTP on port {server.port} of 127.0.0.1, goes on without, and tries again" in line
    assert "Address already in use" in line


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7"])
def test_an_address_that_is_not_here_is_said(start: Callable[..., ServerProcess], host: str) -> None:
    """A name that nobody knows, or the address of another machine, is an error in the log that names it."""
    server = start(host)

    wait_until(lambda: f"cannot answer to HTTP on port {server.port} of {host}, goes on" in server.log)


def test_the_port_can_be_had_again_at_once(start: Callable[..., ServerProcess]) -> None:
    """Who comes after a process that was killed, with connections of it still in the system, has the port."""
    first = answering(start())
    # The end of the connection came from the server, so that the system keeps it on that side for a minute.
    assert talk(first.port, b"GET /hello HTTP/1.1\r\n\r\n").endswith(b"hello")
    first.kill()

    second = answering(start(port=first.port))

    assert "cannot answer" not in second.log


def test_signals_are_for_the_main_thread(start: Callable[..., ServerProcess]) -> None:
    """The thread that answers takes no signal that the main thread waits for."""
    server = answering(start())

    for task in Path(f"/proc/{server.pid}/task").iterdir():
        if task.name != str(server.pid):
            (blocked,) = re.findall(r"^SigBlk:\s+(\w+)$", (task / "status").read_text(), re.MULTILINE)
            # SIGTERM, SIGINT and SIGUSR1.
            assert all(int(blocked, 16) & 1 << number - 1 for number in (15, 2, 10))


def sleeps(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep by themselves."""
    statuses = (task / "status" for task in Path(f"/proc/{pid}/task").iterdir())
    lines = (line for path in statuses for line in path.read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def established(server: ServerProcess) -> list[Any]:
    return [each for each in connections_of(psutil.Process(server.pid)) if each.status == psutil.CONN_ESTABLISHED]
