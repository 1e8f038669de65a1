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


def set_up_group(stream: Stream, settings: ConsumerSettings) -> bytes:
    """
    Create the group if need be and bring its cursor where this start wants it; return the cursor.

    In order: ``last_read_msg_id`` moves it there; ``check_backlog`` leaves it; else it moves to the stream's end, but
    not if another consumer of the group is alive. A warning counts what is skipped.

    Raises:
        ServerError: and its subclasses. It may be called again.
    """
    group = settings.group
    target = settings.last_read_msg_id
    if stream.create_group(group, "0"):
        # Nobody reads in it yet, but somebody may from now on: this too is decided by what is found.
        logger.info("Created group %s on stream %s", group, stream.key)
    else:
        logger.info("Group %s on stream %s exists already", group, stream.key)
    while True:
        seen = stream.group(group)
        if target is None and settings.check_backlog:
            return seen.last_delivered_id
        end = stream.last_id()
        cursor = end if target in (None, "$") else _complete(str(target))
        if cursor == seen.last_delivered_id:
            return cursor
        if target is None:
            live = live_consumers(seen, settings.consumer_name)
            if live:
                logger.info(
                    "Group %s on stream %s has live consumers (%s): its cursor stays where it is",
                    group,
                    stream.key,
                    ", ".join(live),
                )
                return seen.last_delivered_id
        skipped = _skipped(stream, seen.last_delivered_id, cursor, end)
        if stream.move_cursor(group, seen, cursor):
            if skipped:
                logger.warning(
                    "Group %s on stream %s skipped %d events that it had not read: its cursor moved from %s to %s",
                    group,
                    stream.key,
                    skipped,
                    seen.last_delivered_id.decode(),
                    cursor.decode(),
                )
            return cursor


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
    Return the names of consumers that seem to be alive and are not of this consumer or pool.

    Own names count as dead: whoever is started under a name is their only owner.
    """
    return [each.name for each in group.consumers if not is_own_name(each.name, own_name) and _seems_alive(each)]


def _seems_alive(consumer: Consumer) -> bool:
    return consumer.idle < (_SILENCE_WHILE_BUSY if consumer.pending else _SILENCE)


def _skipped(stream: Stream, old: bytes, new: bytes, end: bytes) -> int:
    if split_id(new) <= split_id(old):
        return 0
    return stream.count_between(old, min(new, end, key=split_id))


def _complete(entry_id: str) -> bytes:
    return entry_id.encode() if "-" in entry_id else f"{entry_id}-0".encode()
