"""What two looks at the same streams tell and one cannot: how fast things go, and what comes of it if they go on so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from edx_event_bus_redis.internal.status import GroupStatus, PoolStatus, StreamStatus


@attrs.frozen
class Look:
    """
    What was seen at one time.

    Attributes:
        at: when, in seconds of the monotonic clock.
        time: the same in unix seconds.
        streams: that were seen.
    """

    at: float
    time: float
    streams: list[StreamStatus]

    def groups(self) -> Iterator[tuple[StreamStatus, GroupStatus]]:
        """Yield all groups, each with its stream."""
        for stream in self.streams:
            for group in stream.groups:
                yield stream, group

    def stream(self, key: str) -> StreamStatus | None:
        """Return the stream of a key, None if it was not seen."""
        return next((stream for stream in self.streams if stream.stream == key), None)

    def group(self, key: str, name: str) -> GroupStatus | None:
        """Return a group of the stream of a key, None if it was not seen."""
        stream = self.stream(key)
        return next((group for group in stream.groups if group.group == name), None) if stream else None


@attrs.frozen
class Progress:
    """
    How a group gets on.

    Attributes:
        handled: entries that it is done with per second: handled, or put aside as retries or dead letters.
        more: by how many entries per second its unread part grows, those that are lost included.
        is_losing: whether events were lost meanwhile.
        seconds_to_cap: until its unread part is as large as the stream's cap, behind which events are lost; None if
            that does not come nearer.
        seconds_to_done: until nothing is unread; None if that does not come nearer.

    None, too, is what cannot be known. All of it supposes that things go on as they did between the looks.
    """

    handled: float | None = None
    more: float | None = None
    is_losing: bool = False
    seconds_to_cap: float | None = None
    seconds_to_done: float | None = None


def still_needed(looks: Sequence[Look], seconds: float) -> list[Look]:
    """Return looks, oldest first, without those that are older than the newest one from so many seconds ago."""
    old = [number for number, look in enumerate(looks) if look.at <= looks[-1].at - seconds]
    return list(looks[old[-1] if old else 0 :])


def added_per_second(before: Look | None, after: Look, key: str) -> float | None:
    """Return how many entries are added to a stream per second, None if that cannot be known."""
    first, last = before.stream(key) if before else None, after.stream(key)
    if before is None or after.at <= before.at or first is None or last is None:
        return None
    if first.added is None or last.added is None or last.added < first.added:
        # The server does not count them, or this is another stream of that name.
        return None
    return (last.added - first.added) / (after.at - before.at)


def progress(before: Look | None, after: Look, stream: StreamStatus, group: GroupStatus) -> Progress:
    """
    Return how a group gets on.

    Arguments:
        before: the earlier look, None if there was none.
        after: the later one.
        stream: of the group, in the later look.
        group: in the later look.
    """
    former = before.group(stream.stream, group.group) if before else None
    if before is None or former is None or after.at <= before.at:
        return Progress()
    seconds = after.at - before.at
    handled = handled_between(former, group)
    more, to_cap, to_done = None, None, None
    if former.lag is not None and group.lag is not None:
        more = (group.lag - former.lag + _lost_unread(former, group)) / seconds
        if more > 0:
            to_cap = max(0, stream.max_len - group.lag) / more
        elif more < 0 and group.lag:
            to_done = group.lag / -more
    return Progress(
        handled=None if handled is None else handled / seconds,
        more=more,
        is_losing=_lost_entries(group) > _lost_entries(former),
        seconds_to_cap=to_cap,
        seconds_to_done=to_done,
    )


def handled_between(before: GroupStatus, after: GroupStatus) -> int | None:
    """Return how many entries a group was done with between two looks, None if that cannot be known."""
    if before.finished is not None and after.finished is not None:
        # What is lost counts as finished too, sooner or later.
        finished = after.finished - before.finished - max(0, _lost_entries(after) - _lost_entries(before))
        return finished if finished >= 0 else None
    counts, former = _counts(after), _counts(before)
    both = counts.keys() & former.keys()
    # A pool that was started anew counts from 0.
    return sum(max(0, counts[key] - former[key]) for key in both) if both else None


def _lost_entries(group: GroupStatus) -> int:
    """How many entries were lost that nobody had finished: a dead letter was, long before it was dropped."""
    return group.lost - group.lost_by_reason.get("dropped_dead_letters", 0)


def _lost_unread(before: GroupStatus, after: GroupStatus) -> int:
    lost = (after.lost_by_reason.get(why, 0) - before.lost_by_reason.get(why, 0) for why in ("trimmed", "skipped"))
    return max(0, sum(lost))


def _counts(group: GroupStatus) -> dict[tuple[str, int | None, Any], int]:
    return {
        (pool.pool, pool.pid, worker.get("shard")): count
        for pool in group.pools
        for worker in pool.state
        if (count := handled_of(worker)) is not None
    }


def handled_of(worker: Mapping[str, Any]) -> int | None:
    """Return how many events a worker has handled, with success or not, by what its pool tells; None if not at all."""
    handled, failed = number_of(worker, "handled"), number_of(worker, "failed")
    return None if handled is None or failed is None else int(handled + failed)


def number_of(worker: Mapping[str, Any], name: str) -> float | None:
    """Return a number that a pool tells of a worker, None if it does not."""
    value = worker.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def worker_before(before: GroupStatus | None, pool: PoolStatus, shard: object) -> Mapping[str, Any] | None:
    """Return what an earlier look had of a worker of the same pool, None if there was none."""
    for former in before.pools if before else ():
        if (former.pool, former.host, former.pid, former.since) == (pool.pool, pool.host, pool.pid, pool.since):
            return next((worker for worker in former.state if worker.get("shard") == shard), None)
    return None
