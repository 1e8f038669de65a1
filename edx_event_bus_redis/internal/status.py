"""
What can be known of streams, their groups, and the consumers and pools of these.

Everything is a number, a text or a collection of such, so that ``attrs.asdict`` makes JSON of it. What cannot be known
is None, never a number that may be wrong.

Asking for it is done by ``survey``, judging by ``findings``.
"""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class PoolStatus:
    """
    A pool, as its heartbeat has it.

    Attributes:
        pool: its name.
        alive: whether it is; if not, the rest is what it left, and None or empty after some seconds.
        host: name of its machine or container.
        pid: process id of its supervisor.
        version: of this package.
        since: when it was started, in unix seconds.
        workers: how many it has.
        state: of each worker, as the heartbeat has it: ``shard``, ``pid``, ``state``, ``entry``, ``again``,
            ``seconds``, ``handled``, ``failed``, ``errors``, ``restarts``, ``last_death`` (text, or null if none died),
            and, null where it is not known, ``rate`` (events handled a second), ``memory`` (bytes, unique set size),
            ``cpu`` (percent of one core).
        monitor: process id of its monitor.
        options: its ``--extra`` keys, given or not, and what they come to.
        stopped: whether it is not alive because it has left in good order; else it is gone without a word.
    """

    pool: str
    alive: bool
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    since: float | None = None
    workers: int | None = None
    state: list[dict[str, Any]] = attrs.field(factory=list)
    monitor: int | None = None
    options: dict[str, Any] = attrs.field(factory=dict)
    stopped: bool = False


@attrs.frozen
class ConsumerStatus:
    """
    A consumer of a group.

    Attributes:
        name: its name.
        pending: entries that are pending for it.
        idle_seconds: since Redis has heard from it.
        pool: that it is a worker of, or was; None if it is of none.
        state: of a worker ``starting``, ``idle``, ``busy`` or ``gone``; ``left`` if the last that was heard of it is
            that it left on purpose, which a worker does when its pool stops; None if that is all that can be known.
    """

    name: str
    pending: int
    idle_seconds: float
    pool: str | None
    state: str | None


@attrs.frozen
class GroupStatus:
    """
    A group of a stream.

    Attributes:
        group: its name.
        lag: entries that it has not read yet.
        pending: entries that were delivered and are not acknowledged.
        lost: events that could not be delivered to it, ever.
        lost_by_reason: the same by reason: trimmed, deleted, skipped, group_gone, forgotten,
            dropped_dead_letters.
        dead_letters: events that it could not handle.
        retries_waiting: events that are to be delivered to it again.
        oldest_pending_seconds: how old the oldest of its pending entries is, by its id.
        oldest_unread_seconds: the same of the oldest entry that it has not read.
        last_delivered_id: its cursor; None if the stream has no such group, but something was kept for it.
        consumers: its consumers.
        pools: its pools.
        finished: entries that it is done with, ever: handled, put aside as retries or dead letters, or lost; None if
            the server does not know.
        lost_lately: events of ``lost`` that it is not long ago that they were, by reason.
        last_loss_seconds: how long it is ago that a loss was found out last, None if there was none.
    """

    group: str
    lag: int | None
    pending: int
    lost: int
    lost_by_reason: dict[str, int]
    dead_letters: int
    retries_waiting: int
    oldest_pending_seconds: float | None
    oldest_unread_seconds: float | None
    last_delivered_id: str | None
    consumers: list[ConsumerStatus]
    pools: list[PoolStatus]
    finished: int | None = None
    lost_lately: dict[str, int] = attrs.field(factory=dict)
    last_loss_seconds: float | None = None


@attrs.frozen
class StreamStatus:
    """
    A stream.

    Attributes:
        topic: without the prefix.
        stream: its key.
        length: entries that it has; None if it does not exist, but something was kept for its groups.
        first_id: of its first entry, None if it has none.
        last_id: of its last entry.
        max_len: entries that it keeps, approximately, by the setting where this is asked.
        groups: its groups.
        added: entries that were ever added to it; None if the server does not know.
        keep_unacked: whether it also keeps what is not acknowledged, by the setting where this is asked.
    """

    topic: str
    stream: str
    length: int | None
    first_id: str | None
    last_id: str | None
    max_len: int
    groups: list[GroupStatus]
    added: int | None = None
    keep_unacked: bool = False
