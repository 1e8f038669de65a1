"""Options and settings are validated once, and every error says what is wrong and what would be right."""

import re
from typing import Any

import pytest
from django.test import override_settings

from edx_event_bus_redis.internal.errors import ConfigurationError
from edx_event_bus_redis.internal.options import all_errors, load_consumer_settings
from edx_event_bus_redis.internal.settings import load_group_settings, load_producer_settings, load_status_settings

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


@pytest.mark.parametrize(("given", "number", "most"), [(3, 3, None), ("2-16", 2, 16), ("4-4", 4, 4)])
def test_a_pool_may_have_a_range_of_workers(given: Any, number: int, most: int | None) -> None:
    """A pool with a range begins with the fewest, and has a limit to grow to; as --extra key and as setting."""
    for settings in (load(workers=given), _with_setting(EVENT_BUS_REDIS_CONSUMER_WORKERS=given)):
        assert (settings.workers, settings.most_workers) == (number, most)
        assert settings.claim_msgs_older_than == 1_800_000


def _with_setting(**setting: Any) -> Any:
    with override_settings(**setting):
        return load()


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("workers", 0, "0"),
        ("workers", -1, "-1"),
        ("workers", True, "true"),
        ("workers", "4", '"4"'),
        ("workers", "x", '"x"'),
        ("workers", "0-4", '"0-4"'),
        ("workers", "3-2", '"3-2"'),
        ("workers", "2-1001", '"2-1001"'),
        ("workers", "2-4-6", '"2-4-6"'),
        ("workers", "-2", '"-2"'),
        ("workers", "2 - 4", '"2 - 4"'),
        ("workers", [2, 4], "[2, 4]"),
        ("workers", 2.0, "2.0"),
        ("workers", 10**30, str(10**30)),
        ("max_events_per_worker", 0, "0"),
        ("max_events_per_worker", 1.5, "1.5"),
        ("max_memory_per_worker", 0, "0"),
        ("max_memory_per_worker", "512M", '"512M"'),
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
        ("monitor_port", 0, "0"),
        ("monitor_port", 65_536, "65536"),
        ("monitor_port", "9100", '"9100"'),
        ("monitor_port", True, "true"),
        ("monitor_host", "", '""'),
        ("monitor_host", "127.0.0.1:9100", '"127.0.0.1:9100"'),
        ("monitor_host", "http://localhost", '"http://localhost"'),
        ("monitor_host", 127, "127"),
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
        ("EVENT_BUS_REDIS_MAX_EVENT_BYTES", 0),
        ("EVENT_BUS_REDIS_MAX_EVENT_BYTES", 5),
        ("EVENT_BUS_REDIS_MAX_EVENT_BYTES", "5242880"),
        ("EVENT_BUS_REDIS_MAX_EVENT_BYTES", 512 * 1024 * 1024 + 1),
        ("EVENT_BUS_REDIS_STREAM_KEEP_UNACKED", "yes"),
        ("EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS", -1),
        ("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", 0),
        ("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", "60"),
        ("EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP", -1),
        ("EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT", True),
        ("EVENT_BUS_REDIS_CONSUMER_WORKERS", "four"),
        ("EVENT_BUS_REDIS_CONSUMER_WORKERS", "4-2"),
        ("EVENT_BUS_REDIS_CONSUMER_MAX_EVENTS_PER_WORKER", -1),
        ("EVENT_BUS_REDIS_CONSUMER_MAX_MEMORY_PER_WORKER", "1G"),
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


def test_an_event_may_have_five_mebibytes_if_nothing_else_is_said() -> None:
    """None is as good as not given; producer, consumer and commands have the same limit."""
    for given, limit in ((None, 5 * 1024 * 1024), (1024, 1024), (512 * 1024 * 1024, 512 * 1024 * 1024)):
        with override_settings(EVENT_BUS_REDIS_MAX_EVENT_BYTES=given):
            assert load_producer_settings().max_event_bytes == limit
            assert load_consumer_settings("topic", "group", {"consumer_name": "c1"}).max_event_bytes == limit
            assert load_group_settings("topic", "group").max_event_bytes == limit


def test_what_a_stream_keeps_is_the_same_to_a_producer_and_to_who_looks_at_it() -> None:
    """Without the setting nothing beyond the cap; a value that cannot work is refused by name."""
    for value, kept in ((None, False), (True, True)):
        with override_settings(EVENT_BUS_REDIS_STREAM_KEEP_UNACKED=value):
            assert load_producer_settings().keep_unacked is load_status_settings(None).keep_unacked is kept
    with (
        override_settings(EVENT_BUS_REDIS_STREAM_KEEP_UNACKED="perhaps"),
        pytest.raises(ConfigurationError, match="EVENT_BUS_REDIS_STREAM_KEEP_UNACKED is 'perhaps'"),
    ):
        load_status_settings(None)


def test_an_errors_limit_of_zero_is_none() -> None:
    """0 switches the limit off, as in the published package."""
    with override_settings(EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT=0):
        assert load().consecutive_errors_limit is None


def test_the_password_is_not_in_the_representation() -> None:
    """Settings can be logged without telling the password."""
    assert "secret" not in repr(load())


def test_a_port_needs_a_pool() -> None:
    """The key of a port without workers, or of a host without a port, cannot work; their settings may be there."""
    for extra, said in (
        ({"monitor_port": 9100}, "--extra key 'monitor_port' needs a monitor, which only a pool has"),
        ({"monitor_host": "0.0.0.0", "workers": 2}, "--extra key 'monitor_host' is of no use without a port"),  # noqa: S104
    ):
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            load(**extra)

    assert (load().monitor_port, load().monitor_host) == (None, "127.0.0.1")
    for host in ("0.0.0.0", "::", "::1", "localhost", "my-host.example.org", "fe80::1%eth0"):  # noqa: S104
        settings = load(workers=2, monitor_port=65_535, monitor_host=host)
        assert (settings.monitor_port, settings.monitor_host) == (65_535, host)
    with override_settings(EVENT_BUS_REDIS_CONSUMER_MONITOR_PORT=9100, EVENT_BUS_REDIS_CONSUMER_MONITOR_HOST="::1"):
        assert (load().monitor_port, load().monitor_host) == (9100, "::1")
        assert load(workers=2, monitor_host="::").monitor_host == "::"
