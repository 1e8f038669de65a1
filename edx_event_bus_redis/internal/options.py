"""
What a consumer is told, by ``--extra`` and by settings.

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

from edx_event_bus_redis.internal import values
from edx_event_bus_redis.internal.errors import ConfigurationError
from edx_event_bus_redis.internal.server import Server
from edx_event_bus_redis.internal.settings import load_group_settings, load_producer_settings, load_server, setting


@attrs.frozen
class _Option:
    """One ``--extra`` key: how it is converted, its default, and the setting of the same meaning if there is one."""

    convert: Callable[[object], Any]
    default: Any = None
    setting: str | None = None


# A mistyped number must not fork until the machine is full.
MOST_WORKERS = 1000

_OPTIONS: Mapping[str, _Option] = {
    "consumer_name": _Option(values.name),
    "workers": _Option(values.workers(MOST_WORKERS), setting="EVENT_BUS_REDIS_CONSUMER_WORKERS"),
    "check_backlog": _Option(values.flag, default=False),
    "last_read_msg_id": _Option(values.entry_id),
    "claim_msgs_older_than": _Option(values.count(1), setting="EVENT_BUS_REDIS_CONSUMER_CLAIM_MSGS_OLDER_THAN"),
    "max_retries": _Option(values.count(0), default=0, setting="EVENT_BUS_REDIS_CONSUMER_MAX_RETRIES"),
    "max_deliveries": _Option(values.count(1), default=3, setting="EVENT_BUS_REDIS_CONSUMER_MAX_DELIVERIES"),
    "handler_timeout": _Option(values.seconds, setting="EVENT_BUS_REDIS_CONSUMER_HANDLER_TIMEOUT"),
    "max_events_per_worker": _Option(values.count(1), setting="EVENT_BUS_REDIS_CONSUMER_MAX_EVENTS_PER_WORKER"),
    "max_memory_per_worker": _Option(values.count(1), setting="EVENT_BUS_REDIS_CONSUMER_MAX_MEMORY_PER_WORKER"),
    "shutdown_timeout": _Option(values.seconds, default=30.0, setting="EVENT_BUS_REDIS_CONSUMER_SHUTDOWN_TIMEOUT"),
    "monitor_port": _Option(values.port, setting="EVENT_BUS_REDIS_CONSUMER_MONITOR_PORT"),
    "monitor_host": _Option(values.host, default="127.0.0.1", setting="EVENT_BUS_REDIS_CONSUMER_MONITOR_HOST"),
}

# In a pool somebody must look after the entries of consumers that are gone for good; half an hour is the example of
# the published package's documentation.
_POOL_CLAIM_MSGS_OLDER_THAN = 1_800_000


@attrs.frozen
class ConsumerSettings:
    """
    What a consumer needs.

    Attributes:
        server: where Redis is.
        topic: without the prefix.
        topic_prefix: None for no prefix.
        group: consumer group.
        consumer_name: name in the group; of a pool, the stem of its workers' names.
        workers: processes of the pool at its start, None to consume in the process that was started.
        most_workers: processes up to which the pool grows by itself, and shrinks again; None if it does neither.
        check_backlog: whether the group's cursor stays where it is at the start.
        last_read_msg_id: where the cursor is moved to at the start, None for nowhere.
        claim_msgs_older_than: milliseconds that an entry must be pending without a sign of life until it is claimed
            from another consumer, None for never.
        max_retries: how often an event is tried again when receivers failed to handle it.
        max_deliveries: how often an event is started if its worker dies of it or times out.
        handler_timeout: seconds that handling one event may take, None for as long as it wants.
        shutdown_timeout: seconds that a graceful stop may take.
        max_events_per_worker: events after which a worker is replaced, about; None for any number.
        max_memory_per_worker: MiB of its own above which a worker is replaced, about; None for any amount.
        monitor_port: where the monitor of a pool answers to HTTP, None for nowhere.
        monitor_host: on which address.
        poll_timeout: seconds that the consumer waits for new entries before it reports that it is idle.
        poll_failure_sleep: seconds to wait after the first failure to get entries.
        consecutive_errors_limit: errors in a row after which a consumer leaves, None for never.
        dead_letters_max_len: dead letters that a group keeps, approximately.
        stream_max_len: entries that the stream keeps, approximately, if its producers have the same setting.
        keep_unacked: whether it also keeps what is not acknowledged, likewise, and if the server can do that.
        max_event_bytes: bytes that an event may have to be handled.
    """

    server: Server
    topic: str
    topic_prefix: str | None
    group: str
    consumer_name: str
    workers: int | None
    most_workers: int | None
    check_backlog: bool
    last_read_msg_id: str | None
    claim_msgs_older_than: int | None
    max_retries: int
    max_deliveries: int
    handler_timeout: float | None
    shutdown_timeout: float
    max_events_per_worker: int | None
    max_memory_per_worker: int | None
    monitor_port: int | None
    monitor_host: str
    poll_timeout: float
    poll_failure_sleep: float
    consecutive_errors_limit: int | None
    dead_letters_max_len: int
    stream_max_len: int
    keep_unacked: bool
    max_event_bytes: int


def options_in_force(settings: ConsumerSettings) -> dict[str, Any]:
    """Return what each ``--extra`` key comes to, given or not. None of them is secret; the URL is no such key."""
    options = {key: getattr(settings, key) for key in _OPTIONS}
    if settings.most_workers is not None:
        options["workers"] = f"{settings.workers}-{settings.most_workers}"
    return options


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
    _check_monitor(extra, options)
    options["workers"], options["most_workers"] = options["workers"] or (None, None)
    if options["workers"] is not None and options["claim_msgs_older_than"] is None:
        options["claim_msgs_older_than"] = _POOL_CLAIM_MSGS_OLDER_THAN
    of_group, of_producers = load_group_settings(topic, group), load_producer_settings()
    return ConsumerSettings(
        **attrs.asdict(of_group, recurse=False),
        **options,
        # .. setting_name: EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT
        # .. setting_default: 60
        # .. setting_description: Seconds, also fractions, that a consumer waits for new entries before it reports to
        #   the monitoring system that it is idle.
        poll_timeout=setting("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", values.seconds, 60.0),
        # .. setting_name: EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP
        # .. setting_default: 1.0
        # .. setting_description: Seconds that a consumer waits after it failed to get entries. Repeated failures wait
        #   longer, up to five times as long or five seconds, whichever is more.
        poll_failure_sleep=setting("EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP", values.seconds_or_zero, 1.0),
        # .. setting_name: EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT
        # .. setting_default: None
        # .. setting_description: Errors in a row, of polling, decoding or handling, after which a consumer leaves with
        #   status 1. In a pool the worker is replaced, and the pool leaves when all of its workers keep reaching the
        #   limit. Only an event that was handled begins a new row.
        consecutive_errors_limit=setting(
            "EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT", values.errors_limit, None
        ),
        # .. setting_name: EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN
        # .. setting_default: 10000
        # .. setting_description: How many dead letters each group of a stream keeps, about; the oldest go first.
        dead_letters_max_len=setting("EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN", values.max_len, 10_000),
        stream_max_len=of_producers.stream_max_len,
        keep_unacked=of_producers.keep_unacked,
    )


def all_errors() -> list[ConfigurationError]:
    """Return one error for each setting that cannot work, without regard to any ``--extra``."""
    errors = []

    def collect(load: Callable[[], object]) -> None:
        try:
            load()
        except ConfigurationError as error:
            errors.append(error)

    collect(load_server)
    collect(load_producer_settings)
    collect(lambda: setting("EVENT_BUS_REDIS_CONSUMER_POLL_TIMEOUT", values.seconds, None))
    collect(lambda: setting("EVENT_BUS_REDIS_CONSUMER_POLL_FAILURE_SLEEP", values.seconds_or_zero, None))
    collect(lambda: setting("EVENT_BUS_REDIS_CONSUMER_CONSECUTIVE_ERRORS_LIMIT", values.errors_limit, None))
    collect(lambda: setting("EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN", values.max_len, None))
    for option in _OPTIONS.values():
        if option.setting is not None:
            collect(functools.partial(setting, option.setting, option.convert, None))
    return errors


def _check_keys(extra: Mapping[str, object]) -> None:
    for key in extra:
        if key not in _OPTIONS:
            near = difflib.get_close_matches(key, _OPTIONS, n=1, cutoff=0)
            raise ConfigurationError(
                f"--extra key {key!r} is unknown, did you mean {near[0]!r}? Known keys: {', '.join(_OPTIONS)}"
            )


def _check_monitor(extra: Mapping[str, object], options: Mapping[str, object]) -> None:
    """Refuse keys that cannot work; settings may be meant for other consumers of the service."""
    if extra.get("monitor_port") is not None and options["workers"] is None:
        raise ConfigurationError(
            "--extra key 'monitor_port' needs a monitor, which only a pool has: expected 'workers' beside it"
        )
    if extra.get("monitor_host") is not None and options["monitor_port"] is None:
        raise ConfigurationError(
            "--extra key 'monitor_host' is of no use without a port: expected 'monitor_port' beside it"
        )


def _option(key: str, option: _Option, extra: Mapping[str, object]) -> Any:
    value = extra.get(key)
    if value is None:
        return setting(option.setting, option.convert, option.default) if option.setting else option.default
    try:
        return option.convert(value)
    except values.Wrong as wrong:
        raise ConfigurationError(f"--extra key {key!r} is {json.dumps(value, default=str)}: {wrong}") from None
