"""What is wrong with a URL is told without telling its secrets."""

from typing import Any

import pytest

from edx_event_bus_redis.internal.connection_url import connection_options, redacted
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
        "unix://",
        "redis//:hunter2@localhost",
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


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:password@localhost:6379/",
        "redis://user:p%40ss@localhost:6379/2",
        "rediss://:password@localhost:6380/0?ssl_cert_reqs=required",
        "unix:///run/redis.sock?db=1",
        "redis://localhost/0?socket_timeout=3&max_connections=5",
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
    assert redacted("redis://:hunter2") == "redis://…"
    assert redacted("unix:///run/redis.sock?password=hunter@2x") == "unix:///run/redis.sock"
