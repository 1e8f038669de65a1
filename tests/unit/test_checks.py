"""``manage.py check`` reports bad settings."""

import sys

import pytest
from django.core.checks import run_checks
from django.test import override_settings


def test_a_bad_setting_is_an_error() -> None:
    """The system check reports a setting that cannot work."""
    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN=0):
        found = {message.id: str(message.msg) for message in run_checks()}

    assert "EVENT_BUS_REDIS_STREAM_MAX_LEN" in found["edx_event_bus_redis.E001"]


def test_a_connection_that_cannot_be_made_is_an_error() -> None:
    """The system check reports a URL, or an option of connections, that cannot work."""
    for settings in (
        {"EVENT_BUS_REDIS_CONNECTION_URL": "redis+sentinel://:hunter2@localhost"},
        {"EVENT_BUS_REDIS_CONNECTION_OPTIONS": {"password_file": "/no/such/file"}},
    ):
        with override_settings(**settings):
            (message,) = run_checks()

        assert message.id == "edx_event_bus_redis.E001"
        assert next(iter(settings)) in str(message.msg)
        assert "hunter2" not in str(message.msg)


def test_a_missing_url_is_a_warning_where_the_bus_is_used() -> None:
    """Without a URL nothing is produced or consumed, which is said only if this package is configured."""
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=None):
        assert [message.id for message in run_checks()] == ["edx_event_bus_redis.W001"]
        with override_settings(EVENT_BUS_PRODUCER=None, EVENT_BUS_CONSUMER="edx_event_bus_kafka.KafkaEventConsumer"):
            assert run_checks() == []


def test_consume_events_checks_its_settings_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """For consume_events the check keeps silent: the consumer answers with status 2 and one line."""
    for leading in ([], ["lms"], ["lms", "--settings=production"]):
        monkeypatch.setattr(sys, "argv", ["manage.py", *leading, "consume_events", "-t", "topic"])
        with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN=0):
            assert run_checks() == []
