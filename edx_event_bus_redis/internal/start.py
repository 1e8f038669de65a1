"""What happens once per start, in the process that was started and before any fork: the group is set up."""

from __future__ import annotations

import redis

from edx_event_bus_redis.internal.client import make_client, reply_timeout
from edx_event_bus_redis.internal.errors import AccessRefused, ConfigurationError, ServerError, TooManyErrors
from edx_event_bus_redis.internal.group import set_up_group
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.protocols import Stop
from edx_event_bus_redis.internal.settings import ConsumerSettings
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.telemetry import RunContext
from edx_event_bus_redis.internal.troubles import Troubles

# Seconds that connecting, and that one reply, may take before the server counts as unavailable. A blocking read waits
# for half of it at the most.
_CONNECT_TIMEOUT = 3.0
_TIMEOUT = 5.0
_BLOCK_SHARE = 0.5


def connect(settings: ConsumerSettings) -> redis.Redis:
    """Return a client for one consumer, or for the set-up. Raises ConfigurationError if the URL cannot work."""
    return make_client(settings.url, timeout=_TIMEOUT, connect_timeout=_CONNECT_TIMEOUT)


def longest_block(client: redis.Redis) -> float:
    """Return the seconds that a read may block at the most."""
    return reply_timeout(client) * _BLOCK_SHARE


def set_up(settings: ConsumerSettings, stop: Stop) -> bytes | None:
    """
    Set up the group as soon as Redis can be reached; return its cursor, None if a stop is requested before.

    Raises:
        ConfigurationError: Redis refuses what the URL asks for.
        TooManyErrors: Redis could not be reached so many times.
    """
    client = connect(settings)
    stream = Stream(client, stream_key(settings.topic, settings.topic_prefix))
    context = RunContext(stream.key, settings.group, settings.consumer_name)
    troubles = Troubles(context, settings.poll_failure_sleep)
    try:
        while not stop.requested:
            try:
                cursor = set_up_group(stream, settings)
                # Also to learn now whether these keys are allowed.
                GroupStore(client, stream.key, settings.group).promote()
                troubles.over()
                return cursor
            except AccessRefused as error:
                raise ConfigurationError(
                    "setting EVENT_BUS_REDIS_CONNECTION_URL: Redis refuses its user or password, or a command or key "
                    f"(needed are {stream.key} and {{{stream.key}}}:*): {error}"
                ) from None
            except ServerError as error:
                if "DB index is out of range" in str(error):
                    raise ConfigurationError(
                        f"setting EVENT_BUS_REDIS_CONNECTION_URL: the server has no database of this number: {error}"
                    ) from None
                seconds = troubles.happened(error)
                limit = settings.consecutive_errors_limit
                if limit is not None and troubles.count >= limit:
                    raise TooManyErrors(f"Too many consecutive errors, exiting ({troubles.count} in a row)") from None
                stop.wait(seconds)
        return None
    finally:
        stream.close()
