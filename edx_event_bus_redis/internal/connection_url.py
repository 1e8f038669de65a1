"""``EVENT_BUS_REDIS_CONNECTION_URL``: whether it can work, and how to name it without its password."""

from __future__ import annotations

import enum
import functools
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from redis.connection import Connection, parse_url

from edx_event_bus_redis.internal import values
from edx_event_bus_redis.internal.errors import ConfigurationError

SETTING = "EVENT_BUS_REDIS_CONNECTION_URL"

_EXPECTED = (
    "expected redis://[[username]:password@]host[:port][/db], rediss://… for TLS, unix:///path/to/socket, "
    "redis+sentinel://host[:port],host[:port]/service[/db] or redis+cluster://host[:port],host[:port]; "
    "'/', '?' and '#' of user and password are written as %2F, %3F and %23"
)

# Parameters that a URL may have. redis-py hands any other to the connection too, as text, where most do not work.
_PARAMETERS = frozenset(
    {
        *("db", "username", "password", "client_name", "protocol", "decode_responses", "encoding", "encoding_errors"),
        *("health_check_interval", "max_connections", "retry_on_timeout"),
    }
)
_PARAMETER_FAMILIES = ("socket_", "ssl_")

_SCHEME = re.compile(r"(rediss?)\+(sentinel|cluster)")
_NODE = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")


class Kind(enum.Enum):
    """What a URL leads to."""

    SERVER = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


