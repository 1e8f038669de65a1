"""
The group and its cursor.

Moving the cursor over entries takes them from every consumer of the group, for good. It happens once per start, by the
process that was started, and never over what a live consumer of the group is going to read. What it moves over is
entered into the ledger in the same step, and so is what is lost when the group is gone and has to be made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from edx_event_bus_redis.internal import account_parts, group_scripts
from edx_event_bus_redis.internal.alive import live_consumers
from edx_event_bus_redis.internal.board import Board
from edx_event_bus_redis.internal.errors import GroupMissing, ServerError
from edx_event_bus_redis.internal.ledger import Ledger, Look
from edx_event_bus_redis.internal.log_lines import (
    CURSOR_MOVED,
    CURSOR_STAYS,
    GROUP_CREATED,
    GROUP_MADE_ANEW,
    LOST_FORGOTTEN,
    LOST_SKIPPED,
    LOST_UNKNOWN,
    LOST_WITH_GROUP,
)
from edx_event_bus_redis.internal.losses import Loss
from edx_event_bus_redis.internal.message import join_id
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.options import ConsumerSettings
from edx_event_bus_redis.internal.stream import Group, Stream

logger = logging.getLogger(__name__)


# Tries to move the cursor, each with counting anew what it moves over. One is enough unless somebody deletes entries.
_TRIES = 20


@attrs.frozen
class Known:
    """
    What was known of a group a moment before it was gone.

    Attributes:
        pending: entries that were pending.
        held: how many of these are in the hands of consumers that live: they are not lost.
        unread: entries that it had not read.
        later: events that waited for a retry.
        oldest: the first id that any of these may have had.
    """

    pending: int = 0
    held: int = 0
    unread: int = 0
    later: int = 0
    oldest: tuple[int, int] = (0, 1)


def known_of_group(board: Board, held: int) -> Known | None:
    """
    Return what the monitor saw when it looked last, at most seconds ago; None if there is none, or it has not looked.

    Arguments:
        board: where it leaves word.
        held: entries in the hands of consumers that live.
    """
    if not board.has_state:
        return None
    return Known(board.pending, held, board.unread, board.later, board.oldest)


def set_up_group(stream: Stream, settings: ConsumerSettings, leases: Mapping[str, bool]) -> bytes:
    """
    Create the group if need be and bring its cursor where this start wants it; return the cursor.

    In order: ``last_read_msg_id`` moves it there; ``check_backlog`` leaves it; else it moves to the stream's end, but
    not if another consumer of the group is alive. What was lost up to now is found out first; then what is skipped is
    counted.

    Arguments:
        stream: of the group.
        settings: of the consumer.
        leases: which pools of the group are alive.

    Raises:
        ServerError: and its subclasses. It may be called again.
    """
    ledger = Ledger(stream, settings.group, settings.consumer_name)
    if stream.script(group_scripts.CREATE)([stream.key, ledger.keys[-1]], [settings.group]):
        GROUP_CREATED.log(logger, group=settings.group, stream=stream.key)
    look = ledger.take_stock()
    try:
        if settings.last_read_msg_id is not None:
            return _move_to(ledger, settings.last_read_msg_id)
        if settings.check_backlog:
            return look.cursor
        return _move_to_end(ledger, settings.consumer_name, leases)
    finally:
        ledger.say_all()


def _move_to(ledger: Ledger, entry_id: str) -> bytes:
    """Move the cursor where the operator wants it, whoever else reads in the group."""
    cursor = ledger.stream.last_id() if entry_id == "$" else _complete(entry_id)
    _move(ledger, cursor, None)
    return cursor


def _move_to_end(ledger: Ledger, own_name: str, leases: Mapping[str, bool]) -> bytes:
    """Move the cursor to the stream's end, unless a consumer is alive that is going to read what is in between."""
    stream, group = ledger.stream, ledger.group
    while True:
        seen, end = stream.group(group), stream.last_id()
        live = live_consumers(seen, own_name, leases)
        if live:
            CURSOR_STAYS.log(logger, group=group, stream=stream.key, live=", ".join(live))
        if live or end == seen.last_delivered_id:
            return seen.last_delivered_id
        if _move(ledger, end, seen):
            return end


def _move(ledger: Ledger, cursor: bytes, seen: Group | None) -> bool:
    """Move the cursor; return False if the group is no longer as it was seen."""
    stream, group = ledger.stream, ledger.group
    script = stream.script(group_scripts.MOVE)
    expected = (b"", 0) if seen is None else (seen.last_delivered_id, len(seen.consumers))
    for _ in range(_TRIES):
        tally = ledger.tally_behind(cursor)
        arguments = [group, ledger.by, account_parts.STEP, cursor, *expected, *tally.arguments]
        status, *more = script(ledger.keys, arguments)
        if status == 0:
            return False
        if status == 1:
            skipped, old, lost, first, last = more
            if lost:
                ledger.lost_unread(Loss(lost, first, last))
            _log_move(stream, group, old, cursor, skipped)
            return True
    raise ServerError(f"what group {group!r} has not read cannot be counted: entries are deleted all the time")


