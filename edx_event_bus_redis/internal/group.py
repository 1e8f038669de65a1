"""
The group and its cursor.

Moving the cursor over entries takes them from every consumer of the group, for good. It happens once per start, by the
process that was started, and never over what a live consumer of the group is going to read.
"""

from __future__ import annotations

import logging

from edx_event_bus_redis.internal.errors import GroupMissing
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.names import is_own_name
from edx_event_bus_redis.internal.settings import ConsumerSettings
from edx_event_bus_redis.internal.stream import Consumer, Group, Stream

logger = logging.getLogger(__name__)

# Milliseconds after which a consumer that holds nothing is taken for gone. The published package's consumers, and
# those of other software, show themselves once per poll; its poll timeout is 60 s.
_SILENCE = 75_000

# The same for a consumer that holds entries, which may be busy with one of them: the claim time of a pool.
_SILENCE_WHILE_BUSY = 1_800_000

# The same for a consumer of the name that is being started, which is one of ours: those show themselves every second.
_OWN_SILENCE = 3_000


def set_up_group(stream: Stream, settings: ConsumerSettings) -> bytes:
    """
    Create the group if need be and bring its cursor where this start wants it; return the cursor.

    In order: ``last_read_msg_id`` moves it there; ``check_backlog`` leaves it; else it moves to the stream's end, but
    not if another consumer of the group is alive. A warning counts what is skipped.

    Raises:
        ServerError: and its subclasses. It may be called again.
    """
    group = settings.group
    if stream.create_group(group, "0"):
        logger.info("Created group %s on stream %s", group, stream.key)
    if settings.last_read_msg_id is not None:
        return _move_to(stream, group, settings.last_read_msg_id)
    if settings.check_backlog:
        return stream.group(group).last_delivered_id
    return _move_to_end(stream, group, settings.consumer_name)


def _move_to(stream: Stream, group: str, entry_id: str) -> bytes:
    """Move the cursor where the operator wants it, whoever else reads in the group."""
    old, end = stream.group(group).last_delivered_id, stream.last_id()
    cursor = end if entry_id == "$" else _complete(entry_id)
    skipped = stream.count_between(old, min(cursor, end, key=split_id))
    stream.move_cursor(group, cursor)
    _log_move(stream, group, old, cursor, skipped)
    return cursor


def _move_to_end(stream: Stream, group: str, own_name: str) -> bytes:
    """Move the cursor to the stream's end, unless a consumer is alive that is going to read what is in between."""
    while True:
        seen, end = stream.group(group), stream.last_id()
        live = live_consumers(seen, own_name)
        if live:
            names = ", ".join(live)
            logger.info("Group %s on stream %s has live consumers (%s): its cursor stays", group, stream.key, names)
        if live or end == seen.last_delivered_id:
            return seen.last_delivered_id
        skipped = stream.count_between(seen.last_delivered_id, end)
        if stream.move_cursor_if_unchanged(group, seen, end):
            _log_move(stream, group, seen.last_delivered_id, end, skipped)
            return end


def _log_move(stream: Stream, group: str, old: bytes, new: bytes, skipped: int) -> None:
    if skipped:
        logger.warning(
            "Group %s on stream %s skipped %d events that it had not read: its cursor moved from %s to %s",
            group,
            stream.key,
            skipped,
            old.decode(),
            new.decode(),
        )
    else:
        logger.info(
            "Group %s on stream %s: its cursor moved from %s to %s", group, stream.key, old.decode(), new.decode()
        )


def make_group_anew(stream: Stream, group: str, furthest: bytes) -> None:
    """
    Make the group again after a flush, an eviction or a failover took it.

    Arguments:
        stream: of the group.
        group: its name.
        furthest: the furthest entry known to be delivered. The new cursor is there, so that nothing is skipped and
            nothing repeated; or at the beginning, if the stream is younger than that.

    Raises:
        ServerError: and its subclasses. It may be called again.
    """
    try:
        cursor = furthest if split_id(stream.last_id()) >= split_id(furthest) else b"0"
    except GroupMissing:
        cursor = b"0"
    if stream.create_group(group, cursor):
        logger.error(
            "Group %s on stream %s was gone; made anew with its cursor at %s", group, stream.key, cursor.decode()
        )


def live_consumers(group: Group, own_name: str) -> list[str]:
    """
    Return the names of consumers that seem to be alive.

    One of the name that is being started, or of a shard of it, may be: that of a pod that is being replaced.
    """
    return [each.name for each in group.consumers if _seems_alive(each, own=is_own_name(each.name, own_name))]


def _seems_alive(consumer: Consumer, *, own: bool) -> bool:
    if consumer.left:
        return False
    if consumer.pending:
        return consumer.idle < _SILENCE_WHILE_BUSY
    return consumer.idle < (_OWN_SILENCE if own else _SILENCE)


def _complete(entry_id: str) -> bytes:
    return entry_id.encode() if "-" in entry_id else f"{entry_id}-0".encode()
