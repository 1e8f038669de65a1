"""
The only reader of Django's settings: each value is read when it is used, validated, and merged with ``--extra``.

An ``--extra`` key wins over the setting of the same meaning, and that over the default. None (``null``) is as good as
not given.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from django.conf import settings as django_settings
from edx_toggles.toggles import SettingToggle

from edx_event_bus_redis.internal import connection_url, values
from edx_event_bus_redis.internal.errors import ConfigurationError

# .. toggle_name: EVENT_BUS_REDIS_CONSUMERS_ENABLED
# .. toggle_implementation: SettingToggle
# .. toggle_default: True
# .. toggle_description: If False, a consumer that is started exits at once, with status 0. An emergency switch; running
#   consumers must be restarted to see it.
# .. toggle_use_cases: opt_out
# .. toggle_creation_date: 2022-01-31
_CONSUMERS_ENABLED = SettingToggle("EVENT_BUS_REDIS_CONSUMERS_ENABLED", default=True, module_name=__name__)

# .. toggle_name: EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED
# .. toggle_implementation: SettingToggle
# .. toggle_default: True
# .. toggle_description: If True, each event that is produced or consumed is logged with what identifies it: topic,
#   event id and entry id, but no event data.
# .. toggle_use_cases: opt_out
# .. toggle_creation_date: 2023-02-24
_AUDIT_LOGGING_ENABLED = SettingToggle("EVENT_BUS_REDIS_AUDIT_LOGGING_ENABLED", default=True, module_name=__name__)


def _setting(name: str, convert: Callable[[object], Any], default: Any) -> Any:
    """Return the converted setting, or the default if it is missing or None."""
    value = getattr(django_settings, name, None)
    if value is None:
        return default
    try:
        return convert(value)
    except values.Wrong as wrong:
        raise ConfigurationError(f"setting {name} is {value!r}: {wrong}") from None


@attrs.frozen
class _Option:
    """One ``--extra`` key: how it is converted, its default, and the setting of the same meaning if there is one."""

    convert: Callable[[object], Any]
    default: Any = None
    setting: str | None = None


# A mistyped number must not fork until the machine is full.
_MOST_WORKERS = 1000

_OPTIONS: Mapping[str, _Option] = {
    "consumer_name": _Option(values.name),
    "workers": _Option(values.count(1, _MOST_WORKERS), setting="EVENT_BUS_REDIS_CONSUMER_WORKERS"),
    "check_backlog": _Option(values.flag, default=False),
    "last_read_msg_id": _Option(values.entry_id),
    "claim_msgs_older_than": _Option(values.count(1), setting="EVENT_BUS_REDIS_CONSUMER_CLAIM_MSGS_OLDER_THAN"),
    "max_retries": _Option(values.count(0), default=0, setting="EVENT_BUS_REDIS_CONSUMER_MAX_RETRIES"),
    "max_deliveries": _Option(values.count(1), default=3, setting="EVENT_BUS_REDIS_CONSUMER_MAX_DELIVERIES"),
    "handler_timeout": _Option(values.seconds, setting="EVENT_BUS_REDIS_CONSUMER_HANDLER_TIMEOUT"),
    "shutdown_timeout": _Option(values.seconds, default=30.0, setting="EVENT_BUS_REDIS_CONSUMER_SHUTDOWN_TIMEOUT"),
}

# In a pool somebody must look after the entries of consumers that are gone for good; half an hour is the example of
# the published package's documentation.
_POOL_CLAIM_MSGS_OLDER_THAN = 1_800_000


@attrs.frozen
class ProducerSettings:
    """
    What a producer needs.

    Attributes:
        topic_prefix: ``EVENT_BUS_TOPIC_PREFIX``, None for no prefix.
        stream_max_len: ``EVENT_BUS_REDIS_STREAM_MAX_LEN``, entries that a stream keeps, approximately.
    """

    topic_prefix: str | None
    stream_max_len: int


@attrs.frozen
class ConsumerSettings:
    """
    What a consumer needs.

    Attributes:
        url: of the Redis server.
        topic: without the prefix.
        topic_prefix: None for no prefix.
        group: consumer group.
        consumer_name: name in the group; of a pool, the stem of its workers' names.
        workers: processes of the pool, None to consume in the process that was started.
        check_backlog: whether the group's cursor stays where it is at the start.
        last_read_msg_id: where the cursor is moved to at the start, None for nowhere.
        claim_msgs_older_than: milliseconds that an entry must be pending without a sign of life until it is claimed
            from another consumer, None for never.
        max_retries: how often an event is tried again when receivers failed to handle it.
        max_deliveries: how often an event is started if its worker dies of it or times out.
        handler_timeout: seconds that handling one event may take, None for as long as it wants.
        shutdown_timeout: seconds that a graceful stop may take.
        poll_timeout: seconds that the consumer waits for new entries before it reports that it is idle.
        poll_failure_sleep: seconds to wait after the first failure to get entries.
        consecutive_errors_limit: errors in a row after which a consumer leaves, None for never.
        dead_letters_max_len: dead letters that a group keeps, approximately.
    """

    url: str = attrs.field(repr=connection_url.redacted)
    topic: str
    topic_prefix: str | None
    group: str
    consumer_name: str
    workers: int | None
    check_backlog: bool
    last_read_msg_id: str | None
    claim_msgs_older_than: int | None
    max_retries: int
    max_deliveries: int
    handler_timeout: float | None
    shutdown_timeout: float
    poll_timeout: float
    poll_failure_sleep: float
    consecutive_errors_limit: int | None
    dead_letters_max_len: int


@attrs.frozen
class GroupSettings:
    """
    What a command about a group needs.

    Attributes:
        url: of the Redis server.
        topic: without the prefix.
        topic_prefix: None for no prefix.
        group: consumer group.
    """

    url: str = attrs.field(repr=connection_url.redacted)
    topic: str
    topic_prefix: str | None
    group: str


def consumers_enabled() -> bool:
    """Return whether consumers may run."""
    return bool(_CONSUMERS_ENABLED.is_enabled())


def audit_logging_enabled() -> bool:
    """Return whether each event is logged."""
    return bool(_AUDIT_LOGGING_ENABLED.is_enabled())


def load_connection_url() -> str | None:
    """
    Return ``EVENT_BUS_REDIS_CONNECTION_URL``, None if it is not set.

    Raises:
        ConfigurationError: it cannot work.
    """
    url = getattr(django_settings, connection_url.SETTING, None)
    if url is None:
        return None
    connection_url.connection_options(url)
    return str(url)


def load_producer_settings() -> ProducerSettings:
    """Return the producer's settings. Raises ConfigurationError for one that cannot work."""
    # .. setting_name: EVENT_BUS_TOPIC_PREFIX
    # .. setting_default: None
    # .. setting_description: Put in front of every topic, with a hyphen, to make the name of its stream. Keeps
    #   environments that share a Redis server apart.
    # .. setting_name: EVENT_BUS_REDIS_STREAM_MAX_LEN
    # .. setting_default: 10000
    # .. setting_description: How many entries a stream keeps, approximately. Older ones are trimmed when an event is
    #   produced, read or not.
    return ProducerSettings(
        topic_prefix=_setting("EVENT_BUS_TOPIC_PREFIX", values.prefix, None),
        stream_max_len=_setting("EVENT_BUS_REDIS_STREAM_MAX_LEN", values.max_len, 10_000),
    )


