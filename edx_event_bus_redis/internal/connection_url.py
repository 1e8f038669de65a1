"""``EVENT_BUS_REDIS_CONNECTION_URL``: whether it can work, and how to name it without its password."""

from __future__ import annotations

from typing import Any

from redis.connection import Connection, parse_url

from edx_event_bus_redis.internal.errors import ConfigurationError

SETTING = "EVENT_BUS_REDIS_CONNECTION_URL"

_EXPECTED = "expected redis://[[username]:password@]host[:port][/db], rediss://… for TLS or unix:///path/to/socket"


def redacted(url: str) -> str:
    """Return the URL with nothing that may be secret: no user, no password, no parameters."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "(no scheme)"
    # A password may hold any character, also "/" and "?" by mistake; what is behind the last "@" is not part of it.
    credentials, at, address = rest.rpartition("@")
    address = address.partition("?")[0]
    return f"{scheme}://{'***@' if credentials or at else ''}{address}"


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
    if not url.startswith("unix:") and "db" not in options and _path(url).strip("/"):
        raise ConfigurationError(f"setting {SETTING} {shown!r}: the path names the database, expected a number")
    if url.startswith("unix:") and not options.get("path"):
        raise ConfigurationError(f"setting {SETTING} {shown!r} names no socket: {_EXPECTED}")
    _check_parameters(options, shown)
    return options


def _path(url: str) -> str:
    return url.partition("://")[2].rpartition("@")[2].partition("?")[0].partition("/")[2]


def _check_parameters(options: dict[str, Any], shown: str) -> None:
    """Make a connection, which does not connect yet, to see whether redis-py takes every parameter of the URL."""
    arguments = dict(options)
    connection_class = arguments.pop("connection_class")
    # Parameters of the pool, not of a connection.
    for name in ("max_connections", "timeout"):
        arguments.pop(name, None)
    try:
        connection_class(**arguments)
    except Exception as error:  # noqa: BLE001 -- each parameter has its own way of failing
        known = "is not known to redis-py" if isinstance(error, TypeError) else "has a wrong value"
        names = ", ".join(sorted(set(arguments) - {"host", "port", "db", "username", "password", "path"})) or "none"
        raise ConfigurationError(
            f"setting {SETTING} {shown!r}: a parameter behind '?' {known} (given: {names})"
        ) from None
