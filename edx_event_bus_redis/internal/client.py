"""
A Redis client from a URL.

Everything that decides how long a call may block is set here, whatever the defaults of the installed redis-py: those
of redis-py 8 break a long blocking read, those of older versions wait for ever for a dead peer.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from edx_event_bus_redis.internal.connection_url import connection_options


def make_client(url: str, *, timeout: float, connect_timeout: float, retries: int = 0) -> redis.Redis:
    """
    Return a client that connects when it is first used. It may be shared by threads and survives a fork.

    Arguments:
        url: of the server; ``socket_timeout`` and ``socket_connect_timeout`` among its parameters win.
        timeout: seconds that one reply may take.
        connect_timeout: seconds that connecting may take.
        retries: how often a command is tried again, 0.05 s later, after a connection error. Never after a time-out:
            a server that hung once would make the caller wait as long again.

    Raises:
        ConfigurationError: the URL cannot work.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "socket_keepalive": True,
        "retry": Retry(ConstantBackoff(0.05), retries, supported_errors=(redis.ConnectionError,)),
        **connection_options(url),
        # Keys and values are bytes, and replies have the shape of RESP2, whatever the URL or redis-py's default says.
        "decode_responses": False,
        "protocol": 2,
    }
    if issubclass(options["connection_class"], redis.UnixDomainSocketConnection):
        del options["socket_keepalive"], options["socket_connect_timeout"]
    return redis.Redis(connection_pool=redis.ConnectionPool(**options))


def reply_timeout(client: redis.Redis) -> float:
    """Return the seconds that one reply may take, which a blocking read must stay below."""
    return float(client.connection_pool.connection_kwargs["socket_timeout"])
