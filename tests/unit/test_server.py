"""What the URL and the options say together, and what cannot be said."""

import os
from pathlib import Path
from typing import Any

import pytest
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider
from redis.exceptions import AuthenticationError

from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.errors import ConfigurationError
from edx_event_bus_redis.internal.server import Server

URL = "redis://localhost:6379/"


class Failing(CredentialProvider):
    """Has no credentials, and says too much about it."""

    def get_credentials(self) -> tuple[str]:
        raise OSError("no token for hunter2")


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        (URL, [], "expected a dict"),
        (URL, {1: 2}, "expected a dict"),
        (URL, {"clientname": "x"}, "'clientname' is unknown to redis-py, did you mean 'client_name'?"),
        (URL, {"decode_responses": True}, "'decode_responses' is not to be chosen: replies are read as bytes"),
        (URL, {"protocol": 3}, "'protocol' is not to be chosen"),
        (URL, {"retry": 3}, "'retry' is not to be chosen: consumer and producer know better"),
        (URL, {"host": "x"}, "'host' belongs into EVENT_BUS_REDIS_CONNECTION_URL"),
        (URL, {"connection_pool": 1}, "'connection_pool' is not to be chosen"),
        (URL, {"ssl_ca_certs": "x"}, "'ssl_ca_certs' needs a URL for TLS: expected rediss://"),
        (URL, {"socket_timeout": "5"}, "'socket_timeout' is '5': expected a number of seconds above 0"),
        (URL, {"max_connections": 0}, "'max_connections' is 0: expected a whole number from 1"),
        (URL, {"sentinel_kwargs": {}}, "'sentinel_kwargs' needs a URL like redis+sentinel://"),
        (URL, {"address_remap": min}, "'address_remap' needs a URL like redis+cluster://"),
        (URL, {"credential_provider": "x"}, "is str, expected a redis.credentials.CredentialProvider"),
        (URL, {"password": 7}, "'password' is int, expected text, or a function"),
        (URL, {"password_file": "/no/such/file"}, "password file '/no/such/file' cannot be read: No such file"),
        (URL, {"password_file": os.devnull}, "has no password in it"),
        (URL, {"password": "hunter2", "password_file": "x"}, "have password and password_file: expected one of them"),
        ("redis://:hunter2@localhost/", {"password": "x"}, "is in EVENT_BUS_REDIS_CONNECTION_URL too"),
        ("redis://:hunter2@localhost/", {"password_file": "x"}, "have password and password_file"),
        ("redis://user@localhost/", {"credential_provider": Failing()}, "expected no other username beside it"),
        ("redis://localhost/?client_name=x", {"client_name": "x"}, "is in EVENT_BUS_REDIS_CONNECTION_URL too"),
        ("rediss://localhost/?ssl_keyfile=/dev/null", None, "ssl_keyfile needs ssl_certfile beside it"),
        ("rediss://localhost/", {"ssl_cert_reqs": "none", "ssl_check_hostname": True}, "a certificate to check"),
    ],
)
def test_options_that_cannot_work_are_refused(url: str, options: Any, reason: str) -> None:
    """One line names the option and what would be right, and holds nothing secret."""
    with pytest.raises(ConfigurationError) as caught:
        Server.of(url, options)

    message = str(caught.value)
    assert reason in message
    assert message.startswith("setting")
    assert "\n" not in message
    assert "hunter2" not in message


def test_options_are_those_of_each_connection() -> None:
    """What redis-py takes is handed on, beside what the URL says."""
    server = Server.of("redis://user@localhost:1/2", {"client_name": "lms", "socket_timeout": 3, "max_connections": 9})
    arguments = Clients(server, timeout=1, connect_timeout=1).of("").connection_pool.connection_kwargs

    assert arguments["client_name"] == "lms"
    assert arguments["socket_timeout"] == 3
    assert arguments["db"] == 2
    assert arguments["username"] == "user"


def test_none_is_as_good_as_not_given() -> None:
    """Options of which the value is None are as if they were not there."""
    assert dict(Server.of(URL, {"password_file": None, "client_name": None}).arguments) == dict(
        Server.of(URL).arguments
    )


def test_the_password_in_a_file_is_read_each_time(tmp_path: Path) -> None:
    """A new connection has the password that the file has then, without the end of its line."""
    path = tmp_path / "secret"
    path.write_text("first\n")
    provider = Server.of("redis://user@localhost/", {"password_file": path}).arguments["credential_provider"]
    assert provider.get_credentials() == ("user", "first")

    path.write_text("second")

    assert provider.get_credentials() == ("user", "second")
    path.unlink()
    with pytest.raises(AuthenticationError, match="cannot be read"):
        provider.get_credentials()


def test_a_function_is_asked_for_the_password_each_time() -> None:
    """A function can be given instead of the password; when it fails that is a refused login without its words."""
    passwords = iter(["first", "second"])
    provider = Server.of(URL, {"password": lambda: next(passwords)}).arguments["credential_provider"]

    assert [provider.get_credentials() for _ in range(2)] == [("first",), ("second",)]
    with pytest.raises(AuthenticationError, match="could not be had"):
        provider.get_credentials()


def test_a_provider_that_fails_is_a_refused_login() -> None:
    """What somebody else's provider raises is not repeated, and is no error of another kind."""
    provider = Server.of(URL, {"credential_provider": Failing()}).arguments["credential_provider"]
    with pytest.raises(AuthenticationError) as caught:
        provider.get_credentials()

    assert "hunter2" not in str(caught.value)
    good = UsernamePasswordCredentialProvider("user", "password")
    provider = Server.of(URL, {"credential_provider": good}).arguments["credential_provider"]
    assert provider.get_credentials() == ("user", "password")


@pytest.mark.parametrize(
    "url",
    ["redis://me:hunter2@h/1", "redis+sentinel://me:hunter2@a,b:1/s/1", "redis+cluster://me:hunter2@a,b:1"],
)
def test_a_server_is_shown_without_its_secrets(url: str) -> None:
    """As text a server has what helps and no password."""
    server = Server.of(url)

    assert "hunter2" not in str(server) + repr(server)
    assert "***@" in str(server)


def test_the_check_of_the_servers_name_can_be_switched_off() -> None:
    """A certificate and its name are checked unless the URL or the options say otherwise."""
    assert Server.of("rediss://h/").arguments["ssl_check_hostname"] is True
    assert Server.of("rediss://h/?ssl_check_hostname=false").arguments["ssl_check_hostname"] is False
    assert Server.of("rediss://h/", {"ssl_cert_reqs": None, "ssl_check_hostname": None}).arguments["ssl_check_hostname"]
    assert Server.of("rediss://h/?ssl_cert_reqs=none").arguments["ssl_check_hostname"] is False
