"""
What happens once per start, in the process that was started and before any fork: a pool gets its name, and the group is
set up.
"""

from __future__ import annotations

import logging
import uuid
from typing import NamedTuple

import redis

from edx_event_bus_redis.internal import connection_url
from edx_event_bus_redis.internal.alive import leases
from edx_event_bus_redis.internal.client import make_client, refusal_by_tls, reply_timeout
from edx_event_bus_redis.internal.errors import (
    AccessRefused,
    ConfigurationError,
    NodeOfCluster,
    ServerError,
    ServerNotTrusted,
    ServerUnavailable,
    TooManyErrors,
)
from edx_event_bus_redis.internal.group import set_up_group
from edx_event_bus_redis.internal.holder import this_process
from edx_event_bus_redis.internal.lease import Lease, acquire
from edx_event_bus_redis.internal.log_lines import NAME_OF_A_WORKER
from edx_event_bus_redis.internal.names import pool_of, private_keys, stream_key
from edx_event_bus_redis.internal.options import ConsumerSettings
from edx_event_bus_redis.internal.pools import Pools
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.protocols import Stop
from edx_event_bus_redis.internal.stream import Stream
from edx_event_bus_redis.internal.takeover import Membership
from edx_event_bus_redis.internal.telemetry import RunContext
from edx_event_bus_redis.internal.troubles import Troubles

logger = logging.getLogger(__name__)

# Seconds that connecting, and that one reply, may take before the server counts as unavailable. A blocking read waits
# for half of it at the most.
_CONNECT_TIMEOUT = 3.0
_TIMEOUT = 5.0
_BLOCK_SHARE = 0.5

# What servers say to a URL that does not fit them.
_WORDS = {
    "DB index is out of range": "the server has no database of this number",
    "cluster support disabled": "the server is none of a cluster, expected redis://…",
}


def connect(settings: ConsumerSettings) -> redis.Redis:
    """Return a client for one consumer, or for the set-up."""
    key = stream_key(settings.topic, settings.topic_prefix)
    return make_client(settings.server, timeout=_TIMEOUT, connect_timeout=_CONNECT_TIMEOUT, key=key)


def connect_now(settings: ConsumerSettings) -> redis.Redis:
    """Return a client that has had an answer already. Raises ServerError if it got none."""
    client = connect(settings)
    Stream(client, stream_key(settings.topic, settings.topic_prefix)).milliseconds()
    return client


def longest_block(client: redis.Redis) -> float:
    """Return the seconds that a read may block at the most."""
    return reply_timeout(client) * _BLOCK_SHARE


class Start(NamedTuple):
    """
    What a start has found.

    Attributes:
        cursor: of the group.
        membership: name and lease of the pool; None for a consumer without workers.
    """

    cursor: bytes
    membership: Membership | None


def set_up(settings: ConsumerSettings, stop: Stop) -> Start | None:
    """
    Set up the group as soon as Redis can be reached; return what was found, None if a stop is requested before.

    Raises:
        ConfigurationError: Redis refuses what the URL asks for.
        TooManyErrors: Redis could not be reached so many times.
    """
    client = connect(settings)
    stream = Stream(client, stream_key(settings.topic, settings.topic_prefix))
    context = RunContext(stream.key, settings.group, settings.consumer_name)
    troubles = Troubles(context, settings.poll_failure_sleep)
    # The same at each try: the first may have got the name before it failed.
    token = uuid.uuid4().hex
    try:
        while not stop.requested:
            try:
                start = _start(client, stream, settings, token)
                troubles.over()
                return start
            except AccessRefused as error:
                raise ConfigurationError(
                    "setting EVENT_BUS_REDIS_CONNECTION_URL: Redis refuses its user or password, or a command or key "
                    f"(needed are {stream.key} and {private_keys(stream.key)}*): {error}"
                ) from None
            except ServerError as failure:
                found = (refusal_by_tls(client) if type(failure) is ServerUnavailable else None) or failure
                reason = _never_works(found)
                if reason is not None:
                    raise ConfigurationError(f"setting {connection_url.SETTING}: {reason}: {found}") from None
                seconds = troubles.happened(found)
                limit = settings.consecutive_errors_limit
                if limit is not None and troubles.count >= limit:
                    raise TooManyErrors(f"Too many consecutive errors, exiting ({troubles.count} in a row)") from None
                stop.wait(seconds)
        return None
    finally:
        stream.close()


def _never_works(error: ServerError) -> str | None:
    """Return why the URL is wrong, None if what fails may pass."""
    if isinstance(error, ServerNotTrusted):
        return "TLS fails"
    if isinstance(error, NodeOfCluster):
        return "the server is a node of a cluster, expected redis+cluster://…"
    for words, reason in _WORDS.items():
        if words in str(error):
            return reason
    return None


def _start(client: redis.Redis, stream: Stream, settings: ConsumerSettings, token: str) -> Start:
    group, own = settings.group, None
    if settings.workers is not None:
        own = acquire(client, stream.key, group, settings.consumer_name, holder=this_process(), token=token)
    pools = Pools(client, stream.key, group, own.name if own else None)
    if own is None:
        _warn_of_worker_name(pools, stream.key, settings)
    cursor = set_up_group(stream, settings, leases(pools, own.name if own else None))
    # Also to learn now whether these keys are allowed.
    GroupStore(client, stream.key, group).promote()
    return Start(cursor, Membership(own.name, own.token, lambda: settings.workers or 0) if own else None)


def _warn_of_worker_name(pools: Pools, stream: str, settings: ConsumerSettings) -> None:
    """Say that a consumer without workers has a name that a pool takes for one of its own workers'."""
    pool, known = pool_of(settings.consumer_name), pools.known()
    if pool in {*known.alive, *known.gone}:
        NAME_OF_A_WORKER.log(
            logger, consumer_name=settings.consumer_name, group=settings.group, stream=stream, other=pool
        )


def give_back(settings: ConsumerSettings, membership: Membership) -> None:
    """Give the name of a pool back that is not going to run. Raises ServerError."""
    client = connect(settings)
    try:
        key = stream_key(settings.topic, settings.topic_prefix)
        Lease(client, key, settings.group, membership.name, membership.token).release()
    finally:
        client.connection_pool.disconnect()
