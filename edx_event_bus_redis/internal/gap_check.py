"""The check that goes along with each read of new entries: whether it is about to pass over some that are lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis import exceptions

from edx_event_bus_redis.internal import account_parts, ledger_scripts
from edx_event_bus_redis.internal.errors import AccessRefused
from edx_event_bus_redis.internal.losses import CheckTrouble, Loss, LossLog
from edx_event_bus_redis.internal.stream import Reply, Stream

# Seconds without a check after the server has refused one.
_REFUSED_SECONDS = 5.0

# Seconds for which the check is sent behind each read as well, since that was needed last.
_FRAGILE_SECONDS = 60.0

# Seconds between two tries to count, with a check, what is unread, while that is too much.
_COUNT_INTERVAL = 1.0


class _Checked(NamedTuple):
    """The reply to CHECK, which is a short one nearly always."""

    added: int
    cursor: bytes
    lost: int
    first: bytes = b""
    last: bytes = b""
    is_fragile: int = 0
    is_known: int = 1
    trouble: bytes = b""
    weight: int = 0


class GapCheck:
    """
    The checks of one consumer.

    Arguments:
        stream: that is read.
        group: that reads it.
        by: name of the consumer.
        keys: of the scripts that settle the accounts.
        trimming: where to say what was lost.
        trouble: where to say that it cannot be entered.

    Attributes:
        floor: the cursor at which the accounts were found right before.
        added: entries ever added to the stream when it was looked at last; 0 if that is not known.
    """

    def __init__(
        self,
        stream: Stream,
        group: str,
        by: str,
        keys: Sequence[str],
        *,
        trimming: LossLog,
        trouble: CheckTrouble,
    ) -> None:
        self._group = group
        self._by = by
        self._keys = keys
        self._trimming = trimming
        self._trouble = trouble
        self._refusal = CheckTrouble(stream.key, group)
        self._script = stream.script(ledger_scripts.CHECK)
        self._is_loaded = False
        self._is_useless = False
        self._refused_until = self._heavy_until = 0.0
        self._time_outs = 0
        self._fragile_until = self._count_again = float("-inf")
        self.floor = b"0-0"
        self.added = 0

    def command(self) -> tuple[Any, ...]:
        """
        Return what is to be sent along ahead of a read of new entries; empty if the server cannot do it.

        Its reply goes to ``checked``. Costs a round trip of its own the first time, and the first time after a failure.
        """
        if self._is_useless or time.monotonic() < max(self._refused_until, self._heavy_until):
            return ()
        if not self._is_loaded:
            try:
                self._script.load()
            except AccessRefused as error:
                self.refused(error)
                return ()
            self._is_loaded = True
        return ("EVALSHA", self._script.sha, len(self._keys), *self._keys, *self._arguments())

    @property
    def is_due_behind(self) -> bool:
        """
        Whether it is to be sent once more, behind the read.

        The server gives up the group's number when it reads on after a deletion; that has to be put right before
        anything is trimmed. For a while after it was so, because with software that deletes what it has handled it
        comes and goes.
        """
        return time.monotonic() < self._fragile_until

    def _arguments(self) -> tuple[Any, ...]:
        now = time.monotonic()
        of_unread = 0 if now < self._count_again else account_parts.STEP
        return self._group, self._by, self.floor, account_parts.STEP, of_unread, int(now < self._fragile_until)

    def checked(self, replies: Sequence[Reply]) -> None:
        """
        Take the replies to a check, which may be exceptions: what was read with it is there all the same.

        Checks once more, which may raise ServerError, if that should have been done behind the read.
        """
        is_behind = self.is_due_behind
        for reply in replies:
            self._take(reply)
        if self.is_due_behind and not is_behind:
            self._take(self._script(self._keys, self._arguments()))
        self._trimming.say(time.monotonic())

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, exceptions.NoScriptError):
            self._is_loaded = False
        elif isinstance(reply, Exception):
            self.refused(reply)
        elif reply is not None:
            self._take_state(_Checked(*reply))

    def _take_state(self, state: _Checked) -> None:
        now = time.monotonic()
        self._is_useless = state.added < 0
        self.added = max(state.added, 0)
        self.floor = state.cursor or self.floor
        if state.is_fragile:
            self._fragile_until = now + _FRAGILE_SECONDS
        if not state.is_known and now >= self._count_again:
            self._count_again = now + _COUNT_INTERVAL
        self._time_outs = 0
        self._heavy_until = now + account_parts.pause_after(state.weight)
        self._refusal.over()
        if state.trouble:
            self._trouble.happened(f"{state.trouble.decode(errors='replace')} (key {self._keys[1]})")
        if state.lost:
            self._trouble.over()
            self._trimming.add(Loss(state.lost, state.first, state.last))

    def timed_out(self) -> None:
        """Say that the server took too long for a read with a check, and maybe for that alone."""
        self._time_outs += 1
        if self._time_outs >= 2:
            self._heavy_until = time.monotonic() + account_parts.PAUSE_AFTER_TIME_OUTS

    def failed(self) -> None:
        """Say that the server was away: it may be another one by now."""
        self._is_loaded = False
        self._is_useless = False

    def refused(self, error: Exception) -> None:
        """Say that the server refuses to check: reading goes on without, and it is tried again after a while."""
        self._refused_until = time.monotonic() + _REFUSED_SECONDS
        self._refusal.happened(error)
