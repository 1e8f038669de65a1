"""
Redis clients: of a server, of the one that sentinels know, or of the nodes of a cluster.

Everything that decides how long a call may block is set here, whatever the defaults of the installed redis-py: those
of redis-py 8 break a long blocking read, those of older versions wait for ever for a dead peer.

What a producer sends does not go through a client's commands: see ``connections``.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, PythonRespSerializer, SSLConnection
from redis.crc import key_slot
from redis.retry import Retry

from edx_event_bus_redis.internal.cluster import (
    FollowMoves,
    Nodes,
    Route,
    SlotConnection,
    SlotMoved,
    SlotSSLConnection,
)
from edx_event_bus_redis.internal.connection_url import Address, Kind
from edx_event_bus_redis.internal.errors import ServerError, ServerNotTrusted
from edx_event_bus_redis.internal.per_process import PerProcess
from edx_event_bus_redis.internal.sentinels import pool_by_sentinels
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.server_errors import translated_errors

# Commands whose replies are parsed by ``Stream``.
_READ_RAW = (
    "XREADGROUP",
    "XINFO GROUPS",
    "XINFO CONSUMERS",
    "XINFO STREAM",
    "XPENDING",
    "XRANGE",
    "XREVRANGE",
)

# Keeps redis-py from telling the server its name and version, two replies more to wait for with each connection. The
# argument that says so has changed.
_NO_SETINFO: dict[str, Any] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)


# Seconds in which a server says that it does not trust a certificate.
_ALERT_SECONDS = 1.0

# Bytes above which parts of a command are sent one by one; redis-py's own value.
_BUFFER_CUTOFF = 6000


def _raw(reply: Any, **_: Any) -> Any:
    return reply


def _encoded(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode(errors="surrogateescape")


class Clients:
    """
    Clients of a server, or of the nodes of a cluster, each of which connects when it is first used.

    Threads may share them; a process that is forked from one that uses them gets others. Nothing is tried again by
    redis-py but what a node of a cluster has refused because another one has it: whoever calls knows better whether and
    when.

    Arguments:
        server: or its URL.
        timeout: seconds that one reply may take; ``socket_timeout`` of the server wins.
        connect_timeout: seconds that connecting to one address may take; ``socket_connect_timeout`` wins.
        any_names: whether names that are no text can be asked for, decoded with ``surrogateescape``. Slower.

    Raises:
        ConfigurationError: the URL cannot work.
    """

    def __init__(
        self, server: Server | str, *, timeout: float, connect_timeout: float, any_names: bool = False
    ) -> None:
        self._server = server if isinstance(server, Server) else Server.of(server)
        self._kind = self._server.where.kind
        self._arguments: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": connect_timeout,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            **_NO_SETINFO,
            **self._server.arguments,
            # Keys and values are bytes, and replies have the shape of RESP2, whatever the URL or redis-py's default is.
            "decode_responses": False,
            "protocol": 2,
        }
        if any_names:
            # hiredis, which would be used where it is installed, takes no such names.
            self._arguments["command_packer"] = PythonRespSerializer(_BUFFER_CUTOFF, _encoded)
        if issubclass(self._arguments["connection_class"], redis.UnixDomainSocketConnection):
            del self._arguments["socket_keepalive"], self._arguments["socket_connect_timeout"]
        self._is_tls = issubclass(self._arguments["connection_class"], SSLConnection)
        if self._is_tls:
            self._arguments["redis_connect_func"] = _greet
        self._nodes = Nodes(self._server.where.nodes, self._arguments, self._server.address_remap)
        # By slot, the only server has all of them; and by node.
        self._of_slots: PerProcess[dict[int, redis.Redis]] = PerProcess(dict)
        self._of_nodes: PerProcess[dict[Address, redis.Redis]] = PerProcess(dict)

    @property
    def are_one(self) -> bool:
        """Whether one client is for all keys."""
        return self._kind is not Kind.CLUSTER

    def of(self, key: str) -> redis.Redis:
        """Return the client for the keys that are in one slot with this one."""
        slot = 0 if self.are_one else key_slot(key.encode(errors="surrogateescape"))
        made = self._of_slots.get()
        # Threads that come at once may make several; all get the same.
        return made.get(slot) or made.setdefault(slot, self._make(slot))

    def everywhere(self) -> list[redis.Redis]:
        """
        Return clients that together reach all keys, for commands that go through keys.

        In a cluster it asks for the nodes. Raises what redis-py raises.
        """
        if self.are_one:
            return [self.of("")]
        return [self._of_node(node) for node in self._nodes.primaries()]

    def close(self) -> None:
        """Close all connections."""
        for client in (*self._of_slots.get().values(), *self._of_nodes.get().values()):
            client.connection_pool.disconnect()

    def _of_node(self, node: Address) -> redis.Redis:
        made = self._of_nodes.get()
        if node not in made:
            made[node] = _client(redis.ConnectionPool(**self._arguments, host=node.host, port=node.port))
        return made[node]

    def _make(self, slot: int) -> redis.Redis:
        if self._kind is Kind.SENTINEL:
            return _client(pool_by_sentinels(self._server, self._arguments))
        if self._kind is Kind.SERVER:
            return _client(redis.ConnectionPool(**self._arguments))
        arguments = {
            **self._arguments,
            "connection_class": SlotSSLConnection if self._is_tls else SlotConnection,
            "route": Route(self._nodes, slot),
            "retry": FollowMoves(),
            # Lets older versions of redis-py leave it to the retry.
            "retry_on_error": [SlotMoved],
        }
        return _client(redis.ConnectionPool(**arguments))


def make_client(
    server: Server | str, *, timeout: float, connect_timeout: float, key: str = "", any_names: bool = False
) -> redis.Redis:
    """Return the client of ``Clients`` for the keys that are in one slot with a key."""
    return Clients(server, timeout=timeout, connect_timeout=connect_timeout, any_names=any_names).of(key)


def _greet(connection: AbstractConnection) -> None:
    """
    Do what redis-py does with a new connection, and wait for a reply, if it did not.

    A server that speaks TLS sends tickets behind the handshake. Before they are read, with the first reply, redis-py
    takes the connection for one that has somebody else's reply. This command needs no right.
    """
    connection.on_connect()
    connection.send_command("HELLO", check_health=False)
    # Whatever is in the way between here and the server may not know it.
    with contextlib.suppress(redis.ResponseError):
        connection.read_response()


def refusal_by_tls(client: redis.Redis) -> ServerNotTrusted | None:
    """
    Return that the server does not trust this side, if that is why it closes connections.

    With TLS 1.3 it says so behind the handshake. To who has sent a command by then the connection is reset, and the
    server's word is lost with it; so this one connects and listens.
    """
    pool = client.connection_pool
    if not issubclass(pool.connection_class, SSLConnection):
        return None
    # None of the pool's, which may have as many as it may have.
    connection = pool.connection_class(**{**pool.connection_kwargs, "redis_connect_func": _listen})
    try:
        with translated_errors():
            connection.connect()
    except ServerNotTrusted as error:
        return error
    except ServerError:
        pass
    finally:
        connection.disconnect()
    return None


def _listen(connection: Any) -> None:
    # Not through redis-py's parser, which gets to know the socket when the connection greets.
    connection._sock.settimeout(_ALERT_SECONDS)  # noqa: SLF001
    connection._sock.recv(1)  # noqa: SLF001


def _client(pool: redis.ConnectionPool) -> redis.Redis:
    client = redis.Redis(connection_pool=pool)
    for command in _READ_RAW:
        client.set_response_callback(command, _raw)
    return client


def reply_timeout(client: redis.Redis) -> float:
    """Return the seconds that one reply may take, which a blocking read must stay below."""
    return float(client.connection_pool.connection_kwargs["socket_timeout"])
