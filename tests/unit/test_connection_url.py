"""What is wrong with a URL is told without telling its secrets."""

from typing import Any

import pytest

from edx_event_bus_redis.internal.connection_url import (
    Address,
    Kind,
    Where,
    connection_options,
    redacted,
    server_of,
    where,
)
from edx_event_bus_redis.internal.errors import ConfigurationError


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "localhost:6379",
        "http://:hunter2@localhost:6379/",
        "redis://:hunter2@localhost:port/",
        "redis://user:hunter2/hunter2@localhost:6379/0",
        "redis://user:hunter2#hunter2@localhost:6379/0",
        "redis://:hunter2@localhost:6379/first",
        "redis://:hunter2@localhost:6379/0?no_such_parameter=hunter2",
        "redis://:hunter2@localhost:6379/0?socket_timeout=soon&password=hunter2",
        "redis://:hunter2@localhost:99999999/0",
        "redis://:hunter2@[::1/0",
        "redis://localhost:6379/?password=hunter@2hunter2&nope=1",
        "redis://:hunter2",
        "redis://h:hunter2/0",
        "redis://h:6379/first#hunter2",
        "unix:///tmp/s?password=hunter@hunter2&nope=1",
        "redis://h/?timeout=5",
        "redis://h/?socket_timeout=0",
        "redis://h/?socket_connect_timeout=inf",
        "redis://h/?redis_connect_func=hunter2",
        "redis://:42#hunter2@localhost:6379/0",
        "redis://hunter2#hunter2@localhost:6379/0",
        "redis://hunter2/hunter2@localhost:6379/0",
        "redis://hunter2?hunter2@localhost:6379/0",
        "rediss://:p@hunter2#hunter2@localhost:6379/0",
        "redis+sentinel://hunter2/hunter2@h/service",
        "unix://:hunter2/hunter2@/tmp/s",
        "unix://",
        "redis//:hunter2@localhost",
        "redis+sentinel://:hunter2@h",
        "redis+sentinel://:hunter2@h/",
        "redis+sentinel://:hunter2@h/service/first",
        "redis+sentinel://:hunter2@h/service/0/more",
        "redis+sentinel://h:hunter2/service",
        "redis+sentinel://:hunter2@h:0/service",
        "redis+sentinel://:hunter2@,h/service",
        "redis+cluster://:hunter2@h:99999",
        "redis+cluster://:hunter2@h/3",
        "redis+cluster://:hunter2@",
        "redis+cluster://:hunter2@[::1",
        "redis+other://:hunter2@h",
        "unix+cluster://:hunter2@h",
    ],
)
def test_a_url_that_cannot_work_is_an_error_without_its_password(url: Any) -> None:
    """The error names the setting and holds nothing secret, in one line."""
    with pytest.raises(ConfigurationError) as caught:
        connection_options(url)

    message = str(caught.value)
    assert message.startswith("setting EVENT_BUS_REDIS_CONNECTION_URL")
    assert "hunter2" not in message
    assert "\n" not in message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["redis://:secret#part@host", "redis://:42#part@host", "redis://:se/cret@host:6379/0"])
def test_a_password_that_ends_the_host_is_told_how_to_write(url: str) -> None:
    """Whether what is left of it is a port or none: the error says what to write."""
    with pytest.raises(ConfigurationError, match="%2F, %3F and %23"):
        connection_options(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:password@localhost:6379/",
        "redis://user:p%40ss@localhost:6379/2",
        "rediss://:password@localhost:6380/0?ssl_cert_reqs=required",
        "unix:///run/redis.sock?db=1",
        "redis://localhost/0?socket_timeout=3&max_connections=5",
        "redis+sentinel://user:p%40ss@a:26379,b/service/2?socket_timeout=3",
        "rediss+sentinel://a/service",
        "redis+cluster://:password@a:7000,[::1]:7001,b",
        "rediss+cluster://a/0",
    ],
)
def test_urls_that_redis_py_takes_are_taken(url: str) -> None:
    """What redis-py documents works."""
    assert connection_options(url)["connection_class"]


def test_redaction_keeps_what_helps() -> None:
    """Scheme, host, port and database stay; user, password and parameters go."""
    assert redacted("redis://me:hunter2@host:6379/3?password=hunter2") == "redis://***@host:6379/3"
    assert redacted("redis://host/3") == "redis://host/3"
    assert redacted("nonsense") == "(no scheme)"
    assert redacted("redis://localhost:6379/?password=hunter@2secret") == "redis://localhost:6379/"
    assert redacted("redis://:42#hunter2@host") == "redis://…"
    assert redacted("redis://:42/hunter2@host") == "redis://…"
    assert redacted("redis://:42?hunter2@host") == "redis://…"
    assert redacted("unix:///run/a@b.sock") == "unix:///run/a@b.sock"
    assert redacted("redis://:hunter2") == "redis://…"
    assert redacted("unix:///run/redis.sock?password=hunter@2x") == "unix:///run/redis.sock"
    assert redacted("redis+sentinel://me:hunter2@a,b:1/bus/3") == "redis+sentinel://***@a:26379,b:1/bus/3"
    assert redacted("redis+cluster://:hunter2@a,[::1]:1?password=hunter2") == "redis+cluster://***@a:6379,[::1]:1"


def test_nodes_and_service_are_found() -> None:
    """Sentinels and nodes have the ports of Redis if they are given none."""
    assert where("redis+sentinel://a,b:1/bus/3") == Where(Kind.SENTINEL, (Address("a", 26379), Address("b", 1)), "bus")
    assert where("redis+cluster://:x@[::1]:1,b") == Where(Kind.CLUSTER, (Address("::1", 1), Address("b", 6379)))
    assert where("redis://a") == Where(Kind.SERVER)


def test_a_server_is_named_with_its_port() -> None:
    """Where the URL names no port, the one that it means is told; IPv6 addresses stay in brackets."""
    assert server_of("redis://:hunter2@host") == "redis://***@host:6379"
    assert server_of("rediss://host/3") == "rediss://host:6379/3"
    assert server_of("redis://host:7000/3") == "redis://host:7000/3"
    assert server_of("redis://:hunter2@[::1]/") == "redis://***@[::1]:6379/"
    assert server_of("unix:///run/redis.sock") == "unix:///run/redis.sock"
