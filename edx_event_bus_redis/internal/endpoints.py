"""
A small HTTP server: one thread that answers a few paths, beside the process that it is in.

It holds to bounds instead of trust, so that nobody who can reach the port can hold it up or fill its memory:

1. One thread, which never waits for one client. So many connections at a time; beyond them the oldest one is closed.
2. One request a connection, so many bytes of it, and so many seconds from its first byte to the last of the answer.
3. Only GET and HEAD, and only paths that are known. Headers are read past, a body is not read at all.

If the port cannot be had the process goes on with its work: it says so once, and tries again until it can.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from edx_event_bus_redis.internal.log_lines import ANSWERING_FAILED, ANSWERS, CANNOT_ANSWER

logger = logging.getLogger(__name__)

_MOST_CONNECTIONS = 32
_MOST_BYTES = 8192
_SECONDS = 5.0

# Seconds that a client may take to close a connection that was answered. Closing it first, with something unread, would
# make the system throw the answer away.
_LINGER = 1.0

# Seconds until the port is tried again.
_RETRY = 1.0


class Answer(NamedTuple):
    """What is answered: a status, the type of the body and the body. ``headers``: more lines, each with its end."""

    status: int
    content_type: str
    body: bytes
    headers: str = ""


class Endpoints:
    """
    Answers to HTTP on one port, in a thread that ends with the process.

    Arguments:
        host: address, or its name, to listen on.
        port: its number.
        answers: what answers to which path. Called in the thread; one that fails is logged and answered with 500.
        pool: name of the pool that answers, for the log.
        seconds: that a client has from its connection to the last byte of the answer.
    """

    def __init__(
        self, host: str, port: int, answers: Mapping[str, Callable[[], Answer]], pool: str, seconds: float = _SECONDS
    ) -> None:
        self._host = host
        self._port = port
        self._answers = answers
        self._pool = pool
        self._seconds = seconds
        self._said: set[str] = set()

    def start(self) -> None:
        """Start to answer."""
        thread = threading.Thread(target=self._run, name="endpoints", daemon=True)
        # The kernel must not choose the thread to receive what the main thread is to be interrupted by.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _run(self) -> None:
        while True:
            try:
                with self._listen() as listener:
                    self._said.clear()
                    ANSWERS.log(logger, pool=self._pool, port=self._port, host=self._host)
                    _Server(listener, self._answer, self._seconds).serve()
            except OSError as error:
                self._say_once(str(error))
            except Exception:  # noqa: BLE001 -- the line has the traceback
                ANSWERING_FAILED.log(logger, pool=self._pool, exc_info=True)
            time.sleep(_RETRY)

    def _listen(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # Who comes after a process that was killed can have the port at once.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def _say_once(self, error: str) -> None:
        if error not in self._said:
            self._said.add(error)
            CANNOT_ANSWER.log(logger, pool=self._pool, port=self._port, host=self._host, error=error)

    def _answer(self, head: bytes) -> Answer:
        try:
            method, target, version = head.split(b"\n", 1)[0].decode("ascii").split()
            path = urlsplit(target).path
        except ValueError:
            return _refusal(HTTPStatus.BAD_REQUEST)
        if not version.startswith("HTTP/1."):
            return _refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        answer = self._answers.get(path)
        if answer is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        if method not in {"GET", "HEAD"}:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD\r\n")
        try:
            return answer()
        except Exception:  # noqa: BLE001 -- as above
            ANSWERING_FAILED.log(logger, pool=self._pool, exc_info=True)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Connection:
    """A client and what was read from it; after that, what is left to be sent to it."""

    def __init__(self, client: socket.socket, seconds: float) -> None:
        self.client = client
        self.deadline = time.monotonic() + seconds
        self.read = bytearray()
        self.unsent = memoryview(b"")
        self.answered = False


class _Server:
    """Serves the clients of one listening socket, one step at a time for each."""

    def __init__(self, listener: socket.socket, answer: Callable[[bytes], Answer], seconds: float) -> None:
        self._listener = listener
        self._answer = answer
        self._seconds = seconds
        self._selector = selectors.DefaultSelector()
        # The oldest first, which is also the one whose time is over first, but for those that were answered.
        self._connections: dict[int, _Connection] = {}

    def serve(self) -> None:
        with self._selector:
            self._selector.register(self._listener, selectors.EVENT_READ)
            try:
                while True:
                    self._step()
            finally:
                for connection in [*self._connections.values()]:
                    self._close(connection)

    def _step(self) -> None:
        for key, _ in self._selector.select(self._seconds_left()):
            connection = self._connections.get(key.fd)
            if key.data is None:
                self._accept()
            # It may have been closed a moment ago, and its number be that of a new one.
            elif connection is not None and connection is key.data:
                self._go_on(connection)
        now = time.monotonic()
        for connection in [each for each in self._connections.values() if each.deadline <= now]:
            self._close(connection)

    def _seconds_left(self) -> float | None:
        if not self._connections:
            return None
        return max(0.0, min(each.deadline for each in self._connections.values()) - time.monotonic())

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            # It has thought better of it.
            return
        client.setblocking(False)
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._close(next(iter(self._connections.values())))
        connection = self._connections[client.fileno()] = _Connection(client, self._seconds)
        self._selector.register(client, selectors.EVENT_READ, connection)

    def _go_on(self, connection: _Connection) -> None:
        try:
            if connection.unsent:
                self._send(connection)
            else:
                self._receive(connection)
        except BlockingIOError:
            return
        except OSError:
            # The client is gone.
            self._close(connection)

    def _receive(self, connection: _Connection) -> None:
        received = connection.client.recv(_MOST_BYTES)
        if not received:
            self._close(connection)
        elif not connection.answered:
            connection.read += received
            head = bytes(connection.read[:_MOST_BYTES]).replace(b"\r\n", b"\n")
            if b"\n\n" in head:
                connection.unsent = _encoded(self._answer(head), with_body=not head.startswith(b"HEAD "))
            elif len(connection.read) >= _MOST_BYTES:
                connection.unsent = _encoded(_refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
            if connection.unsent:
                connection.read.clear()
                self._selector.modify(connection.client, selectors.EVENT_WRITE, connection)

    def _send(self, connection: _Connection) -> None:
        connection.unsent = connection.unsent[connection.client.send(connection.unsent) :]
        if not connection.unsent:
            connection.answered = True
            connection.deadline = min(connection.deadline, time.monotonic() + _LINGER)
            connection.client.shutdown(socket.SHUT_WR)
            self._selector.modify(connection.client, selectors.EVENT_READ, connection)

    def _close(self, connection: _Connection) -> None:
        del self._connections[connection.client.fileno()]
        self._selector.unregister(connection.client)
        with contextlib.suppress(OSError):
            connection.client.close()


def _refusal(status: HTTPStatus, headers: str = "") -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode(), headers)


def _encoded(answer: Answer, *, with_body: bool = True) -> memoryview:
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\n"
        f"{answer.headers}"
        "Connection: close\r\n\r\n"
    )
    return memoryview(head.encode("ascii") + (answer.body if with_body else b""))
