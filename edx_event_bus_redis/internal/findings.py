"""
What is wrong with groups and their pools, decided from two looks at them.

Each finding is something that an operator has to do something about, told in one line. What mends itself within the
time between two looks, as a worker that is replaced or a pool that is started anew, is none.

Nothing is asked here (``survey``), and nothing shown.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from edx_event_bus_redis.internal.amounts import amount
from edx_event_bus_redis.internal.durations import duration
from edx_event_bus_redis.internal.names import shard_consumer_name
from edx_event_bus_redis.internal.progress import (
    Look,
    handled_between,
    handled_of,
    number_of,
    progress,
    worker_before,
)
from edx_event_bus_redis.internal.status import ConsumerStatus, GroupStatus, PoolStatus, StreamStatus
from edx_event_bus_redis.internal.trimming import longest_if_acknowledged, outgrows

# Seconds that one event may be in hand. Handlers of minutes are known; whoever sets a longer time limit knows better.
_STUCK_SECONDS = 300.0

# Share of a stream's cap that may be unread; a monitor warns at the same.
_SHARE_OF_CAP = 0.8

# Seconds after which a consumer without a pool, that has nothing pending, is taken for gone: those of the published
# package show themselves once per poll, which takes a minute.
_SILENCE = 75.0

# Seconds for which an entry may be unread without anybody being seen at work: pools tell once a second what they do.
_JUST_COME = 3.0

# A worker that has died so often, on average within so many seconds, or that does so before our eyes, is in a loop.
_DEATHS_OF_A_LOOP = 3
_LIFE_IN_A_LOOP = 60.0

# Errors in a row, before our eyes, after which it is no single bad event.
_ERRORS_IN_A_ROW = 3


class Kind(enum.IntEnum):
    """What is wrong, the worst first."""

    LOST = enum.auto()
    """Events were lost of late."""
    NEARLY_FULL = enum.auto()
    """So much is unread that events are going to be lost."""
    OUTGROWN = enum.auto()
    """The stream is much longer than its cap."""
    UNATTENDED = enum.auto()
    """There is something to read, and nobody is there to read it."""
    STANDS_STILL = enum.auto()
    """There is more and more to read or pending, or has been for long, and nothing is handled."""
    STUCK = enum.auto()
    """A worker, or a consumer without a pool, has been at one event for too long."""
    GONE = enum.auto()
    """A pool is gone or has stopped, and what it left pending is not taken over."""
    DYING = enum.auto()
    """A worker dies again and again."""
    FAILING = enum.auto()
    """A worker fails again and again, and handles nothing."""
    DEAD_LETTERS = enum.auto()
    """There are more dead letters than allowed."""


@attrs.frozen
class Limits:
    """
    What is still all right.

    Attributes:
        stuck_seconds: that one event may be in hand; None for 300, or the time limit of the pool if that is longer.
        dead_letters: that a group may have.
        losses_seconds: for which a loss is told.
    """

    stuck_seconds: float | None = None
    dead_letters: int = 0
    losses_seconds: float = 86_400.0


@attrs.frozen
class Finding:
    """
    Something that is wrong.

    Attributes:
        kind: what.
        topic: of the stream, without the prefix.
        group: of the stream.
        text: one line.
        pool: that it is about, None if it is about the group.
        consumer: that it is about, None if it is about group or pool.
    """

    kind: Kind
    topic: str
    group: str
    text: str
    pool: str | None = None
    consumer: str | None = None


def findings(before: Look | None, after: Look, limits: Limits) -> list[Finding]:
    """
    Return what is wrong, the worst first.

    Arguments:
        before: an earlier look, some seconds ago; None if there was none, then what needs two is not found.
        after: what is judged.
        limits: what is still all right.
    """
    found = [
        finding
        for stream, group in after.groups()
        for finding in _Judgement(before, after, stream, group, limits).findings()
    ]
    for stream in after.streams:
        former = before.stream(stream.stream) if before else stream
        if former and _has_outgrown_its_cap(former) and _has_outgrown_its_cap(stream) and stream.groups:
            found.append(_outgrown(stream))
    return sorted(found, key=lambda finding: (finding.kind, finding.topic, finding.group))


class _Judgement:
    """Of one group."""

    def __init__(
        self, before: Look | None, after: Look, stream: StreamStatus, group: GroupStatus, limits: Limits
    ) -> None:
        self._now = after.time
        self._seconds = after.at - before.at if before else 0.0
        self._stream = stream
        self._group = group
        self._former = before.group(stream.stream, group.group) if before else None
        self._progress = progress(before, after, stream, group)
        self._limits = limits

    def findings(self) -> Iterator[Finding]:
        for kind, text in self._of_group():
            yield self._finding(kind, text)
        for pool in self._group.pools:
            if pool.alive:
                yield from self._of_workers(pool)
            else:
                yield from self._of_gone_pool(pool)
        for consumer in self._group.consumers:
            if consumer.pool is None and consumer.pending and consumer.idle_seconds > self._stuck_after(None):
                yield self._finding(
                    Kind.STUCK,
                    f"consumer {consumer.name} has {_entries(consumer.pending)} pending and has been silent for "
                    f"{duration(consumer.idle_seconds)}",
                    consumer=consumer.name,
                )

    def _finding(self, kind: Kind, text: str, pool: str | None = None, consumer: str | None = None) -> Finding:
        return Finding(kind, self._stream.topic, self._group.group, text, pool, consumer)

    def _of_group(self) -> Iterator[tuple[Kind, str]]:
        group = self._group
        yield from self._losses()
        if group.dead_letters > self._limits.dead_letters:
            allowed = f", {amount(self._limits.dead_letters, 'is', 'are')} allowed" if self._limits.dead_letters else ""
            yield Kind.DEAD_LETTERS, f"{amount(group.dead_letters, 'dead letter')}{allowed}"
        if group.last_delivered_id is None:
            # It is gone from the stream: nothing can be unread.
            return
        if group.lag is not None and group.lag >= self._stream.max_len * _SHARE_OF_CAP:
            yield Kind.NEARLY_FULL, self._near_the_cap(group.lag)
        if _has_unread(group) and not _is_attended(group):
            # A pool that is being replaced is away for a moment.
            if self._former is None or not _is_attended(self._former):
                yield Kind.UNATTENDED, f"{_unread(group)}, and no consumer is alive"
        elif self._stands_still():
            more = round((self._progress.more or 0) * self._seconds)
            yield (
                Kind.STANDS_STILL,
                f"{_unread(group)}, {more:,} more than {duration(self._seconds)} before, and nothing is handled",
            )
        elif self._waits_for_long():
            waiting = f"{_unread(group)} and {group.pending:,} pending, the oldest for {duration(_oldest(group))}"
            yield Kind.STANDS_STILL, f"{waiting}, and nothing is handled"

    def _losses(self) -> Iterator[tuple[Kind, str]]:
        group, period = self._group, duration(self._limits.losses_seconds)
        if group.last_loss_seconds is None or group.last_loss_seconds >= self._limits.losses_seconds:
            return
        reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in group.lost_lately.items()]
        if reasons:
            lost = sum(group.lost_lately.values())
            yield Kind.LOST, f"{amount(lost, 'event')} lost in the last {period}: {', '.join(reasons)}"
        else:
            ago = duration(group.last_loss_seconds)
            yield Kind.LOST, f"the group was gone {ago} ago, and nobody knows how many events that has lost"

    def _near_the_cap(self, lag: int) -> str:
        text = f"{lag:,} of about {self._stream.max_len:,} entries unread"
        if self._progress.is_losing:
            return f"{text}, what is not read in time is lost"
        length = self._stream.length
        if length is not None and outgrows(length, self._stream.max_len):
            return f"{text}, but so far the stream is not trimmed there: it has {length:,}"
        if lag >= self._stream.max_len:
            return f"{text}, what is not read in time is lost"
        if self._progress.seconds_to_cap is not None:
            return f"{text}, the cap is reached in {duration(self._progress.seconds_to_cap)} at the present rates"
        return text

    def _waits_for_long(self) -> bool:
        """Whether entries have waited for so long that it is no pause, though there are no more of them."""
        former, group = self._former, self._group
        if former is None or _oldest(group) <= self._stuck_after(None):
            return False
        return not handled_between(former, group) and not self._is_working()

    def _stands_still(self) -> bool:
        former, group = self._former, self._group
        if former is None or former.last_delivered_id != group.last_delivered_id:
            return False
        # What has only just come may be in hands of which the pool has not told yet.
        if (self._progress.more or 0.0) <= 0.0 or (group.oldest_unread_seconds or 0.0) < _JUST_COME:
            return False
        return not handled_between(former, group) and not self._is_working()

    def _is_working(self) -> bool:
        """Whether somebody is at an event that may still take its time."""
        if any(
            worker.get("state") == "busy" and (number_of(worker, "seconds") or 0.0) <= self._stuck_after(pool)
            for pool in self._group.pools
            if pool.alive
            for worker in pool.state
        ):
            return True
        others = (consumer for consumer in self._group.consumers if consumer.pool is None and consumer.state != "left")
        return any(consumer.pending and consumer.idle_seconds <= self._stuck_after(None) for consumer in others)

    def _stuck_after(self, pool: PoolStatus | None) -> float:
        if self._limits.stuck_seconds is not None:
            return self._limits.stuck_seconds
        return max(_STUCK_SECONDS, number_of(pool.options, "handler_timeout") or 0.0 if pool else 0.0)

    def _of_gone_pool(self, pool: PoolStatus) -> Iterator[Finding]:
        left = _pending_of(self._group, pool.pool)
        was_gone = self._former is None or any(
            former.pool == pool.pool and not former.alive for former in self._former.pools
        )
        if left and was_gone:
            ended = "has stopped" if pool.stopped else "is gone"
            yield self._finding(Kind.GONE, f"pool {pool.pool} {ended} and has left {_entries(left)} pending", pool.pool)

    def _of_workers(self, pool: PoolStatus) -> Iterator[Finding]:
        for worker in pool.state:
            name = shard_consumer_name(pool.pool, worker.get("shard", -1))
            seconds = number_of(worker, "seconds") or 0.0
            if worker.get("entry") is not None and seconds > self._stuck_after(pool):
                text = f"worker {name} has had entry {worker['entry']} in hand for {duration(seconds)}"
                yield self._finding(Kind.STUCK, text, pool.pool, name)
            if self._is_failing(pool, worker):
                text = f"worker {name} has failed {number_of(worker, 'errors'):,.0f} times in a row and handles nothing"
                yield self._finding(Kind.FAILING, text, pool.pool, name)
            deaths = number_of(worker, "restarts")
            if deaths and self._is_dying(pool, worker, int(deaths)):
                cause = worker.get("last_death")
                last = f", the last one: {cause}" if cause else ""
                text = f"worker {name} dies again and again: {deaths:,.0f} times{last}"
                yield self._finding(Kind.DYING, text, pool.pool, name)

    def _is_failing(self, pool: PoolStatus, worker: Mapping[str, Any]) -> bool:
        former = worker_before(self._former, pool, worker.get("shard"))
        if former is None or handled_of(worker) != handled_of(former):
            return False
        return all((number_of(each, "errors") or 0) >= _ERRORS_IN_A_ROW for each in (former, worker))

    def _is_dying(self, pool: PoolStatus, worker: Mapping[str, Any], deaths: int) -> bool:
        if pool.since is not None and deaths >= max(_DEATHS_OF_A_LOOP, (self._now - pool.since) / _LIFE_IN_A_LOOP):
            return True
        former = worker_before(self._former, pool, worker.get("shard"))
        if former is None:
            return False
        died = deaths - (number_of(former, "restarts") or 0)
        achieved_nothing = handled_of(worker) == handled_of(former)
        return died >= 2 or (died >= 1 and deaths >= _DEATHS_OF_A_LOOP and achieved_nothing)


def _has_outgrown_its_cap(stream: StreamStatus) -> bool:
    # Without the setting its producers may have another cap, of which nothing is known here.
    return stream.keep_unacked and (stream.length or 0) > longest_if_acknowledged(stream.max_len)


def _outgrown(stream: StreamStatus) -> Finding:
    """Tell of the group that keeps most of a stream, for there an operator can do something about it."""
    length, group = stream.length or 0, max(stream.groups, key=_kept_by)
    why = f": {group.lag or 0:,} of them are unread and {group.pending:,} pending in this group"
    if _kept_by(group) <= (length - stream.max_len) / 2:
        unknown = next(
            (each for each in stream.groups if each.last_delivered_id is not None and each.lag is None), None
        )
        if unknown is None:
            why = ", and no group keeps them: nothing trims it"
        else:
            group, why = unknown, ", and nobody knows how many of them are unread in this group"
    text = f"the stream has {_entries(length)}, its cap is about {stream.max_len:,}{why}"
    return Finding(Kind.OUTGROWN, stream.topic, group.group, text)


def _kept_by(group: GroupStatus) -> int:
    return (group.lag or 0) + group.pending


def _oldest(group: GroupStatus) -> float:
    """Seconds for which the oldest entry has waited that is unread or pending."""
    return max(group.oldest_unread_seconds or 0.0, group.oldest_pending_seconds or 0.0)


def _has_unread(group: GroupStatus) -> bool:
    return bool(group.lag) or (group.lag is None and group.oldest_unread_seconds is not None)


def _unread(group: GroupStatus) -> str:
    return "nobody knows how many entries unread" if group.lag is None else f"{_entries(group.lag)} unread"


def _entries(count: int) -> str:
    return amount(count, "entry", "entries")


def _pending_of(group: GroupStatus, pool: str) -> int:
    return sum(consumer.pending for consumer in group.consumers if consumer.pool == pool)


def _is_attended(group: GroupStatus) -> bool:
    return any(pool.alive for pool in group.pools) or any(map(_may_live, group.consumers))


def _may_live(consumer: ConsumerStatus) -> bool:
    if consumer.pool is not None or consumer.state == "left":
        return False
    return consumer.idle_seconds < (_STUCK_SECONDS if consumer.pending else _SILENCE)
