"""Looks at one group of one stream, made up for what is decided by them."""

from typing import Any

import attrs

from edx_event_bus_redis.internal.progress import Look
from edx_event_bus_redis.internal.status import ConsumerStatus, GroupStatus, PoolStatus, StreamStatus

NOW = 1_795_558_657.0

_NONE_LOST = {"trimmed": 0, "deleted": 0, "skipped": 0, "group_gone": 0, "forgotten": 0, "dropped_dead_letters": 0}


def worker(shard: int = 0, **fields: Any) -> dict[str, Any]:
    """A worker that is idle and has never died, as its pool's heartbeat has it."""
    idle = {"shard": shard, "pid": 100 + shard, "state": "idle", "entry": None, "again": False, "seconds": 0.0}
    counts = {"handled": 50, "failed": 0, "errors": 0, "rate": 12.5, "memory": 123 * 2**20, "cpu": 7.0}
    return {**idle, **counts, "restarts": 0, "last_death": None, **fields}


def pool(*workers: dict[str, Any], **fields: Any) -> PoolStatus:
    """A pool that has been alive for two hours."""
    about = {"pool": "c1", "alive": True, "host": "web-1", "pid": 12, "since": NOW - 7200}
    return PoolStatus(**{**about, "workers": len(workers), "state": list(workers), **fields})


def consumer(name: str, **fields: Any) -> ConsumerStatus:
    """A consumer that has nothing and was there a moment ago."""
    return ConsumerStatus(**{"name": name, "pending": 0, "idle_seconds": 0.5, "pool": None, "state": None, **fields})


def group(**fields: Any) -> GroupStatus:
    """A group that has read everything and lost nothing."""
    known = {"group": "group", "lag": 0, "pending": 0, "lost": 0, "lost_by_reason": _NONE_LOST, "dead_letters": 0}
    unknown = {"retries_waiting": 0, "oldest_pending_seconds": None, "oldest_unread_seconds": None}
    rest = {"last_delivered_id": "5-0", "consumers": [], "pools": [pool(worker())], "finished": 100}
    return GroupStatus(**{**known, **unknown, **rest, **fields})


def stream(*groups: GroupStatus, **fields: Any) -> StreamStatus:
    """A stream of a cap of a thousand."""
    about = {"topic": "topic", "stream": "dev-topic", "length": 900, "first_id": "1-0", "last_id": "5-0"}
    return StreamStatus(**{**about, "max_len": 1000, "groups": list(groups), "added": 5000, **fields})


def look(*streams: StreamStatus, at: float = 100.0) -> Look:
    """A look at so many seconds of the monotonic clock."""
    return Look(at, NOW - 100 + at, list(streams))


def two_looks(
    before: dict[str, Any], after: dict[str, Any], *, seconds: float = 5.0, added: int = 0
) -> tuple[Look, Look]:
    """Two looks at a group, of which the fields were and are these."""
    last = stream(group(**after))
    first = attrs.evolve(last, groups=[group(**before)], added=5000 - added)
    return look(first, at=100.0 - seconds), look(last)
