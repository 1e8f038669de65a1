"""Connections to the server that sentinels know to be the primary, asked with each new connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from redis import exceptions
from redis.connection import SSLConnection
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from edx_event_bus_redis.internal.server import Server

# What a connection to a sentinel does not have in common with one to its server: its users and databases are others.
_NOT_FOR_SENTINELS = frozenset(
    {
        *("connection_class", "db", "username", "password", "credential_provider"),
        *("client_name", "max_connections", "command_packer"),
    }
)


def pool_by_sentinels(server: Server, arguments: Mapping[str, Any]) -> redis.ConnectionPool:
    """
    Return a pool of connections to the primary.

    A connection that turns out to be to a replica is closed (redis-py does so); the next one asks again.

    Arguments:
        server: its sentinels and what is special about connections to them.
        arguments: of connections to the primary, with ``connection_class``.
    """
    is_tls = issubclass(arguments["connection_class"], SSLConnection)
    to_sentinel = {name: value for name, value in arguments.items() if name not in _NOT_FOR_SENTINELS}
    to_sentinel |= {"ssl": is_tls, **server.sentinel_arguments}
    if not to_sentinel["ssl"]:
        to_sentinel = {name: value for name, value in to_sentinel.items() if not name.startswith("ssl_")}
    sentinels = Sentinels([tuple(node) for node in server.where.nodes], sentinel_kwargs=to_sentinel)
    for sentinel in sentinels.sentinels:
        # Closing one that a parent has left would wait for a lock that may be held by a thread of the parent.
        sentinel.auto_close_connection_pool = False
    to_server = {**arguments, "connection_class": PrimarySSLConnection if is_tls else PrimaryConnection}
    return SentinelConnectionPool(server.where.service, sentinels, **to_server)


class PrimaryConnection(SentinelManagedConnection):
    """A connection to the primary, which tells when a sentinel has sent it to where nobody is."""

    def connect_to(self, address: tuple[str, int]) -> None:
        """Connect to where a sentinel says that the primary is."""
        try:
            super().connect_to(address)
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            self.connection_pool.sentinel_manager.ask_another()
            raise


class PrimarySSLConnection(PrimaryConnection, SentinelManagedSSLConnection):
    """The same by TLS."""


class Sentinels(Sentinel):
    """redis-py's sentinels, which say what is wrong with each of them, and do not describe their connections for it."""

    def ask_another(self) -> None:
        """Say that what was told did not help: the sentinel that has told it may be cut off from the others."""
        self.sentinels.append(self.sentinels.pop(0))

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """
        Return host and port of the primary.

        Raises:
            redis.AuthenticationError: all sentinels refuse the login.
            redis.sentinel.MasterNotFoundError: it cannot be known.
        """
        reasons: list[str] = []
        refused = 0
        for sentinel in list(self.sentinels):
            options = sentinel.connection_pool.connection_kwargs
            name = f"{options['host']}:{options['port']}"
            try:
                # Knows a successor earlier than the list of primaries, which redis-py would ask for.
                address: Any = sentinel.sentinel_get_master_addr_by_name(service_name)
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                refused += isinstance(error, exceptions.AuthenticationError)
                reasons.append(f"{name}: {error}")
                continue
            if address is not None:
                # The next one to be asked first.
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                host, port = address
                return host.decode(), int(port)
            reasons.append(f"{name}: does not know it")
        kind = exceptions.AuthenticationError if refused == len(self.sentinels) else MasterNotFoundError
        raise kind(f"no sentinel tells where {service_name!r} is ({'; '.join(reasons)})")