def load_consumer_settings(topic: object, group: object, extra: Mapping[str, object]) -> ConsumerSettings:
    """
    Return everything that a consumer is told, by its command line and by settings.

    Arguments:
        topic: of ``--topic``, without the prefix.
        group: of ``--group_id``.
        extra: of ``--extra``.

    Raises:
        ConfigurationError: something is missing, unknown or cannot work.
    """
    _check_keys(extra)
    options = {key: _option(key, option, extra) for key, option in _OPTIONS.items()}
    if options["consumer_name"] is None:
        raise ConfigurationError(
            "--extra key 'consumer_name' is missing: expected a name that no other consumer of the group has, "
            'like {"consumer_name": "c1"}'
        )
    if options["workers"] is not None and options["claim_msgs_older_than"] is None:
        options["claim_msgs_older_than"] = _POOL_CLAIM_MSGS_OLDER_THAN
    return ConsumerSettings(
        url=_required_url(),
        topic=_argument("--topic", topic),
        topic_prefix=_setting("EVENT_BUS_TOPIC_PREFIX", values.prefix, None),
        group=_argument("--group_id", group),
        **options,
        # .. setting_name: EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT
        # .. setting_default: 60
        # .. setting_description: Seconds, also fractions, that a consumer waits for new entries before it reports to
        #   the monitoring system that it is idle.
        poll_timeout=_setting("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", values.seconds, 60.0),
        # .. setting_name: EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP
        # .. setting_default: 1.0
        # .. setting_description: Seconds that a consumer waits after it failed to get entries. Repeated failures wait
        #   longer, up to five times as long or five seconds, whichever is more.
        poll_failure_sleep=_setting("EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP", values.seconds_or_zero, 1.0),
        # .. setting_name: EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT
        # .. setting_default: None
        # .. setting_description: Errors in a row, of polling, decoding or handling, after which a consumer leaves with
        #   status 1. In a pool the worker is replaced, and the pool leaves when all of its workers keep reaching the
        #   limit. Only an event that was handled begins a new row.
        consecutive_errors_limit=_setting(
            "EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT", values.errors_limit, None
        ),
        # .. setting_name: EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN
        # .. setting_default: 10000
        # .. setting_description: How many dead letters each group of a stream keeps, about; the oldest go first.
        dead_letters_max_len=_setting("EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN", values.max_len, 10_000),
    )


