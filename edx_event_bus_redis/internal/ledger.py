"""
The accounts of one group on one stream: what it has not read, and what it has lost, which is in its ledger.

The ledger is a stream, ``{<stream>}:lost:<group>``: one record for each loss, with its reason, its count and the ids
that the lost events may have had; the newest record has the totals. What can no longer be delivered is found

1. before each read of new entries (trimmed before they were read), in one step with the read;
2. by whoever looks at the group as a whole (likewise, where another consumer has read over a gap);
3. when pending entries are read whose data is gone (deleted);
4. when the cursor is moved (skipped), or the group made anew (group_gone); ``group.py`` does that;
5. when a dead letter makes older ones go (dropped_dead_letters); ``private.py`` does that.

Each is entered in the same step in which it is found out, so none is counted twice, whoever else looks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from edx_event_bus_redis.internal import account_parts, ledger_scripts
from edx_event_bus_redis.internal.errors import GroupMissing, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.gap_check import GapCheck
from edx_event_bus_redis.internal.ledger_records import NEWEST, totals_of
from edx_event_bus_redis.internal.log_lines import LOST_DELETED
from edx_event_bus_redis.internal.losses import CheckTrouble, Loss, LossLog
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.server_errors import has_timed_out
from edx_event_bus_redis.internal.stream import Pending, Stream
from edx_event_bus_redis.internal.tally import Tally

logger = logging.getLogger(__name__)

# Steps of counting in one look. What is left is counted in the next ones.
_STEPS_A_LOOK = 20

# Entries that are counted for one who asks once.
_MOST_COUNTED = 100_000


class Look(NamedTuple):
    """
    What a group and its stream are like.

    Attributes:
        cursor: the last entry that was delivered to the group.
        first: the first entry of the stream, b"0-0" if it is empty.
        last: the last id that the stream has had.
        length: entries of the stream.
        added: entries that were ever added to it; None if the server does not count them (before Redis 7).
        unread: entries behind the cursor; None if that is not known.
        lost: what this look has found out to be lost before it was read, None if nothing.
    """

    cursor: bytes
    first: bytes
    last: bytes
    length: int
    added: int | None
    unread: int | None
    lost: Loss | None


class _State(NamedTuple):
    """The reply to LOOK."""

    added: int
    length: int
    first: bytes
    last: bytes
    deleted: bytes
    cursor: bytes
    read: int
    unread: int
    lost: int
    lost_first: bytes
    lost_last: bytes
    weight: int


class Ledger:
    """
    The accounts of a group.

    Arguments:
        stream: of the group.
        group: its name.
        by: name of the consumer or the pool that keeps them.

    Methods that ask the server raise ServerError or one of its subclasses.
    """

    def __init__(self, stream: Stream, group: str, by: str = "") -> None:
        self.stream = stream
        self.group = group
        self.by = by
        self.key = group_key(stream.key, "lost", group)
        self.keys = [stream.key, self.key, group_key(stream.key, "read", group)]
        """Those that the scripts begin with which settle the accounts."""
        self._starts = group_key(stream.key, "starts", group)
        self._look = stream.script(ledger_scripts.LOOK)
        self._acknowledge_gone = stream.script(ledger_scripts.ACKNOWLEDGE_GONE)
        self._tally: Tally | None = None
        self._time_outs = 0
        self.rest_until = 0.0
        """When to look again, in seconds of the monotonic clock, so that looking is no burden to the server."""
        self._trouble = CheckTrouble(stream.key, group)
        self._trimming = LossLog(stream.key, group)
        self.gaps = GapCheck(stream, group, by, self.keys, trimming=self._trimming, trouble=self._trouble)
        """The checks that go along with each read of new entries."""

    def say_all(self) -> None:
        """Log what was lost and has not been said yet, because much had been lost a moment before."""
        self._trimming.say_all()

    # Of the group as a whole.

    def look(self) -> Look:
        """
        Look at the group, enter what it has lost, and correct the number of entries that Redis thinks it has read.

        Does a bounded number of short steps. A group that is far behind, and of which Redis does not know how far, is
        counted in the course of several looks.

        Raises:
            GroupMissing: the stream or the group is gone.
        """
        state = self._ask(settle=True)
        if state.unread < 0:
            tally = self._tally = self._tally or self._new_tally(state, state.cursor)
            for _ in range(_STEPS_A_LOOK):
                if tally.is_complete:
                    break
                tally.step()
            if tally.is_complete:
                state = self._ask(settle=True)
                if state.unread < 0:
                    # The cursor has left what was counted, or something was deleted.
                    self._tally = None
        return self._looked(state)

    def take_stock(self) -> Look:
        """Do the same at a start, however long the counting takes. Raises GroupMissing."""
        state = self._ask(settle=True)
        if state.unread < 0:
            self._tally = self._new_tally(state, state.cursor)
            self._tally.complete()
            state = self._ask(settle=True)
        return self._looked(state)

    def unread(self) -> int | None:
        """
        Return how many entries lie behind the cursor, None if that cannot be known; change nothing.

        Raises:
            GroupMissing: the stream or the group is gone.
        """
        state = self._ask(settle=False)
        if state.unread < 0:
            self._tally = self._new_tally(state, state.cursor)
            while not self._tally.is_complete and self._tally.total < _MOST_COUNTED:
                self._tally.step()
            if not self._tally.is_complete:
                self._tally = None
                return self._lag_of_server(state)
            state = self._ask(settle=False)
        return None if state.unread < 0 else state.unread

    def _ask(self, *, settle: bool) -> _State:
        tally = self._tally.arguments if self._tally is not None and self._tally.is_complete else ()
        arguments = [self.group, self.by, self.gaps.floor, int(settle), account_parts.STEP, *tally]
        try:
            reply = self._look(self.keys, arguments)
        except ServerUnavailable as error:
            self._time_outs = self._time_outs + 1 if has_timed_out(error) else 0
            if self._time_outs >= 2:
                self.rest_until = time.monotonic() + account_parts.PAUSE_AFTER_TIME_OUTS
            raise
        self._time_outs = 0
        if reply is None or not reply[5]:
            raise GroupMissing(f"no group {self.group!r} on stream {self.stream.key!r}")
        state = _State(*reply)
        self.rest_until = time.monotonic() + account_parts.pause_after(state.weight)
        if state.added < 0:
            # Such a server does not tell whether something was deleted: what was counted does not hold for long.
            self._tally = None
        return state

    def _looked(self, state: _State) -> Look:
        if state.unread >= 0:
            self.gaps.floor = state.cursor
        lost = Loss(state.lost, state.lost_first, state.lost_last) if state.lost else None
        if lost:
            self._trimming.add(lost)
        self._trimming.say(time.monotonic())
        self.gaps.added = max(state.added, 0)
        return Look(
            state.cursor,
            state.first,
            state.last,
            state.length,
            state.added if state.added >= 0 else None,
            state.unread if state.unread >= 0 else None,
            lost,
        )

    def _new_tally(self, state: _State, start: bytes) -> Tally:
        added = state.added if state.added >= 0 else None
        return Tally(self.stream, start, state.last, added, state.added - state.length)

    def _lag_of_server(self, state: _State) -> int | None:
        """What Redis itself reckons, where it cannot be wrong."""
        if state.read < 0 or split_id(state.deleted) >= split_id(state.cursor):
            return None
        lag = state.added - state.read
        if not _MOST_COUNTED <= lag <= state.length or not self.stream.keeps_lag_when_trimmed():
            return None
        return lag

    def tally_behind(self, entry_id: bytes) -> Tally:
        """
        Count the entries behind an id or the cursor, whichever is less.

        Raises:
            GroupMissing: the stream is gone.
        """
        reply = self._look(self.keys, [self.group, self.by, self.gaps.floor, 0, account_parts.STEP])
        if reply is None:
            raise GroupMissing(f"no stream {self.stream.key!r}")
        state = _State(*reply)
        tally = self._new_tally(state, min(entry_id, state.cursor or entry_id, key=split_id))
        tally.complete()
        return tally

    def lost_unread(self, loss: Loss) -> None:
        """Say that a script has entered this into the ledger."""
        self._trimming.add(loss)
        self._trimming.say(time.monotonic())

    # Of what was pending.

    def acknowledge_gone(self, source: Stream, ids: Sequence[bytes]) -> int:
        """
        Take entries without data off the pending entries list and enter them into the ledger.

        Arguments:
            source: the stream that they are of, the topic's or the group's own.
            ids: oldest first, not empty.

        Returns:
            How many were taken off: the others were entered by somebody else, or the ledger cannot take them. That is
            logged; they stay pending, and are found again.
        """
        own = int(source.key != self.stream.key)
        try:
            lost: int = self._acknowledge_gone([source.key, self.key, self._starts], [self.group, self.by, own, *ids])
        except (ServerUnavailable, GroupMissing):
            raise
        except ServerError as error:
            self._trouble.happened(error)
            return 0
        if lost:
            self._trouble.over()
            self._say_gone(source, lost, ids)
        return lost

    def say_gone(self, source: Stream, ids: Sequence[bytes]) -> None:
        """Log what a script has entered into the ledger: pending entries without data, oldest first."""
        self._say_gone(source, len(ids), ids)

    def _say_gone(self, source: Stream, count: int, ids: Sequence[bytes]) -> None:
        LOST_DELETED.log(logger, group=self.group, stream=source.key, count=count, first=ids[0], last=ids[-1])

    def pending(self) -> Pending:
        """Return what is pending in the group. Raises GroupMissing."""
        return self.stream.pending(self.group)

    # What was lost up to now.

    def totals(self) -> dict[str, int]:
        """Return how many events were lost for each reason, and as ``total`` all of them; 0 if none."""
        return totals_of(self.stream.newest(self.key, NEWEST))
