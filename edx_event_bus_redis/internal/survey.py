"""
Asks Redis, and nothing else, of streams, their groups, and the consumers and pools of these: from any host, and also
when nothing else runs. It changes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import redis

from edx_event_bus_redis.internal.client import Clients
from edx_event_bus_redis.internal.errors import GroupMissing, ServerError
from edx_event_bus_redis.internal.holder import is_surely_dead
from edx_event_bus_redis.internal.keyspace import groups_of_stream, streams_of_prefix
from edx_event_bus_redis.internal.lease import holder_of
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.losses import Reason
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.names import group_key, pool_of, shard_consumer_name, stream_key, topic_of
from edx_event_bus_redis.internal.past_losses import last_loss, totals_before
from edx_event_bus_redis.internal.pools import Pools
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.progress import Look
from edx_event_bus_redis.internal.server_errors import translated_errors
from edx_event_bus_redis.internal.settings import StatusSettings
from edx_event_bus_redis.internal.status import ConsumerStatus, GroupStatus, PoolStatus, StreamStatus
from edx_event_bus_redis.internal.stream import Consumer, Group, Stream

# Finding out which streams there are goes through the names of all keys of a database, which may hold much more than
# the event bus. Repeated looks do that again only after so many times as long as it took.
_PATIENCE = 20.0


class Survey:
    """
    Looks at one topic's stream or at all streams, once or again and again.

    Arguments:
        clients: of the server or cluster, with ``any_names``.
        settings: which streams.
        losses_seconds: for how long a loss counts as one of late.
    """

    def __init__(self, clients: Clients, settings: StatusSettings, losses_seconds: float) -> None:
        self._clients = clients
        self._settings = settings
        self._losses_seconds = losses_seconds
        self._found: dict[str, set[str]] = {}
        self._find_again_at = float("-inf")

    def look(self) -> Look:
        """
        Look at the streams, in the order of their names; it is no error if there are none.

        Goes through the names of all keys of the database, and through up to 100,000 entries that a group has not read,
        in steps that leave the server to others.

        Raises:
            ServerError: and its subclasses; also for a key of the topic's name that is no stream.
        """
        at, now = time.monotonic(), time.time()
        self._find()
        statuses = (
            _status_of_stream(self._clients.of(key), key, groups, self._settings, self._losses_seconds)
            for key, groups in sorted(self._found.items())
        )
        return Look(at, now, [status for status in statuses if status is not None])

    def _find(self) -> None:
        began = time.monotonic()
        if began < self._find_again_at:
            return
        if self._settings.topic is None:
            self._found = streams_of_prefix(self._clients, self._settings.topic_prefix)
        else:
            key = stream_key(self._settings.topic, self._settings.topic_prefix)
            self._found = {key: groups_of_stream(self._clients, key)}
        ended = time.monotonic()
        self._find_again_at = ended + _PATIENCE * (ended - began)


def _status_of_stream(
    client: redis.Redis, key: str, groups: set[str], settings: StatusSettings, losses_seconds: float
) -> StreamStatus | None:
    with translated_errors():
        kind: Any = client.type(key)
    if kind not in {b"stream", b"none"}:
        raise ServerError(f"key {_shown(key)} is a {kind.decode()}, not a stream")
    stream, about = Stream(client, key), None
    try:
        about = stream.about()
    except GroupMissing:
        if not groups:
            return None
    names = groups.union(about.groups if about else ())
    return StreamStatus(
        topic=_shown(topic_of(key, settings.topic_prefix)),
        stream=_shown(key),
        length=about.length if about else None,
        first_id=_text(about.first) if about else None,
        last_id=_text(about.last) if about else None,
        max_len=settings.stream_max_len,
        groups=[_status_of_group(client, stream, name, losses_seconds) for name in sorted(names)],
        added=about.added if about else None,
        keep_unacked=settings.keep_unacked,
    )


def _status_of_group(client: redis.Redis, stream: Stream, name: str, losses_seconds: float) -> GroupStatus:
    try:
        return _GroupLook(client, stream, name, losses_seconds).status()
    except ServerError as error:
        if str(error).startswith("WRONGTYPE"):
            keys = group_key(stream.key, "…", name)
            raise ServerError(f"a key that is private to a group ({keys}) is of another type: {error}") from error
        raise


class _GroupLook:
    """Looks at one group, one thing after the other; what changes meanwhile may be seen before and after."""

    def __init__(self, client: redis.Redis, stream: Stream, name: str, losses_seconds: float) -> None:
        self._client = client
        self._stream = stream
        self._name = name
        self._losses_seconds = losses_seconds
        self._now = stream.milliseconds()

    def status(self) -> GroupStatus:
        store = GroupStore(self._client, self._stream.key, self._name)
        ledger = Ledger(self._stream, self._name)
        by_reason = ledger.totals()
        lately, last = self._lately(by_reason, Stream(self._client, ledger.key))
        group: Group | None = None
        lag, pending, oldest_pending, oldest_unread = None, 0, None, None
        try:
            group = self._stream.group(self._name)
            lag = ledger.unread()
            pending, oldest = self._stream.pending(self._name)
            oldest_pending = self._age(oldest) if pending else None
            oldest_unread = self._age_behind(group.last_delivered_id) if lag != 0 else None
        except GroupMissing:
            # Gone, maybe right now. What it has of its own is still there.
            group = None
        consumers = group.consumers if group else ()
        pools = self._pools(consumers)
        return GroupStatus(
            group=_shown(self._name),
            lag=lag,
            pending=pending,
            lost=by_reason.pop("total"),
            lost_by_reason=by_reason,
            dead_letters=Stream(self._client, store.dead).length(),
            retries_waiting=store.waiting().number,
            oldest_pending_seconds=oldest_pending,
            oldest_unread_seconds=oldest_unread,
            last_delivered_id=_text(group.last_delivered_id) if group else None,
            consumers=[_status_of_consumer(each, pools) for each in consumers],
            pools=[pools[name] for name in sorted(pools)],
            finished=group.finished if group else None,
            lost_lately=lately,
            last_loss_seconds=last,
        )

    def _lately(self, totals: Mapping[str, int], ledger: Stream) -> tuple[dict[str, int], float | None]:
        last = last_loss(ledger)
        if last is None:
            return {}, None
        since = max(0, self._now - round(self._losses_seconds * 1000))
        before = totals_before(ledger, since)
        lately = {reason: totals[reason] - before[reason] for reason in Reason}
        return {reason: count for reason, count in lately.items() if count > 0}, self._age(last)

    def _age_behind(self, cursor: bytes) -> float | None:
        unread = self._stream.next_id(cursor)
        return None if unread is None else self._age(unread)

    def _age(self, entry_id: bytes) -> float:
        return max(0, self._now - split_id(entry_id)[0]) / 1000

    def _pools(self, consumers: tuple[Consumer, ...]) -> dict[str, PoolStatus]:
        pools = Pools(self._client, self._stream.key, self._name, None)
        judged = pools.known()
        known = {*judged.alive, *judged.gone}
        # A pool that was forgotten, because it was silent for long, is seen by its lease when it is back.
        asked = known.union(filter(None, (pool_of(each.name) for each in consumers)))
        leases = {name: pools.lease(name) for name in asked}
        return {
            name: _status_of_pool(name, lease, stopped=name in judged.stopped)
            for name, lease in leases.items()
            if lease or name in known
        }


def _status_of_pool(name: str, lease: Mapping[bytes, bytes], *, stopped: bool) -> PoolStatus:
    if not lease:
        return PoolStatus(_shown(name), alive=False, stopped=stopped)
    return PoolStatus(
        pool=_shown(name),
        alive=not is_surely_dead(holder_of(lease)),
        host=_text(lease.get(b"host")),
        pid=_number(lease.get(b"pid"), int),
        version=_text(lease.get(b"version")),
        since=_number(lease.get(b"since"), float),
        workers=_number(lease.get(b"workers"), int),
        state=[worker for worker in _json(lease.get(b"state"), list) if isinstance(worker, dict)],
        monitor=_number(lease.get(b"monitor"), int),
        options=_json(lease.get(b"options"), dict),
    )


def _json(raw: bytes | None, kind: type[Any]) -> Any:
    """Return what was published as JSON; an empty one of its kind if that is missing or something else."""
    try:
        value = json.loads(raw or b"null")
    except ValueError:
        value = None
    return value if isinstance(value, kind) else kind()


def _status_of_consumer(consumer: Consumer, pools: Mapping[str, PoolStatus]) -> ConsumerStatus:
    pool = pools.get(pool_of(consumer.name))
    return ConsumerStatus(
        name=_shown(consumer.name),
        pending=consumer.pending,
        idle_seconds=consumer.idle / 1000,
        pool=pool.pool if pool else None,
        state=_worker_state(consumer, pool) if pool else "left" if consumer.left else None,
    )


def _worker_state(consumer: Consumer, pool: PoolStatus) -> str | None:
    if not pool.alive:
        return "left" if consumer.left else "gone"
    for worker in pool.state:
        if shard_consumer_name(pool.pool, worker.get("shard", -1)) == consumer.name:
            return str(worker.get("state"))
    # A pool that has only just begun has not said yet which workers it has.
    return "gone" if pool.state else None


def _number(raw: bytes | None, convert: type[Any]) -> Any:
    try:
        return None if raw is None else convert(raw)
    except ValueError:
        return None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


def _shown(name: str) -> str:
    """Return a name that may be no text as one that is."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