def load_group_settings(topic: object, group: object) -> GroupSettings:
    """
    Return what a command about a group is told, by its command line and by settings.

    Arguments:
        topic: of ``--topic``, without the prefix.
        group: of ``--group_id``.

    Raises:
        ConfigurationError: something is missing or cannot work.
    """
    return GroupSettings(
        url=_required_url(),
        topic=_argument("--topic", topic),
        topic_prefix=_setting("EVENT_BUS_TOPIC_PREFIX", values.prefix, None),
        group=_argument("--group_id", group),
    )


def all_errors() -> list[ConfigurationError]:
    """Return one error for each setting that cannot work, without regard to any ``--extra``."""
    errors = []

    def collect(load: Callable[[], object]) -> None:
        try:
            load()
        except ConfigurationError as error:
            errors.append(error)

    collect(load_connection_url)
    collect(load_producer_settings)
    collect(lambda: _setting("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", values.seconds, None))
    collect(lambda: _setting("EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP", values.seconds_or_zero, None))
    collect(lambda: _setting("EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT", values.errors_limit, None))
    collect(lambda: _setting("EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN", values.max_len, None))
    for option in _OPTIONS.values():
        if option.setting is not None:
            collect(functools.partial(_setting, option.setting, option.convert, None))
    return errors


def _required_url() -> str:
    url = load_connection_url()
    if url is None:
        raise ConfigurationError(
            f"setting {connection_url.SETTING} is missing: expected a URL like redis://:password@localhost:6379/"
        )
    return url


def _check_keys(extra: Mapping[str, object]) -> None:
    for key in extra:
        if key not in _OPTIONS:
            near = difflib.get_close_matches(key, _OPTIONS, n=1, cutoff=0)
            raise ConfigurationError(
                f"--extra key {key!r} is unknown, did you mean {near[0]!r}? Known keys: {', '.join(_OPTIONS)}"
            )


def _option(key: str, option: _Option, extra: Mapping[str, object]) -> Any:
    value = extra.get(key)
    if value is None:
        return _setting(option.setting, option.convert, option.default) if option.setting else option.default
    try:
        return option.convert(value)
    except values.Wrong as wrong:
        raise ConfigurationError(f"--extra key {key!r} is {json.dumps(value, default=str)}: {wrong}") from None


def _argument(name: str, value: object) -> str:
    try:
        return values.name(value)
    except values.Wrong as wrong:
        raise ConfigurationError(f"{name} is {value!r}: {wrong}") from None
