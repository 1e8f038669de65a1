"""Options and settings are validated once, and every error says what is wrong and what would be right."""

from typing import Any

import pytest
from django.test import override_settings

from edx_event_bus_redis.internal.errors import ConfigurationError
from edx_event_bus_redis.internal.settings import all_errors, load_consumer_settings, load_producer_settings

URL = "redis://:secret@localhost:6379/"

pytestmark = pytest.mark.usefixtures("with_url")


@pytest.fixture
def with_url() -> Any:
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=URL):
        yield


def load(**extra: Any) -> Any:
    return load_consumer_settings("topic", "group", {"consumer_name": "c1"} | extra)


def test_defaults_are_those_of_the_published_package() -> None:
    """Without any option the consumer runs in this process, with the published defaults."""
    settings = load_consumer_settings("topic", "group", {"consumer_name": "c1"})

    assert settings.workers is None
    assert (settings.check_backlog, settings.last_read_msg_id, settings.claim_msgs_older_than) == (False, None, None)
    with override_settings(EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP=None):
        assert load().poll_failure_sleep == 1.0
    assert settings.poll_timeout == 60.0
    assert settings.consecutive_errors_limit is None
    assert load_producer_settings().stream_max_len == 10_000


def test_a_pool_claims_after_half_an_hour() -> None:
    """With workers the claim time is 30 minutes unless it is given."""
    assert load(workers=2).claim_msgs_older_than == 1_800_000
    assert load(workers=2, claim_msgs_older_than=5).claim_msgs_older_than == 5


def test_an_extra_key_wins_over_its_setting_and_null_is_not_given() -> None:
    """The key of --extra wins over the setting, which wins over the default; null is as good as nothing."""
    with override_settings(EVENT_BUS_REDIS_CONSUMER_WORKERS=3):
        assert load().workers == 3
        assert load(workers=5).workers == 5
        assert load(workers=None).workers == 3


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("workers", 0, "0"),
        ("workers", -1, "-1"),
        ("workers", True, "true"),
        ("workers", "4", '"4"'),
        ("workers", 2.0, "2.0"),
        ("workers", 10**30, str(10**30)),
        ("consumer_name", "", '""'),
        ("consumer_name", " ", '" "'),
        ("consumer_name", 7, "7"),
        ("consumer_name", "a\nb", r'"a\nb"'),
        ("check_backlog", "true", '"true"'),
        ("check_backlog", 1, "1"),
        ("last_read_msg_id", "yesterday", '"yesterday"'),
        ("last_read_msg_id", "1-2-3", '"1-2-3"'),
        ("last_read_msg_id", False, "false"),
        ("last_read_msg_id", "99999999999999999999-0", '"99999999999999999999-0"'),
        ("claim_msgs_older_than", 0, "0"),
        ("claim_msgs_older_than", True, "true"),
        ("claim_msgs_older_than", "1800000", '"1800000"'),
        ("shutdown_timeout", 0, "0"),
        ("shutdown_timeout", True, "true"),
        ("shutdown_timeout", float("inf"), "Infinity"),
        ("shutdown_timeout", 10**12, str(10**12)),
        ("shutdown_timeout", [], "[]"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(key: str, value: Any, shown: str) -> None:
    """A value that cannot work is an error of one line with key, value and what would be right."""
    with pytest.raises(ConfigurationError) as caught:
        load(**{key: value})

    message = str(caught.value)
    assert message.startswith(f"--extra key '{key}' is {shown}: expected ")
    assert "\n" not in message


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    """A mistyped key is an error that proposes the nearest known key."""
    with pytest.raises(ConfigurationError, match="--extra key 'wrokers' is unknown, did you mean 'workers'\\?"):
        load(wrokers=2)


def test_the_consumer_name_is_required() -> None:
    """Without a consumer name there is an error that shows how to give one."""
    with pytest.raises(ConfigurationError, match=r"'consumer_name' is missing.*like"):
        load_consumer_settings("topic", "group", {})


@pytest.mark.parametrize(
    ("entry_id", "kept"),
    [("0", "0"), ("$", "$"), ("1679676448892-0", "1679676448892-0"), (1679676448892, "1679676448892")],
)
def test_ids_that_redis_takes_are_taken(entry_id: Any, kept: str) -> None:
    """last_read_msg_id takes full ids, ids without a sequence, also as numbers, and the end."""
    assert load(last_read_msg_id=entry_id).last_read_msg_id == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EVENT_BUS_TOPIC_PREFIX", 5),
        ("EVENT_BUS_REDIS_STREAM_MAX_LEN", 0),
        ("EVENT_BUS_REDIS_STREAM_MAX_LEN", "many"),
        ("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", 0),
        ("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", "60"),
        ("EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP", -1),
        ("EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT", True),
        ("EVENT_BUS_REDIS_CONSUMER_WORKERS", "four"),
        ("EVENT_BUS_REDIS_CONSUMER_CLAIM_MSGS_OLDER_THAN", 1.5),
        ("EVENT_BUS_REDIS_CONSUMER_SHUTDOWN_TIMEOUT", None.__class__),
    ],
)
def test_a_wrong_setting_is_found_by_the_check(name: str, value: Any) -> None:
    """Each setting that cannot work is reported with name, value and what would be right."""
    with override_settings(**{name: value}):
        (error,) = all_errors()

    assert str(error).startswith(f"setting {name} is {value!r}: expected ")


def test_good_settings_make_no_errors() -> None:
    """Nothing is reported where nothing is wrong, and text is taken for the stream's length."""
    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN="500", EVENT_BUS_TOPIC_PREFIX=""):
        assert all_errors() == []
        assert load_producer_settings().stream_max_len == 500
        assert load_producer_settings().topic_prefix is None


def test_an_errors_limit_of_zero_is_none() -> None:
    """0 switches the limit off, as in the published package."""
    with override_settings(EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT=0):
        assert load().consecutive_errors_limit is None


def test_the_password_is_not_in_the_representation() -> None:
    """Settings can be logged without telling the password."""
    assert "secret" not in repr(load())