# The ports that Redis itself has by default.
_PORTS = {Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int


class Where(NamedTuple):
    """
    Where a URL leads to.

    Attributes:
        kind: to a server, to sentinels that know one, or to a cluster.
        nodes: the sentinels, or the nodes of the cluster that are known; none for a server.
        service: the name by which sentinels know the server.
    """

    kind: Kind
    nodes: tuple[Address, ...] = ()
    service: str = ""


def redacted(url: str) -> str:
    """Return the URL with what is surely no secret: scheme, hosts, ports, service, database, path of a socket."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if not re.fullmatch(r"[a-z+]+", scheme):
        return "(no scheme)"
    try:
        kind, alike = _alike(url)
        parse_url(alike)
        parts = urlsplit(alike)
        host, port, path = parts.hostname or "", parts.port, parts.path
        nodes = _nodes(url, kind)
    except ValueError:
        return f"{scheme}://…"
    credentials = "***@" if "@" in parts.netloc else ""
    if scheme == "unix":
        return f"unix://{credentials}{path}"
    if kind is not Kind.SERVER:
        shown = ",".join(f"{_bracketed(node.host)}:{node.port}" for node in nodes)
        return f"{scheme}://{credentials}{shown}{_service_path(url) if kind is Kind.SENTINEL else ''}"
    host = _bracketed(host)
    database = path if re.fullmatch(r"/\d*", path) else ""
    return f"{scheme}://{credentials}{host}{f':{port}' if port else ''}{database}"


def server_of(url: str) -> str:
    """Return the redacted URL of a server, with the port that it means where it names none."""
    shown = redacted(url)
    named = re.fullmatch(r"(rediss?://(?:\*\*\*@)?(?:\[.*\]|[^:/]*))((?::\d+)?)(/\d*)?", shown)
    if named is None:
        return shown
    host, port, database = named.groups()
    return f"{host}{port or ':6379'}{database or ''}"


def where(url: str) -> Where:
    """Return where a URL leads to for which ``connection_options`` returns something."""
    kind, _ = _alike(url)
    service = _service_path(url).split("/")[1] if kind is Kind.SENTINEL else ""
    return Where(kind, tuple(_nodes(url, kind)), service)


def connection_options(url: object) -> dict[str, Any]:
    """
    Return what the URL says, as arguments of a redis-py connection and ``connection_class``.

    Host and port are not among them if sentinels or a cluster are to be asked where the server is.

    Raises:
        ConfigurationError: the URL cannot work; the message has no part of it that may be secret.
    """
    if not isinstance(url, str) or not url:
        raise ConfigurationError(f"setting {SETTING} is {type(url).__name__}, not a URL: {_EXPECTED}")
    return dict(_checked_options(url))


# Remembered, so that the workers of a pool need not check again what was checked before they were forked: it takes
# 2 MiB of memory that they do not share.
@functools.lru_cache(4)
def _checked_options(url: str) -> dict[str, Any]:
    shown = redacted(url)
    try:
        kind, alike = _alike(url)
        options: dict[str, Any] = parse_url(alike)
        _nodes(url, kind)
    except ValueError:
        raise ConfigurationError(f"setting {SETTING} {shown!r} is not usable: {_EXPECTED}") from None
    if "connection_class" not in options:
        options["connection_class"] = Connection
    if kind is not Kind.SERVER:
        _check_path(url, kind, shown)
        del options["host"], options["port"]
    if not url.startswith("unix:") and "db" not in options and urlsplit(alike).path.strip("/"):
        raise ConfigurationError(f"setting {SETTING} {shown!r}: the path names the database, expected a number")
    if kind is Kind.CLUSTER and options.get("db"):
        raise ConfigurationError(f"setting {SETTING} {shown!r}: a cluster has no database but 0")
    if url.startswith("unix:") and not options.get("path"):
        raise ConfigurationError(f"setting {SETTING} {shown!r} names no socket: {_EXPECTED}")
    _check_parameters(options, shown)
    return options


def _is_cut_short(url: str) -> bool:
    """Whether user or password seem to have what ends them: what is taken for host and port may be a part of them."""
    parts = urlsplit(url)
    names = (each.partition("=")[0] for each in parts.query.split("&"))
    return (
        "@" in parts.fragment
        or ("@" in parts.path and (parts.scheme != "unix" or bool(parts.netloc)))
        or (
            "@" in parts.query
            and not all(name in _PARAMETERS or name.startswith(_PARAMETER_FAMILIES) for name in names)
        )
    )


def _alike(url: str) -> tuple[Kind, str]:
    """
    Return of which kind a URL is, and one that says the same of the server itself, with the first host only.

    Raises:
        ValueError: what is taken for hosts may be a part of the password.
    """
    if _is_cut_short(url):
        raise ValueError("user or password seem to be cut short")
    scheme, separator, _ = url.partition("://")
    found = _SCHEME.fullmatch(scheme)
    if found is None:
        return Kind.SERVER, url
    kind = Kind(found[2])
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    path = parts.path
    if kind is Kind.SENTINEL:
        # What is behind the service.
        path = "/" + "/".join(path.split("/")[2:])
    query = f"?{parts.query}" if parts.query else ""
    node = _node(hosts.split(",")[0], kind)
    return kind, f"{found[1]}{separator}{credentials}{at}{_bracketed(node.host)}:{node.port}{path}{query}"


def _nodes(url: str, kind: Kind) -> list[Address]:
    if kind is Kind.SERVER:
        return []
    return [_node(each, kind) for each in urlsplit(url).netloc.rpartition("@")[2].split(",")]


def _node(text: str, kind: Kind) -> Address:
    found = _NODE.fullmatch(text.strip())
    if found is None:
        raise ValueError("no host, with or without a port")
    return Address(found["host"].strip("[]"), int(found["port"] or _PORTS[kind]))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _service_path(url: str) -> str:
    """Service and database, each behind a slash; just a slash if there is no service that can be shown."""
    found = re.match(r"/[\w.:-]+(/\d*)?(?=/|$)", urlsplit(url).path)
    return found[0] if found else "/"


def _check_path(url: str, kind: Kind, shown: str) -> None:
    if kind is Kind.SENTINEL and _service_path(url) == "/":
        raise ConfigurationError(f"setting {SETTING} {shown!r} names no service that the sentinels know: {_EXPECTED}")
    if any(node.port > 0xFFFF or node.port == 0 for node in _nodes(url, kind)):
        raise ConfigurationError(f"setting {SETTING} {shown!r}: there is no such port")


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
