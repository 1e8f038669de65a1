"""
A Redis client from a URL.

Everything that decides how long a call may block is set here, whatever the defaults of the installed redis-py: those
of redis-py 8 break a long blocking read, those of older versions wait for ever for a dead peer.
"""

from __future__ import annotations

import inspect
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from edx_event_bus_redis.internal.connection_url import connection_options

# Commands whose replies are parsed by ``Stream``.
_READ_RAW = (
    "XREADGROUP",
    "XAUTOCLAIM",
    "XINFO GROUPS",
    "XINFO CONSUMERS",
    "XINFO STREAM",
    "XPENDING",
    "XRANGE",
)

# Keeps redis-py from telling the server its name and version, two replies more to wait for with each connection. The
# argument that says so has changed.
_NO_SETINFO: dict[str, Any] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)


def _raw(reply: Any, **_: Any) -> Any:
    return reply


def make_client(url: str, *, timeout: float, connect_timeout: float) -> redis.Redis:
    """
    Return a client that connects when it is first used. It may be shared by threads and survives a fork.

    Arguments:
        url: of the server; ``socket_timeout`` and ``socket_connect_timeout`` among its parameters win.
        timeout: seconds that one reply may take.
        connect_timeout: seconds that connecting to one address may take.

    Nothing is tried again by redis-py: whoever calls knows better whether and when.

    Raises:
        ConfigurationError: the URL cannot work.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        **_NO_SETINFO,
        **connection_options(url),
        # Keys and values are bytes, and replies have the shape of RESP2, whatever the URL or redis-py's default says.
        "decode_responses": False,
        "protocol": 2,
    }
    if issubclass(options["connection_class"], redis.UnixDomainSocketConnection):
        del options["socket_keepalive"], options["socket_connect_timeout"]
    client = redis.Redis(connection_pool=redis.ConnectionPool(**options))
    for command in _READ_RAW:
        client.set_response_callback(command, _raw)
    return client


def reply_timeout(client: redis.Redis) -> float:
    """Return the seconds that one reply may take, which a blocking read must stay below."""
    return float(client.connection_pool.connection_kwargs["socket_timeout"])