def _log_move(stream: Stream, group: str, old: bytes, new: bytes, skipped: int) -> None:
    moved: dict[str, Any] = {"group": group, "stream": stream.key, "old": old, "new": new}
    if skipped:
        LOST_SKIPPED.log(logger, count=skipped, **moved)
    else:
        CURSOR_MOVED.log(logger, **moved)


def make_group_anew(ledger: Ledger, furthest: bytes, known: Known | None = None) -> None:
    """
    Make the group again after a flush, an eviction or a failover took it, and enter into the ledger what that lost.

    Arguments:
        ledger: of the group. If the server was flushed it is gone too, and begins anew with this.
        furthest: the furthest entry known to be delivered. The new cursor is there, so that nothing is skipped and
            nothing repeated; or at the beginning, if the stream is younger than that.
        known: what the group had; None if nobody knows. Then the record has the count 0.

    Raises:
        ServerError: and its subclasses. It may be called again.
    """
    stream, group = ledger.stream, ledger.group
    try:
        tally = ledger.tally_behind(furthest).arguments
    except GroupMissing:
        tally = ()
    about = known or Known()
    pending = max(0, about.pending - about.held)
    first = join_id(*about.oldest)
    arguments = [
        group,
        ledger.by,
        furthest,
        ledger.gaps.added,
        int(known is not None),
        pending,
        pending + about.unread,
        first,
        about.later,
        account_parts.STEP,
        *tally,
    ]
    keys = [*ledger.keys, *(group_key(stream.key, kind, group) for kind in ("later", "again"))]
    made, *more = stream.script(group_scripts.CREATE_ANEW)(keys, arguments)
    if made:
        cursor, count, first, last, trouble = more
        _log_made_anew(stream.key, group, cursor.decode(), Loss(count, first, last), is_known=known is not None)
        if trouble:
            ledger.gaps.refused(ServerError(f"{trouble.decode(errors='replace')} (key {ledger.key})"))


def enter_replaced(ledger: Ledger, look: Look, known: Known, since: int) -> None:
    """
    Enter what was lost with the stream that was there before, if nobody has done so yet.

    Whoever starts right after a flush makes stream and group, and knows nothing of what they were.

    Arguments:
        ledger: of the group.
        look: at the stream that is there now.
        known: what the group had.
        since: the server's time in milliseconds at which the former stream was there.

    Raises:
        ServerError: and its subclasses.
    """
    count, first = max(0, known.pending - known.held) + known.unread + known.later, join_id(*known.oldest)
    script = ledger.stream.script(group_scripts.REPLACED)
    last = script([ledger.key], [ledger.by, count, first, look.first, since])
    if last is not None:
        _log_gone(ledger.stream.key, ledger.group, Loss(count, first, last))


def enter_forgotten(ledger: Ledger, forgotten: int, lost: int, last: bytes, since: int) -> None:
    """
    Enter what a stream has forgotten, unless somebody has done so, or the group was made anew.

    Arguments:
        ledger: of the group.
        forgotten: entries that the stream had and does not know any more.
        lost: how many of them the group had not read, about.
        last: the last id of the stream when it had them.
        since: the server's time in milliseconds at which it had.

    Raises:
        ServerError: and its subclasses.
    """
    script = ledger.stream.script(group_scripts.FORGOTTEN)
    found = script([ledger.stream.key, ledger.key], [ledger.by, lost, last, since])
    if found is not None:
        loss = Loss(lost, *found)
        LOST_FORGOTTEN.log(
            logger, group=ledger.group, stream=ledger.stream.key, forgotten=forgotten, **attrs.asdict(loss)
        )


def _log_made_anew(stream: str, group: str, cursor: str, loss: Loss, *, is_known: bool) -> None:
    GROUP_MADE_ANEW.log(logger, group=group, stream=stream, cursor=cursor)
    if not is_known:
        LOST_UNKNOWN.log(logger, group=group, stream=stream)
    elif loss.count:
        _log_gone(stream, group, loss)


def _log_gone(stream: str, group: str, loss: Loss) -> None:
    LOST_WITH_GROUP.log(logger, group=group, stream=stream, **attrs.asdict(loss))


def _complete(entry_id: str) -> bytes:
    return entry_id.encode() if "-" in entry_id else f"{entry_id}-0".encode()
