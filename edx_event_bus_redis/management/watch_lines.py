"""The lines of a watch about groups and pools: what stands in each column, and how wide it is."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs
from rich.cells import cell_len, set_cell_size

from edx_event_bus_redis.internal.amounts import amount
from edx_event_bus_redis.internal.durations import duration
from edx_event_bus_redis.internal.findings import Finding
from edx_event_bus_redis.internal.names import shard_consumer_name
from edx_event_bus_redis.internal.progress import Look, Progress, added_per_second, number_of, progress
from edx_event_bus_redis.internal.status import ConsumerStatus, GroupStatus, PoolStatus, StreamStatus
from edx_event_bus_redis.management.command_line import shown

_UNKNOWN = "-"

# What a wrong line begins with, and one that is not.
_MARK, _NO_MARK = "! ", "  "

# The first column and the last one share what the others leave. From so many characters on they grow no more.
_WIDEST_GROUP, _WIDEST_WORKER, _WIDEST_END = 48, 24, 32

_MIB = 2**20


@attrs.frozen
class Line:
    """
    A line.

    Attributes:
        text: of it.
        what: it is about, as in "12 workers".
        is_heading: whether others belong to it.
        sums_up: whether it tells the most important of these.
        is_wrong: whether something is wrong with what it is about.
        is_over: whether it is about what has come to its end, which is nothing wrong.
    """

    text: str
    what: str = ""
    is_heading: bool = False
    sums_up: bool = False
    is_wrong: bool = False
    is_over: bool = False


@attrs.frozen
class _Column:
    """A column: its header, its width, whether it has numbers, and the width of the terminal from which it is there."""

    header: str
    width: int
    is_number: bool = True
    least: int = 0


_OF_GROUPS = (
    _Column("Handled/s", 9),
    _Column("Lag", 7),
    _Column("Pending", 7),
    _Column("To retry", 8, least=98),
    _Column("Dead", 6),
    _Column("Lost", 7),
    _Column("Unread for", 10, least=110),
    _Column("Pending for", 11, least=122),
)
_OF_WORKERS = (
    _Column("State", 8, is_number=False),
    _Column("In hand", 17, is_number=False),
    _Column("For", 6),
    _Column("Events/s", 8),
    _Column("Handled", 9, least=100),
    _Column("Failed", 7, least=108),
    _Column("Memory", 8),
    _Column("CPU", 5),
)
_OUTLOOK_WIDTH = 13
_DEATHS_WIDTH = 12


# Groups.


def header_of_groups(width: int) -> str:
    """Return the headers of the columns about groups."""
    return _Grid(_OF_GROUPS, width, _WIDEST_GROUP, _OUTLOOK_WIDTH).line(
        "Group", [each.header for each in _OF_GROUPS], "Outlook"
    )


def lines_of_groups(before: Look | None, look: Look, findings: Collection[Finding], width: int) -> Iterator[Line]:
    """Yield a line for each stream, with one for each of its groups behind it."""
    grid = _Grid(_OF_GROUPS, width, _WIDEST_GROUP, _OUTLOOK_WIDTH)
    for stream in look.streams:
        wrong = {each.group for each in findings if each.topic == stream.topic}
        yield Line(_about_stream(before, look, stream), "stream", is_heading=True, is_wrong=bool(wrong))
        for group in stream.groups:
            is_wrong = group.group in wrong
            text = _about_group(grid, before, look, stream, group, is_wrong=is_wrong)
            yield Line(text, "group", is_wrong=is_wrong)


def _about_stream(before: Look | None, look: Look, stream: StreamStatus) -> str:
    if stream.length is None:
        return f"{shown(stream.stream)} does not exist; this was kept for its groups"
    added = added_per_second(before, look, stream.stream)
    facts = [f"{stream.length:,} of about {stream.max_len:,} entries"]
    if added is not None:
        facts.append(f"{_rate(added)} added/s")
    if not stream.groups:
        facts.append("no group reads it")
    return f"{shown(stream.stream)}: {', '.join(facts)}"


def _about_group(
    grid: _Grid, before: Look | None, look: Look, stream: StreamStatus, group: GroupStatus, *, is_wrong: bool
) -> str:
    is_there = group.last_delivered_id is not None
    getting_on = progress(before, look, stream, group)
    cells = [
        _rate(getting_on.handled),
        "?" if is_there and group.lag is None else _count(group.lag),
        _count(group.pending),
        _count(group.retries_waiting),
        _count(group.dead_letters),
        _count(group.lost),
        _age(group.oldest_unread_seconds),
        _age(group.oldest_pending_seconds),
    ]
    mark = _MARK if is_wrong else _NO_MARK
    return grid.line(mark + shown(group.group), cells, _outlook(stream, group, getting_on) if is_there else "gone")


def _outlook(stream: StreamStatus, group: GroupStatus, getting_on: Progress) -> str:
    if getting_on.is_losing:
        return "losing events"
    if group.lag == 0:
        return "all is read"
    if group.lag is not None and group.lag >= stream.max_len:
        return "at the cap"
    if getting_on.seconds_to_cap is not None:
        return f"cap in {duration(getting_on.seconds_to_cap)}"
    if getting_on.seconds_to_done is not None:
        return f"done in {duration(getting_on.seconds_to_done)}"
    if getting_on.more is None:
        return _UNKNOWN
    return "keeps level" if getting_on.handled else "stands still"


# Pools.


def header_of_workers(width: int) -> str:
    """Return the headers of the columns about workers."""
    return _Grid(_OF_WORKERS, width, _WIDEST_WORKER, _DEATHS_WIDTH).line(
        "Worker", [each.header for each in _OF_WORKERS], "Deaths"
    )


def lines_of_pools(look: Look, findings: Collection[Finding], width: int) -> Iterator[Line]:
    """
    Yield a line for each pool with one for each of its workers behind it, and what is pending elsewhere.

    Pools that have come to their end, and with which nothing is wrong, are behind all others, last those that stopped.
    """
    grid = _Grid(_OF_WORKERS, width, _WIDEST_WORKER, _DEATHS_WIDTH)
    ended: list[tuple[bool, list[Line]]] = []
    for stream, group in look.groups():
        own = [each for each in findings if (each.topic, each.group) == (stream.topic, group.group)]
        place = f"{shown(stream.topic)}/{shown(group.group)}"
        wrong = {each.consumer for each in own if each.consumer is not None}
        for pool in group.pools:
            is_wrong = any(each.pool == pool.pool for each in own)
            about = Line(_about_pool(pool, place, look.time), "pool", is_heading=True, sums_up=True, is_wrong=is_wrong)
            lines = [about, *_lines_of_pool(grid, group, pool, wrong, is_wrong=is_wrong)]
            if pool.alive or is_wrong:
                yield from lines
            else:
                ended.append((pool.stopped, lines))
        others = [each for each in group.consumers if each.pool is None]
        if others:
            is_wrong = any(each.name in wrong for each in others)
            yield Line(f"Consumers without a pool, {place}", is_heading=True, is_wrong=is_wrong)
            yield from (_line_of_consumer(each, is_wrong=each.name in wrong) for each in others)
    for _, lines in sorted(ended, key=operator.itemgetter(0)):
        yield from (attrs.evolve(each, is_over=True) for each in lines)


def _about_pool(pool: PoolStatus, place: str, now: float) -> str:
    name = f"Pool {shown(pool.pool)}, {place}"
    if not pool.alive:
        return f"{name}: {'stopped' if pool.stopped else 'gone'}"
    facts = [amount(len(pool.state), "worker")]
    rates = [rate for worker in pool.state if (rate := number_of(worker, "rate")) is not None]
    if rates:
        facts.append(f"{_rate(sum(rates))} events/s")
    if pool.since is not None:
        facts.append(f"up {duration(max(0.0, now - pool.since))}")
    facts += [f"host {shown(pool.host or _UNKNOWN)}", f"pid {_UNKNOWN if pool.pid is None else pool.pid}"]
    return f"{name}: {', '.join(facts)}"


def _lines_of_pool(
    grid: _Grid, group: GroupStatus, pool: PoolStatus, wrong: Collection[str], *, is_wrong: bool
) -> Iterator[Line]:
    names = set()
    for worker in pool.state if pool.alive else ():
        name = shard_consumer_name(pool.pool, worker.get("shard", -1))
        names.add(name)
        yield Line(_about_worker(grid, name, worker, is_wrong=name in wrong), "worker", is_wrong=name in wrong)
    for consumer in group.consumers:
        if consumer.pool == pool.pool and consumer.name not in names and consumer.pending:
            yield _line_of_consumer(consumer, is_wrong=is_wrong and not pool.alive)


def _about_worker(grid: _Grid, name: str, worker: Mapping[str, Any], *, is_wrong: bool) -> str:
    entry, seconds = worker.get("entry"), number_of(worker, "seconds")
    memory, cpu = number_of(worker, "memory"), number_of(worker, "cpu")
    state = str(worker.get("state") or _UNKNOWN)
    cells = [
        shown("retrying" if worker.get("again") and state == "busy" else state),
        _UNKNOWN if entry is None else shown(str(entry)),
        _UNKNOWN if entry is None or seconds is None else duration(seconds),
        _rate(number_of(worker, "rate")),
        _count(number_of(worker, "handled")),
        _count(number_of(worker, "failed")),
        _UNKNOWN if memory is None else _memory(memory),
        _UNKNOWN if cpu is None else f"{cpu:.0f} %",
    ]
    mark = _MARK if is_wrong else _NO_MARK
    label = name if cell_len(name) <= grid.name_width - len(mark) else f"….{name.rpartition('.')[2]}"
    return grid.line(mark + shown(label), cells, _deaths(worker))


def _deaths(worker: Mapping[str, Any]) -> str:
    number, cause = number_of(worker, "restarts"), worker.get("last_death")
    if number is None:
        return _UNKNOWN
    return f"{_count(number)}, {shown(str(cause))}" if number and cause else _count(number)


def _line_of_consumer(consumer: ConsumerStatus, *, is_wrong: bool) -> Line:
    facts = [f"{consumer.pending:,} pending", f"silent for {duration(consumer.idle_seconds)}"]
    if consumer.state is not None:
        facts.insert(0, consumer.state)
    mark = _MARK if is_wrong else _NO_MARK
    return Line(f"{mark}{shown(consumer.name)}: {', '.join(facts)}", "consumer", is_wrong=is_wrong)


# Cells.


class _Grid:
    """Puts cells into columns, for a terminal of a width."""

    def __init__(self, columns: Sequence[_Column], width: int, widest_name: int, end_width: int) -> None:
        self._columns = columns
        self._width = width
        taken = sum(each.width + 1 for each in self._columns if width >= each.least)
        left = max(0, width - taken - end_width - 1)
        # The end has what it needs; of what is left beyond a short name each gets a half.
        more = min(max(0, left - 24) // 2, _WIDEST_END - end_width)
        self.name_width = min(left - more, widest_name)
        self._end_width = end_width + more

    def line(self, name: str, cells: Sequence[str], end: str) -> str:
        """Return a line; what is too long for its column ends in an ellipsis."""
        parts = [_fitted(name, self.name_width)]
        for column, cell in zip(self._columns, cells, strict=True):
            if self._width >= column.least:
                parts.append(_fitted(cell, column.width, is_number=column.is_number))
        return " ".join([*parts, _fitted(end, self._end_width)]).rstrip()


def _fitted(text: str, width: int, *, is_number: bool = False) -> str:
    size = cell_len(text)
    if size > width:
        return f"{set_cell_size(text, max(0, width - 1))}…"
    return " " * (width - size) + text if is_number else text + " " * (width - size)


def _count(number: float | None) -> str:
    if number is None:
        return _UNKNOWN
    return f"{number:,.0f}" if number < 1_000_000 else f"{number / 1_000_000:,.1f} M"


def _rate(number: float | None) -> str:
    if number is None:
        return _UNKNOWN
    return f"{number:,.1f}" if number < 1000 else _count(number)


def _memory(size: float) -> str:
    return f"{size / _MIB:.0f} MiB" if size < 1000 * _MIB else f"{size / _MIB / 1024:.1f} GiB"


def _age(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else duration(seconds)
