"""
The only reader of Django's settings: each value is read when it is used, and validated. None is as good as not set.

What a consumer is told besides, by ``--extra``, is in ``options``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from django.conf import settings as django_settings
from edx_toggles.toggles import SettingToggle

from edx_event_bus_redis.internal import connection_url, values
from edx_event_bus_redis.internal.connection_url import Kind
from edx_event_bus_redis.internal.errors import ConfigurationError
from edx_event_bus_redis.internal.names import has_private_slot, stream_key
from edx_event_bus_redis.internal.server import OPTIONS_SETTING, Server

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


def setting(name: str, convert: Callable[[object], Any], default: Any) -> Any:
    """
    Return a setting, or the default if it is missing or None.

    Arguments:
        name: of the setting.
        convert: of ``values``.
        default: if it is not set.

    Raises:
        ConfigurationError: it cannot work.
    """
    value = getattr(django_settings, name, None)
    if value is None:
        return default
    try:
        return convert(value)
    except values.Wrong as wrong:
        raise ConfigurationError(f"setting {name} is {value!r}: {wrong}") from None


# Bytes. Redis itself takes no value of more than 512 MiB, and an event with hardly any data has a few hundred bytes: a
# smaller limit is one in another unit.
_MAX_EVENT_BYTES = 5 * 1024 * 1024
_event_bytes = values.count(1024, 512 * 1024 * 1024)


@attrs.frozen
class ProducerSettings:
    """
    What a producer needs.

    Attributes:
        topic_prefix: ``EVENT_BUS_TOPIC_PREFIX``, None for no prefix.
        stream_max_len: ``EVENT_BUS_REDIS_STREAM_MAX_LEN``, entries that a stream keeps, approximately.
        keep_unacked: ``EVENT_BUS_REDIS_STREAM_KEEP_UNACKED``, whether a stream also keeps what is not acknowledged.
        wait_replicas: ``EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS``, replicas that are to confirm an event; 0 for none.
        max_event_bytes: ``EVENT_BUS_REDIS_MAX_EVENT_BYTES``, bytes that an event may have.
    """

    topic_prefix: str | None
    stream_max_len: int
    keep_unacked: bool
    wait_replicas: int
    max_event_bytes: int


@attrs.frozen
class GroupSettings:
    """
    What a command about a group needs.

    Attributes:
        server: where Redis is.
        topic: without the prefix.
        topic_prefix: None for no prefix.
        group: consumer group.
        max_event_bytes: bytes that an event may have to be handled.
    """

    server: Server
    topic: str
    topic_prefix: str | None
    group: str
    max_event_bytes: int


@attrs.frozen
class StatusSettings:
    """
    What a command about streams needs.

    Attributes:
        server: where Redis is.
        topic: without the prefix; None for all topics.
        topic_prefix: None for no prefix.
        stream_max_len: entries that a stream keeps, approximately, if its producers have the same setting.
        keep_unacked: whether it also keeps what is not acknowledged, likewise.
    """

    server: Server
    topic: str | None
    topic_prefix: str | None
    stream_max_len: int
    keep_unacked: bool


def consumers_enabled() -> bool:
    """Return whether consumers may run."""
    return bool(_CONSUMERS_ENABLED.is_enabled())


def audit_logging_enabled() -> bool:
    """Return whether each event is logged."""
    return bool(_AUDIT_LOGGING_ENABLED.is_enabled())


def load_server() -> Server | None:
    """
    Return the server of ``EVENT_BUS_REDIS_CONNECTION_URL``, None if that is not set.

    Raises:
        ConfigurationError: it or ``EVENT_BUS_REDIS_CONNECTION_OPTIONS`` cannot work.
    """
    # .. setting_name: EVENT_BUS_REDIS_CONNECTION_URL
    # .. setting_default: None
    # .. setting_description: Where Redis is: redis://, rediss:// (TLS) or unix:// for a server, redis+sentinel:// for
    #   the server that sentinels know, redis+cluster:// for a cluster.
    # .. setting_name: EVENT_BUS_REDIS_CONNECTION_OPTIONS
    # .. setting_default: None
    # .. setting_description: A dict of more options of each connection, by the names that redis-py gives them, such as
    #   client_name, ssl_ca_certs or credential_provider; password may be a function, and password_file names a file
    #   that has it. Both are asked for the password with each new connection.
    url = getattr(django_settings, connection_url.SETTING, None)
    return None if url is None else Server.of(url, getattr(django_settings, OPTIONS_SETTING, None))


def required_server() -> Server:
    """Return the same. Raises ConfigurationError if it is not set or cannot work."""
    server = load_server()
    if server is None:
        raise ConfigurationError(
            f"setting {connection_url.SETTING} is missing: expected a URL like redis://:password@localhost:6379/"
        )
    return server


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
    # .. setting_name: EVENT_BUS_REDIS_STREAM_KEEP_UNACKED
    # .. setting_default: False
    # .. setting_description: If True, only entries that every consumer group of the stream has acknowledged are
    #   trimmed, and a stream whose group does not read grows without bound. Needs Redis 8.2 or newer, and has no effect
    #   elsewhere. All services that produce to a stream need the same value. To a consumer it says that they have it,
    #   so that its warnings of a backlog tell of no loss; to it and event_bus_status, that a stream far above its cap
    #   is worth a warning.
    # .. setting_name: EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS
    # .. setting_default: 0
    # .. setting_description: How many replicas a producer waits for to confirm that they have what it has sent, for a
    #   second at the most. What was not confirmed is sent all the same, and the log says so.
    # .. setting_name: EVENT_BUS_REDIS_MAX_EVENT_BYTES
    # .. setting_default: 5242880
    # .. setting_description: How many bytes an event may have, names and values of all its fields in the stream. A
    #   producer does not send a larger one, and logs it as an error; to a consumer it is a dead letter, which keeps the
    #   headers. From 1024 to 536870912.
    return ProducerSettings(
        topic_prefix=_topic_prefix(),
        stream_max_len=_stream_max_len(),
        keep_unacked=_keep_unacked(),
        wait_replicas=setting("EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS", values.count(0), 0),
        max_event_bytes=_max_event_bytes(),
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
    settings = GroupSettings(
        server=required_server(),
        topic=_argument("--topic", topic),
        topic_prefix=_topic_prefix(),
        group=_argument("--group_id", group),
        max_event_bytes=_max_event_bytes(),
    )
    stream = stream_key(settings.topic, settings.topic_prefix)
    if settings.server.where.kind is Kind.CLUSTER and not has_private_slot(stream):
        raise ConfigurationError(
            f"--topic is {topic!r}: in a cluster a stream cannot have groups whose name {stream!r} has a brace that "
            "closes, unless it is the end of a hash tag like {this}"
        )
    return settings


def load_status_settings(topic: object | None) -> StatusSettings:
    """
    Return what a command about streams is told, by its command line and by settings.

    Arguments:
        topic: of ``--topic``, without the prefix; None for all topics.

    Raises:
        ConfigurationError: something is missing or cannot work.
    """
    return StatusSettings(
        server=required_server(),
        topic=None if topic is None else _argument("--topic", topic),
        topic_prefix=_topic_prefix(),
        stream_max_len=_stream_max_len(),
        keep_unacked=_keep_unacked(),
    )


def _topic_prefix() -> str | None:
    prefix: str | None = setting("EVENT_BUS_TOPIC_PREFIX", values.prefix, None)
    return prefix


def _stream_max_len() -> int:
    cap: int = setting("EVENT_BUS_REDIS_STREAM_MAX_LEN", values.max_len, 10_000)
    return cap


def _keep_unacked() -> bool:
    is_kept: bool = setting("EVENT_BUS_REDIS_STREAM_KEEP_UNACKED", values.flag, False)
    return is_kept


def _max_event_bytes() -> int:
    limit: int = setting("EVENT_BUS_REDIS_MAX_EVENT_BYTES", _event_bytes, _MAX_EVENT_BYTES)
    return limit


def _argument(name: str, value: object) -> str:
    try:
        return values.name(value)
    except values.Wrong as wrong:
        raise ConfigurationError(f"{name} is {value!r}: {wrong}") from None
