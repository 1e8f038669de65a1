"""``EVENT_BUS_REDIS_CONNECTION_URL``: whether it can work, and how to name it without its password."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from redis.connection import Connection, parse_url

from edx_event_bus_redis.internal import values
from edx_event_bus_redis.internal.errors import ConfigurationError

SETTING = "EVENT_BUS_REDIS_CONNECTION_URL"

_EXPECTED = "expected redis://[[username]:password@]host[:port][/db], rediss://… for TLS or unix:///path/to/socket"


# Parameters that a URL may have. redis-py hands any other to the connection too, as text, where most do not work.
_PARAMETERS = frozenset(
    {
        *("db", "username", "password", "client_name", "protocol", "decode_responses", "encoding", "encoding_errors"),
        *("health_check_interval", "max_connections", "retry_on_timeout"),
    }
)
_PARAMETER_FAMILIES = ("socket_", "ssl_")


def redacted(url: str) -> str:
    """Return the URL with what is surely no secret: scheme, host, port, number of the database, path of a socket."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if not re.fullmatch(r"[a-z+]+", scheme):
        return "(no scheme)"
    try:
        parse_url(url)
        parts = urlsplit(url)
        host, port, path = parts.hostname or "", parts.port, parts.path
    except ValueError:
        return f"{scheme}://…"
    credentials = "***@" if "@" in parts.netloc else ""
    if scheme == "unix":
        return f"unix://{credentials}{path}"
    database = path if re.fullmatch(r"/\d*", path) else ""
    return f"{scheme}://{credentials}{host}{f':{port}' if port else ''}{database}"


def connection_options(url: object) -> dict[str, Any]:
    """
    Return what the URL says, as arguments of a redis-py connection and ``connection_class``.

    Raises:
        ConfigurationError: the URL cannot work; the message has no part of it that may be secret.
    """
    if not isinstance(url, str) or not url:
        raise ConfigurationError(f"setting {SETTING} is {type(url).__name__}, not a URL: {_EXPECTED}")
    shown = redacted(url)
    try:
        options: dict[str, Any] = parse_url(url)
    except ValueError:
        raise ConfigurationError(f"setting {SETTING} {shown!r} is not usable: {_EXPECTED}") from None
    if "connection_class" not in options:
        options["connection_class"] = Connection
    if not url.startswith("unix:") and "db" not in options and urlsplit(url).path.strip("/"):
        raise ConfigurationError(f"setting {SETTING} {shown!r}: the path names the database, expected a number")
    if url.startswith("unix:") and not options.get("path"):
        raise ConfigurationError(f"setting {SETTING} {shown!r} names no socket: {_EXPECTED}")
    _check_parameters(options, shown)
    return options


def _check_parameters(options: dict[str, Any], shown: str) -> None:
    """Make a connection, which does not connect yet, to see whether redis-py takes every parameter of the URL."""
    arguments = dict(options)
    connection_class = arguments.pop("connection_class")
    for name in arguments.keys() - {"host", "port", "path"} - _PARAMETERS:
        if not name.startswith(_PARAMETER_FAMILIES):
            raise ConfigurationError(f"setting {SETTING} {shown!r}: a parameter behind '?' is not known")
    for name in ("socket_timeout", "socket_connect_timeout"):
        try:
            if name in arguments:
                values.seconds(arguments[name])
        except values.Wrong as wrong:
            raise ConfigurationError(f"setting {SETTING} {shown!r}: {name} is {arguments[name]!r}: {wrong}") from None
    # One of the pool, not of a connection.
    arguments.pop("max_connections", None)
    try:
        connection_class(**arguments)
    except Exception as error:  # noqa: BLE001 -- each parameter has its own way of failing
        known = "is not known" if isinstance(error, TypeError) else "has a wrong value"
        raise ConfigurationError(f"setting {SETTING} {shown!r}: a parameter behind '?' {known}") from None
