"""Options and settings through the real command line: exit statuses and what stderr says."""

import json
from typing import Any

import pytest

from tests.support.commands import manage


def consume(extra: Any, **settings: Any) -> Any:
    return manage("consume_events", "-t", "topic", "-g", "group", "--extra", json.dumps(extra), **settings)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, "--extra key 'consumer_name' is missing"),
        ({"consumer_name": ""}, "--extra key 'consumer_name' is \"\": expected a name"),
        ({"consumer_name": "c1", "worker": 2}, "--extra key 'worker' is unknown, did you mean 'workers'?"),
        ({"consumer_name": "c1", "workers": 0}, "--extra key 'workers' is 0: expected a whole number from 1"),
        ({"consumer_name": "c1", "workers": True}, "--extra key 'workers' is true: expected a whole number from 1"),
        (
            {"consumer_name": "c1", "check_backlog": "yes"},
            "--extra key 'check_backlog' is \"yes\": expected true or false",
        ),
    ],
)
def test_a_bad_extra_key_is_status_2_and_one_line(extra: Any, said: str) -> None:
    """Status 2, one line on stderr that names key, value and what would be right, no traceback."""
    done = consume(extra)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"EVENT_BUS_REDIS_CONNECTION_URL": None}, "setting EVENT_BUS_REDIS_CONNECTION_URL is missing: expected a URL"),
        (
            {"EVENT_BUS_REDIS_CONNECTION_URL": "http://:hunter2@host/"},
            "'http://…' is not usable: expected redis://",
        ),
        ({"EVENT_BUS_REDIS_CONSUMER_WORKERS": "four"}, "setting EVENT_BUS_REDIS_CONSUMER_WORKERS is 'four': expected"),
        ({"EVENT_BUS_TOPIC_PREFIX": 5}, "setting EVENT_BUS_TOPIC_PREFIX is 5: expected a name"),
    ],
)
def test_a_bad_setting_is_status_2_and_one_line(settings: dict[str, Any], said: str) -> None:
    """The same for settings; no password is told."""
    done = consume({"consumer_name": "c1"}, **settings)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert "hunter2" not in line


@pytest.mark.parametrize("extra", [{"consumer_name": "c1"}, {"consumer_name": "c1", "workers": 2}])
def test_a_wrong_password_is_status_2(own_password_server: Any, extra: Any) -> None:
    """A server that refuses the password is a bad setting, and is not asked again and again."""
    url = own_password_server.url.replace("right-password", "hunter2")

    done = consume(extra, url=url)

    assert done.returncode == 2
    assert "setting EVENT_BUS_REDIS_CONNECTION_URL: Redis refuses its user or password, or" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.fixture
def own_password_server() -> Any:
    from devtools.server import EmbeddedServer  # noqa: PLC0415

    with EmbeddedServer(password="right-password") as server:
        yield server


def test_a_key_that_is_not_allowed_is_status_2(own_server: Any) -> None:
    """A user that may not touch the group's own keys is a bad setting, found at the start."""
    own_server.client().execute_command("ACL", "SETUSER", "bus", "on", ">hunter2", "~dev-topic*", "+@all")
    url = own_server.url.replace("redis://", "redis://bus:hunter2@")

    done = consume({"consumer_name": "c1", "workers": 2}, url=url)

    assert done.returncode == 2
    assert "(needed are dev-topic and {dev-topic}:*)" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("query", ["/99", "/?timeout=20", "/?socket_timeout=-1", "/?socket_timeout=nan", "/?retry=3"])
def test_a_url_that_cannot_work_is_status_2(own_server: Any, query: str) -> None:
    """Also one that only the server or redis-py would refuse later."""
    done = consume({"consumer_name": "c1"}, url=own_server.url.removesuffix("/0") + query)

    assert done.returncode == 2
    assert "setting EVENT_BUS_REDIS_CONNECTION_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_extra_key_named_self_is_unknown_like_any_other() -> None:
    """No key of --extra gets in the way of Python's own names."""
    done = consume({"consumer_name": "c1", "self": 1}, starts=True)

    assert done.returncode == 2
    assert "--extra key 'self' is unknown" in done.stderr


def test_disabled_consumers_leave_with_status_0() -> None:
    """The emergency switch ends a consumer at its start, whatever its options are."""
    done = consume({"no": "sense"}, starts=True, EVENT_BUS_REDIS_CONSUMERS_ENABLED=False)

    assert done.returncode == 0
    assert "Redis consumers not enabled, exiting." in done.stderr


def test_check_reports_a_bad_setting() -> None:
    """``manage.py check`` fails and names the setting."""
    done = manage("check", EVENT_BUS_REDIS_STREAM_MAX_LEN=-5)

    assert done.returncode == 1
    assert "setting EVENT_BUS_REDIS_STREAM_MAX_LEN is -5: expected a whole number from 1" in done.stderr


def test_check_is_content_with_good_settings() -> None:
    """``manage.py check`` has nothing to say about settings that work."""
    done = manage("check", starts=True)

    assert done.returncode == 0
    assert "no issues" in done.stdout
