"""A network between consumers and a server, which can be made slow, narrow, dead, or worse."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from devtools.embedded import FREE_PORTS

T = TypeVar("T")

HOST = "127.0.0.1"

# Closing a socket with this option sends a reset instead of a farewell.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_CHUNK = 16_384

# A narrow line passes pieces of so many seconds, so that its traffic is a trickle and not a few bursts.
_PIECE_SECONDS = 0.05


class Proxy:
    """
    Forwards the connections to a port of its own on the loopback interface to a server's port.

    As a context manager it runs on a thread of its own from entry to exit, and then has closed everything. Its methods
    may be called from any thread; each has taken effect when it returns, for open connections too.

    Arguments:
        server_port: of the server, on the loopback interface. It may be down; connections are reset then.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener = _listener_on_a_free_port()
        self._listener.setblocking(False)
        self._accepting: asyncio.Task[None] | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self.line = _Line()
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """What ``EVENT_BUS_REDIS_CONNECTION_URL`` takes."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def resets(self) -> int:
        """How often a reply was broken off so far."""
        return self.line.resets

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        async def close() -> None:
            await self._refuse()
            await self._cut()

        self._call(close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    # What can be done to the network.

    def slow(self, *, latency: float = 0.0, bytes_per_second: float | None = None) -> None:
        """Delay everything by so many seconds in each direction, and let no more bytes than that pass in each."""

        async def set_pace() -> None:
            self.line.latency, self.line.bytes_per_second = latency, bytes_per_second

        self._call(set_pace)

    def cut(self) -> None:
        """Reset all connections; new ones are welcome."""
        self._call(self._cut)

    def refuse(self) -> None:
        """Refuse new connections; the open ones stay."""
        self._call(self._refuse)

    def swallow(self) -> None:
        """Accept connections and forward nothing, as a firewall that drops packets; it comes with ``normal``."""
        self._stop_flow(requests=True, replies=True)

    def deafen(self) -> None:
        """Forward requests and no reply; these come with ``normal``, if somebody still waits for them."""
        self._stop_flow(requests=False, replies=True)

    def reset_reply_after(self, count: int) -> None:
        """Break off the next reply that is longer than so many bytes: these are forwarded, then a reset."""

        async def arm() -> None:
            self.line.reset_after = count

        self._call(arm)

    def normal(self) -> None:
        """Undo all of the above."""

        async def restore() -> None:
            self.line.latency, self.line.bytes_per_second, self.line.reset_after = 0.0, None, None
            for flow in self.line.flows.values():
                flow.set()
            await self._accept()

        self._call(restore)

    # How it is done, on the thread of the loop.

    def _stop_flow(self, *, requests: bool, replies: bool) -> None:
        async def stop() -> None:
            for is_reply, stops in ((False, requests), (True, replies)):
                if stops:
                    self.line.flows[is_reply].clear()

        self._call(stop)

    def _call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(10)

    async def _accept(self) -> None:
        if self._accepting is None:
            self._listener.listen(100)
            self._accepting = self._loop.create_task(self._keep_accepting())

    async def _keep_accepting(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            connection = _Connection(client, self._server_port, self.line)
            task = self._loop.create_task(connection.run())
            self._connections[task] = connection
            task.add_done_callback(self._connections.pop)

    async def _refuse(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._accepting = None
            # Ends listening, but keeps the port: nobody else is given it.
            self._listener.shutdown(socket.SHUT_RDWR)

    async def _cut(self) -> None:
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))


def _listener_on_a_free_port() -> socket.socket:
    """
    Return a socket that listens on a free port of our choice.

    The kernel keeps a port that was asked for by its number when the socket stops listening, not one that it chose.
    """
    generator = random.Random()
    while True:
        with contextlib.suppress(OSError):
            return socket.create_server((HOST, generator.choice(FREE_PORTS)))


class _Line:
    """What all connections have in common: the state of the network."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.bytes_per_second: float | None = None
        self.reset_after: int | None = None
        # By whether it is that of the replies.
        self.flows = {False: asyncio.Event(), True: asyncio.Event()}
        for flow in self.flows.values():
            flow.set()
        self.resets = 0
        self._free_at = {True: 0.0, False: 0.0}

    async def passed(self, size: int, *, is_reply: bool) -> None:
        """Return when so many bytes have passed the line, which all connections share."""
        if self.bytes_per_second is not None:
            now = asyncio.get_running_loop().time()
            self._free_at[is_reply] = max(self._free_at[is_reply], now) + size / self.bytes_per_second
            await asyncio.sleep(self._free_at[is_reply] - now)

    def piece(self, left: int) -> int:
        """Return how many bytes are to be sent at once."""
        if self.bytes_per_second is None:
            return left
        return max(1, min(left, int(self.bytes_per_second * _PIECE_SECONDS)))


class _Connection:
    """One connection and its other half to the server. It always ends by a reset."""

    def __init__(self, client: socket.socket, server_port: int, line: _Line) -> None:
        self._client = client
        self._server_port = server_port
        self._line = line
        # Of the present reply: what has come since the last request.
        self._reply_bytes = 0

    async def run(self) -> None:
        """Forward both directions until either ends."""
        writers: list[asyncio.StreamWriter] = []
        try:
            from_client, to_client = await asyncio.open_connection(sock=self._client)
            writers.append(to_client)
            from_server, to_server = await asyncio.open_connection(HOST, self._server_port)
            writers.append(to_server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(from_client, to_server, is_reply=False))
                both.create_task(self._forward(from_server, to_client, is_reply=True))
        except* (OSError, _Ended):
            pass
        finally:
            for writer in writers:
                with contextlib.suppress(OSError):
                    end = writer.get_extra_info("socket")
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        """Forward one direction until it ends. What is on its way does not keep more from being sent."""
        on_their_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        now = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as group:
            group.create_task(self._arrive(on_their_way, writer, is_reply=is_reply))
            while data := await reader.read(_CHUNK):
                on_their_way.put_nowait((now() + self._line.latency, data))
            on_their_way.put_nowait((now() + self._line.latency, b""))

    async def _arrive(
        self, on_their_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        line, now = self._line, asyncio.get_running_loop().time
        while True:
            due, data = await on_their_way.get()
            await asyncio.sleep(max(0.0, due - now()))
            await line.flows[is_reply].wait()
            if not data:
                raise _Ended
            while data:
                size = line.piece(len(data))
                await line.passed(size, is_reply=is_reply)
                await line.flows[is_reply].wait()
                self._send(data[:size], writer, is_reply=is_reply)
                await writer.drain()
                data = data[size:]

    def _send(self, data: bytes, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        if not is_reply:
            self._reply_bytes = 0
            writer.write(data)
            return
        limit = self._line.reset_after
        if limit is None or self._reply_bytes + len(data) <= limit:
            self._reply_bytes += len(data)
            writer.write(data)
            return
        self._line.reset_after = None
        self._line.resets += 1
        writer.write(data[: max(0, limit - self._reply_bytes)])
        raise _Ended


class _Ended(Exception):
    """One side has closed the connection, or it is to be broken off."""
