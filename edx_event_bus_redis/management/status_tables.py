"""The tables of ``event_bus_status``, readable on a terminal of 80 columns."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edx_event_bus_redis.internal.amounts import amount
from edx_event_bus_redis.internal.durations import duration
from edx_event_bus_redis.internal.names import shard_consumer_name
from edx_event_bus_redis.internal.status import ConsumerStatus, GroupStatus, PoolStatus, StreamStatus
from edx_event_bus_redis.management.command_line import shown

_UNKNOWN, _NONE = "?", "-"

# Characters of a worker's consumer name above which it is shown by its shard alone: the pool's name is above it.
_SHORT = 16


def print_streams(console: Console, streams: Iterable[StreamStatus]) -> None:
    """Print all about the streams, one after the other."""
    for number, stream in enumerate(streams):
        if number:
            console.print()
        _print_stream(console, stream)


def counted(streams: Sequence[StreamStatus]) -> str:
    """Return in words how much there is; pools that are gone are not counted."""
    groups = [group for stream in streams for group in stream.groups]
    pools = [pool for group in groups for pool in group.pools if pool.alive]
    workers = sum(len(pool.state) for pool in pools)
    counts = ((len(streams), "stream"), (len(groups), "group"), (len(pools), "pool"), (workers, "worker"))
    return ", ".join(itertools.starmap(amount, counts))


def _print_stream(console: Console, stream: StreamStatus) -> None:
    name = f"Stream {shown(stream.stream)}"
    if stream.length is None:
        _say(console, f"{name} does not exist; this was kept for its groups", style="bold")
    else:
        _say(console, f"{name}: {stream.length:,} of about {stream.max_len:,} entries", style="bold")
    if stream.first_id:
        _say(console, f"{stream.first_id} to {stream.last_id}")
    if not stream.groups:
        _say(console, "No group reads it.")
        return
    console.print(_table_of_groups(stream.groups))
    for group in stream.groups:
        _print_group(console, group)


def _print_group(console: Console, group: GroupStatus) -> None:
    remarks = list(_remarks(group))
    others = [consumer for consumer in group.consumers if consumer.pool is None]
    if remarks or group.pools or others:
        console.print()
        _say(console, f"Group {shown(group.group)}", style="bold")
    for remark in remarks:
        _say(console, remark)
    for pool in group.pools:
        _say(console, _about_pool(pool))
        rows = list(_rows_of_pool(group, pool))
        if rows:
            console.print(_table_of_workers(rows))
        for line in _deaths(pool):
            _say(console, line)
    if others:
        console.print(_table_of_consumers(others))


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))


def _table_of_groups(groups: Iterable[GroupStatus]) -> Table:
    numbers = ("Lag", "Pending", "To\nretry", "Dead\nletters", "Lost", "Oldest\nunread", "Oldest\npending")
    table = _table(texts=["Group"], numbers=numbers)
    for group in groups:
        is_there = group.last_delivered_id is not None
        lag = _count(group.lag) if is_there else _NONE
        counts = (group.pending, group.retries_waiting, group.dead_letters, group.lost)
        ages = (group.oldest_unread_seconds, group.oldest_pending_seconds)
        _add(table, shown(group.group), lag, *map(_count, counts), *map(_age, ages))
    return table


def _remarks(group: GroupStatus) -> Iterator[str]:
    if group.last_delivered_id is None:
        yield "It is gone from the stream; this was kept for it."
    elif group.lag is None:
        yield "It has more to read than is counted here, or Redis does not know how much."
    reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in group.lost_by_reason.items() if count]
    if reasons:
        yield f"Lost events: {', '.join(reasons)}."


def _about_pool(pool: PoolStatus) -> str:
    name = f"Pool {shown(pool.pool)}"
    if not pool.alive:
        return f"{name} has stopped." if pool.stopped else f"{name} is gone."
    facts = [f"host {shown(pool.host or _UNKNOWN)}", f"pid {_UNKNOWN if pool.pid is None else pool.pid}"]
    if pool.workers is not None:
        facts.append(amount(pool.workers, "worker"))
    if pool.since is not None:
        facts.append(f"up {duration(max(0.0, time.time() - pool.since))}")
    if pool.version:
        facts.append(f"version {shown(pool.version)}")
    return f"{name}: {', '.join(facts)}"


def _deaths(pool: PoolStatus) -> Iterator[str]:
    """Yield a line for each shard whose workers died."""
    for worker in pool.state if pool.alive else ():
        number = worker.get("restarts")
        if isinstance(number, int) and number:
            name = shown(shard_consumer_name(pool.pool, worker.get("shard", -1)))
            times = "once" if number == 1 else f"{number:,} times"
            yield f"Worker {name} died {times}, the last time of: {shown(str(worker.get('last_death') or _UNKNOWN))}"


def _table_of_workers(rows: Iterable[list[str]]) -> Table:
    table = _table(
        texts=["Worker", "State"],
        numbers=("Pending", "Idle", "Handled", "Failed", "Errors\nin row"),
    )
    table.add_column(Text("In hand"), overflow="fold")
    table.add_column(Text("For"), justify="right", overflow="fold")
    for row in rows:
        _add(table, *row)
    return table


def _rows_of_pool(group: GroupStatus, pool: PoolStatus) -> Iterator[list[str]]:
    """Yield a row for each worker, also one that has not read yet, and for each consumer that is none any more."""
    workers = {shard_consumer_name(pool.pool, worker.get("shard", -1)): worker for worker in pool.state}
    consumers = {consumer.name: consumer for consumer in group.consumers if consumer.pool == pool.pool}
    for name in [*workers, *(name for name in consumers if name not in workers)]:
        worker, consumer = workers.get(name) if pool.alive else None, consumers.get(name)
        state = consumer.state if consumer else worker and worker.get("state")
        label = name if len(name) <= _SHORT else f"….{name.rpartition('.')[2]}"
        row = [shown(label), shown(str(state or _UNKNOWN)), *_reading(consumer)]
        yield row + (_working(worker) if worker else [_NONE] * 5)


def _table_of_consumers(consumers: Iterable[ConsumerStatus]) -> Table:
    table = _table(texts=["Consumer without a pool", "State"], numbers=("Pending", "Idle"))
    for consumer in consumers:
        _add(table, shown(consumer.name), consumer.state or _UNKNOWN, *_reading(consumer))
    return table


def _reading(consumer: ConsumerStatus | None) -> list[str]:
    return [_count(consumer.pending), duration(consumer.idle_seconds)] if consumer else [_NONE, _NONE]


def _working(worker: dict[str, Any]) -> list[str]:
    counts = (worker.get(name) for name in ("handled", "failed", "errors"))
    return [*map(_count, counts), *_in_hand(worker)]


def _in_hand(worker: dict[str, Any]) -> tuple[str, str]:
    entry, seconds = worker.get("entry"), worker.get("seconds")
    if entry is None:
        return _NONE, _NONE
    again = "\nagain" if worker.get("again") else ""
    return f"{shown(str(entry))}{again}", duration(seconds) if isinstance(seconds, int | float) else _UNKNOWN


def _table(*, texts: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for header in texts:
        table.add_column(Text(header), overflow="fold")
    for header in numbers:
        table.add_column(Text(header), justify="right", overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row of texts in which nothing is markup."""
    table.add_row(*map(Text, cells))


def _count(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else _UNKNOWN


def _age(seconds: float | None) -> str:
    return _NONE if seconds is None else duration(seconds)
