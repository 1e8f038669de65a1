"""
Connections to a server, or to the node of a cluster that has a stream, lent to one caller at a time, for commands whose
cost is to be the round trip and little else.

redis-py's pool asks the operating system, each time that it lends a connection, whether the server has closed it, and
its clients do more for each command than a command needs: together as much as the round trip to a server nearby. Here a
connection is kept and used as it is. One that the server has closed meanwhile shows by its next command, which the
server then has not seen.

A connection is never used again unless each of its commands has got its reply: else the next caller would get the reply
to somebody else's command.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis
from redis import exceptions
from redis.connection import Connection

from edx_event_bus_redis.internal.cluster import MOST_MOVES, OfSlot, SlotMoved
from edx_event_bus_redis.internal.per_process import PerProcess

Reply = Any

# Before redis-py 5.3 a pool wants the name of a command, of which it makes nothing.
_OLD = inspect.signature(redis.ConnectionPool.get_connection).parameters.get("command_name")
_FOR_COMMAND = ("XADD",) if _OLD is not None and _OLD.default is inspect.Parameter.empty else ()


def packed(parts: Sequence[bytes]) -> bytes:
    """Return the parts of a command, or some of them, as the server reads them."""
    lengths_and_parts: list[int | bytes] = []
    for part in parts:
        lengths_and_parts += (len(part), part)
    # In one go, which is quicker than one part at a time.
    return b"$%d\r\n%b\r\n" * len(parts) % tuple(lengths_and_parts)


def opening(parts: int) -> bytes:
    """Return what a command of so many parts begins with."""
    return b"*%d\r\n" % parts


class Connections:
    """
    Connections of a client's pool. Threads may share them, and a process forked from the one that used them too.

    Arguments:
        client: returns this process's client, of ``make_client``. Its time-outs hold for each wait.

    Commands are packed bytes. What redis-py raises is raised as it is.
    """

    def __init__(self, client: Callable[[], redis.Redis]) -> None:
        self._client = client
        # Taking from a list and putting back are atomic, so that no lock can be held when a process forks.
        self._kept: PerProcess[list[Connection]] = PerProcess(list)

    def ask(self, command: bytes) -> Reply:
        """Send a command and return its reply; raise it if it is an error."""
        for _ in range(MOST_MOVES):
            try:
                return self._ask(command)
            except SlotMoved:
                continue
        return self._ask(command)

    def _ask(self, command: bytes) -> Reply:
        kept = self._kept.get()
        try:
            connection = kept.pop()
        except IndexError:
            connection = self._client().connection_pool.get_connection(*_FOR_COMMAND)
        try:
            connection.send_packed_command(_to_send(connection, (command,)))
            reply = connection.read_response()
        except BaseException as error:
            if isinstance(error, exceptions.ResponseError) and _is_in_order(error):
                kept.append(connection)
            else:
                self._give_up(connection, kept)
            raise
        kept.append(connection)
        return reply

    def ask_all(
        self, commands: Sequence[bytes], seconds: float, replies: list[Reply], *, behind: Sequence[bytes] = ()
    ) -> None:
        """
        Send commands in one go, and append the reply to each to ``replies``; one that is an error as the exception.

        The commands are sent once: if this raises, those without a reply may have been done or not. Only when there is
        no connection to be had, nothing was sent; then NotSent is raised.

        Arguments:
            commands: so few that neither they nor their replies fill the buffers between here and the server.
            seconds: after which no more replies are waited for.
            replies: empty.
            behind: commands about the connection itself, sent behind the others, to the last node that these are sent
                to. Their replies come last.
        """
        deadline = time.monotonic() + seconds
        for _ in range(MOST_MOVES):
            done = len(replies)
            self._ask_all([*commands[done:], *behind], deadline, replies)
            of_keys = range(done, len(commands))
            moved = next((index for index in of_keys if isinstance(replies[index], SlotMoved)), None)
            # What comes behind the first that was not done was not done either, so that the order stays.
            if moved is None or not all(isinstance(reply, SlotMoved) for reply in replies[moved : len(commands)]):
                return
            del replies[moved:]
        self._ask_all([*commands[len(replies) :], *behind], deadline, replies)

    def _ask_all(self, commands: Sequence[bytes], deadline: float, replies: list[Reply]) -> None:
        pool = self._client().connection_pool
        try:
            # Not one that was kept: this one is known to be open.
            connection = pool.get_connection(*_FOR_COMMAND)
        except (exceptions.RedisError, OSError) as error:
            raise NotSent(error) from error
        try:
            connection.send_packed_command((b"".join(_to_send(connection, commands)),))
            _read(connection, len(commands), deadline, replies)
            if not all(map(_is_in_order, replies)):
                connection.disconnect()
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    def _give_up(self, connection: Connection, kept: list[Connection]) -> None:
        """Close a connection, and all that are kept: what has closed the one has most likely closed the others."""
        pool = self._client().connection_pool
        while True:
            connection.disconnect()
            pool.release(connection)
            try:
                connection = kept.pop()
            except IndexError:
                return


class SentAhead:
    """
    A command that is sent now and whose reply is read later; meanwhile the client's other commands go another way.

    Arguments:
        client: of ``make_client``.
        command: name and arguments.
    """

    def __init__(self, client: redis.Redis, *command: Any) -> None:
        self._pool = client.connection_pool
        self._connection: Connection | None = None
        # Where there is only one connection it may be needed before the reply is read.
        if self._pool.max_connections > 1:
            with self._given_up_on_failure():
                self._connection = self._pool.get_connection(*_FOR_COMMAND)
                self._connection.send_command(*command)

    @property
    def is_on_its_way(self) -> bool:
        """Whether it was sent, as far as is known, and its reply was not read."""
        return self._connection is not None

    def is_done(self) -> bool:
        """Wait for the reply; return whether there is one that is no error. If not, only another try can tell why."""
        with self._given_up_on_failure():
            if self._connection is not None:
                self._connection.read_response()
                self._pool.release(self._connection)
                self._connection = None
                return True
        return False

    @contextlib.contextmanager
    def _given_up_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.disconnect()
                self._pool.release(connection)
            if not isinstance(error, exceptions.RedisError | OSError):
                raise


class NotSent(Exception):
    """
    There was no connection to be had, so nothing was sent.

    Attributes:
        reason: what redis-py raised.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _read(connection: Connection, number: int, deadline: float, replies: list[Reply]) -> None:
    for _ in range(number):
        if time.monotonic() > deadline:
            raise exceptions.TimeoutError("Timeout reading from socket")
        try:
            replies.append(connection.read_response())
        except (exceptions.ResponseError, SlotMoved) as error:
            replies.append(error)


def _is_in_order(reply: Reply) -> bool:
    # A replica has been a primary when this connection was made. A new one may lead to the new primary.
    return not isinstance(reply, exceptions.ReadOnlyError | SlotMoved)


def _to_send(connection: Connection, commands: Sequence[bytes]) -> Sequence[bytes]:
    return connection.packed(commands) if isinstance(connection, OfSlot) else commands
