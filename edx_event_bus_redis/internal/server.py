"""
Where the server is and how to connect to it, as ``EVENT_BUS_REDIS_CONNECTION_URL`` and
``EVENT_BUS_REDIS_CONNECTION_OPTIONS`` say together: validated once, and never shown with a secret.

No connection is made here; ``client`` and ``connections`` do that.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from redis.connection import SSLConnection
from redis.credentials import CredentialProvider

from edx_event_bus_redis.internal import connection_url, values
from edx_event_bus_redis.internal.connection_url import Kind, Where
from edx_event_bus_redis.internal.credentials import Asked, Credentials, UnusableSecret, read_secret
from edx_event_bus_redis.internal.errors import ConfigurationError

OPTIONS_SETTING = "EVENT_BUS_REDIS_CONNECTION_OPTIONS"

_IN_THE_URL = f"belongs into {connection_url.SETTING}"
_BYTES = "is not to be chosen: replies are read as bytes, in the shape that version 2 of the protocol gives them"
_TRIES = "is not to be chosen: consumer and producer know better whether a command may be sent again"

# What would contradict the rest of the package.
_REFUSED = {
    **dict.fromkeys(("host", "port", "path", "db", "ssl", "connection_class", "url"), _IN_THE_URL),
    **dict.fromkeys(("decode_responses", "protocol", "legacy_responses"), _BYTES),
    **dict.fromkeys(("encoding", "encoding_errors", "parser_class", "command_packer"), _BYTES),
    **dict.fromkeys(("retry", "retry_on_timeout", "retry_on_error"), _TRIES),
    **dict.fromkeys(
        ("connection_pool", "single_connection_client", "redis_connect_func", "cache", "cache_config"),
        "is not to be chosen: connections are made and kept by this package",
    ),
}

# What is no argument of a connection.
_OF_THE_POOL = frozenset({"max_connections"})
_OWN = frozenset({"password_file", "sentinel_kwargs", "address_remap"})

_LOGIN = frozenset({"password", "password_file", "credential_provider"})


@attrs.frozen(repr=False, eq=False)
class Server:
    """
    A server, or a group of servers that are one to whoever uses them.

    Attributes:
        url: as it was given, with its secrets.
        where: what is to be asked where the server is.
        arguments: of a redis-py connection, with ``connection_class``, and with ``max_connections`` if it was given.
        sentinel_arguments: of a connection to a sentinel that are not to be like those to the server.
        address_remap: returns where to connect instead of where a cluster says that a node is; None to believe it.

    ``str`` and ``repr`` of it have no secret.
    """

    url: str
    where: Where
    arguments: Mapping[str, Any]
    sentinel_arguments: Mapping[str, Any]
    address_remap: Callable[[tuple[str, int]], tuple[str, int]] | None

    @classmethod
    def of(cls, url: object, options: object = None) -> Server:
        """
        Return the server that a URL and connection options mean.

        Arguments:
            url: value of ``EVENT_BUS_REDIS_CONNECTION_URL``.
            options: value of ``EVENT_BUS_REDIS_CONNECTION_OPTIONS``, None for none.

        Raises:
            ConfigurationError: they cannot work; the message has no part of them that may be secret.
        """
        arguments = connection_url.connection_options(url)
        where = connection_url.where(str(url))
        given = _checked_options(options, arguments, where)
        own = {name: given.pop(name, None) for name in _OWN}
        arguments |= given
        _set_login(arguments, own["password_file"])
        _check_connection(arguments)
        if issubclass(arguments["connection_class"], SSLConnection):
            _set_host_name_check(arguments)
            _check_certificates(arguments)
        return cls(str(url), where, arguments, own["sentinel_kwargs"] or {}, own["address_remap"])

    def __str__(self) -> str:
        """Return the URL without what may be secret, and with the port that it means."""
        return connection_url.server_of(self.url)

    def __repr__(self) -> str:
        """Return the same."""
        return f"<Server {self}>"


def _wrong(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"setting {OPTIONS_SETTING}: {name!r} {reason}")


def _checked_options(options: object, of_url: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """Return the options; not yet checked is what only a connection can tell."""
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise ConfigurationError(
            f'setting {OPTIONS_SETTING} is {type(options).__name__}, expected a dict like {{"client_name": "lms"}}'
        )
    known = _known_arguments(of_url["connection_class"]) | _OF_THE_POOL | _OWN
    for name in options:
        if name in _REFUSED:
            raise _wrong(name, _REFUSED[name])
        if name in of_url:
            raise _wrong(name, f"is in {connection_url.SETTING} too: expected in one of them")
        if name not in known:
            if name.startswith("ssl_"):
                raise _wrong(name, f"needs a URL for TLS: expected rediss://… in {connection_url.SETTING}")
            near = difflib.get_close_matches(name, known, n=1)
            raise _wrong(name, f"is unknown to redis-py{f', did you mean {near[0]!r}?' if near else ''}")
    for name, kind in (("sentinel_kwargs", Kind.SENTINEL), ("address_remap", Kind.CLUSTER)):
        if options.get(name) is not None and where.kind is not kind:
            raise _wrong(name, f"needs a URL like redis+{kind.value}://…")
    _check_values(options)
    return {name: value for name, value in options.items() if value is not None}


def _check_values(options: Mapping[str, Any]) -> None:
    checks: dict[str, Callable[[object], object]] = {
        "socket_timeout": values.seconds,
        "socket_connect_timeout": values.seconds,
        "health_check_interval": values.seconds_or_zero,
        "max_connections": values.count(1),
        "client_name": values.name,
        "username": values.name,
    }
    for name, check in checks.items():
        if options.get(name) is not None:
            try:
                check(options[name])
            except values.Wrong as wrong:
                raise _wrong(name, f"is {options[name]!r}: {wrong}") from None
    expected: dict[str, tuple[bool, str]] = {
        "password_file": (isinstance(options.get("password_file"), str | Path), "the path of a file"),
        "password": (
            isinstance(options.get("password"), str) or callable(options.get("password")),
            "text, or a function that returns text",
        ),
        "credential_provider": (
            isinstance(options.get("credential_provider"), CredentialProvider),
            "a redis.credentials.CredentialProvider",
        ),
        "sentinel_kwargs": (isinstance(options.get("sentinel_kwargs"), Mapping), 'a dict like {"password": "…"}'),
        "address_remap": (callable(options.get("address_remap")), "a function of a pair of host and port"),
    }
    for name, (is_right, what) in expected.items():
        if options.get(name) is not None and not is_right:
            raise _wrong(name, f"is {type(options[name]).__name__}, expected {what}")


def _known_arguments(connection_class: type[Any]) -> set[str]:
    """Return the names of all arguments of a connection of redis-py, whose classes hand on what they do not know."""
    return {
        parameter.name
        for each in connection_class.__mro__
        if each is not object
        for parameter in inspect.signature(each).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and parameter.name != "self"
    }


def _set_login(arguments: dict[str, Any], password_file: str | Path | None) -> None:
    """Have what may change asked for with each connection."""
    given = [name for name in _LOGIN if name in arguments] + (["password_file"] if password_file is not None else [])
    if len(given) > 1:
        raise ConfigurationError(
            f"settings {connection_url.SETTING} and {OPTIONS_SETTING} have {' and '.join(sorted(given))}: "
            "expected one of them"
        )
    if password_file is not None:
        try:
            read_secret(password_file)
        except UnusableSecret as error:
            raise _wrong("password_file", f"does not help: {error}") from None
        arguments["credential_provider"] = Credentials(
            arguments.pop("username", None), lambda: read_secret(password_file)
        )
    elif callable(arguments.get("password")):
        arguments["credential_provider"] = Credentials(arguments.pop("username", None), arguments.pop("password"))
    elif "credential_provider" in arguments:
        if "username" in arguments:
            raise _wrong("credential_provider", "tells the user as well: expected no other username beside it")
        provider = arguments["credential_provider"]
        # One that sends new tokens by itself is known to redis-py by its class.
        if not hasattr(provider, "on_next"):
            arguments["credential_provider"] = Asked(provider)


def _check_connection(arguments: Mapping[str, Any]) -> None:
    """Make a connection, which does not connect yet, to see whether redis-py takes every option."""
    rest = {name: value for name, value in arguments.items() if name not in _OF_THE_POOL}
    connection_class = rest.pop("connection_class")
    try:
        connection_class(**rest)
    except Exception as error:  # noqa: BLE001 -- each option has its own way of failing, which may quote it
        raise ConfigurationError(
            f"setting {OPTIONS_SETTING} has a value that redis-py does not take ({type(error).__name__})"
        ) from None


def _set_host_name_check(arguments: dict[str, Any]) -> None:
    """Have the name of the server compared with its certificate, which not every version of redis-py does by itself."""
    unchecked = arguments.get("ssl_cert_reqs", "required") in ("none", None, ssl.CERT_NONE)
    arguments.setdefault("ssl_check_hostname", not unchecked)
    if unchecked and arguments["ssl_check_hostname"]:
        raise ConfigurationError(
            f"setting {connection_url.SETTING} or {OPTIONS_SETTING}: ssl_check_hostname cannot be without "
            "a certificate to check: expected ssl_cert_reqs=required with it"
        )


def _check_certificates(arguments: Mapping[str, Any]) -> None:
    """Load the files for TLS, as each connection is going to."""
    names = ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile")
    ca_file, ca_path, ca_data, certificate, key = (arguments.get(name) for name in names)
    for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"):
        path = arguments.get(name)
        if path is not None:
            with _readable(name, path):
                # To see whether it can be read; the errors of OpenSSL name no file.
                next(Path(path).iterdir(), None) if name == "ssl_ca_path" else Path(path).open("rb").close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None or ca_path is not None or ca_data is not None:
        with _readable("ssl_ca_certs", ca_file or ca_path or "ssl_ca_data"):
            context.load_verify_locations(ca_file, ca_path, ca_data)
    if key is not None and certificate is None:
        raise ConfigurationError(
            f"setting {connection_url.SETTING} or {OPTIONS_SETTING}: ssl_keyfile needs ssl_certfile beside it"
        )
    if certificate is not None:
        with _readable("ssl_certfile", certificate):
            # Without a password OpenSSL would ask the terminal for one.
            context.load_cert_chain(certificate, key, arguments.get("ssl_password") or "")


@contextlib.contextmanager
def _readable(name: str, path: str | Path) -> Any:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise ConfigurationError(
            f"setting {connection_url.SETTING} or {OPTIONS_SETTING}: {name} {str(path)!r} is not usable: {reason}"
        ) from None
