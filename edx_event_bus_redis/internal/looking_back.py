"""
Whether a stream is still the one that it was: after a failover to a replica that had less, or with a backup that was
restored, its newest entries are gone as if they had never been, and after a flush all of them.

Redis says nothing of it, and the group is there as it was at that time. What tells is a count: the entries ever added
to the stream, less those behind the last id of the former look, are those that were added up to that id. What was
trimmed or deleted meanwhile is among them. If they are fewer than there were then, the stream has forgotten some.
"""

from __future__ import annotations

import attrs

from edx_event_bus_redis.internal.group import Known, enter_forgotten, enter_replaced
from edx_event_bus_redis.internal.ledger import Ledger, Look
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.tally import Tally


@attrs.frozen
class _Before:
    """The former look: the stream's last id, entries ever added and unread, events taken by the pool; and when."""

    last: bytes
    added: int
    unread: int
    taken: int
    milliseconds: int


class LookingBack:
    """
    Compares each look at a group with the one before.

    Arguments:
        ledger: of the group.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._before: _Before | None = None

    def looked(self, look: Look, known: Known | None, *, taken: int, milliseconds: int) -> None:
        """
        Take a look, and enter into the ledger what the stream has forgotten since the last one.

        Arguments:
            look: at the group.
            known: what the group had at the former look, None if that is not known.
            taken: events that the pool's workers have handled or have in hand, since its start.
            milliseconds: the server's time right before the look.

        Raises:
            ServerError: and its subclasses.
        """
        before = self._before
        if look.added is None:
            # Redis before 7.
            return
        if before is not None and not self._is_continued(before, look):
            self._enter(before, look, look.added, known, taken)
        self._before = _Before(look.last, look.added, look.unread or 0, taken, milliseconds)

    def _is_continued(self, before: _Before, look: Look) -> bool:
        return look.last == before.last or bool(self._ledger.stream.entries(before.last, before.last, 1))

    def _enter(self, before: _Before, look: Look, added: int, known: Known | None, taken: int) -> None:
        behind = Tally(self._ledger.stream, before.last, look.last, added, 0)
        behind.complete()
        older = added - behind.total
        if older >= before.added:
            # The last one was trimmed or deleted.
            return
        if older <= 0 or split_id(before.last) < split_id(look.first):
            if known is not None:
                enter_replaced(self._ledger, look, known, since=before.milliseconds)
            return
        forgotten = before.added - older
        unread = max(0, before.unread - max(0, taken - before.taken))
        enter_forgotten(self._ledger, forgotten, min(forgotten, unread), before.last, since=before.milliseconds)
