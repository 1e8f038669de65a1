"""
How a producer waits for replicas with ``EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS``, and what it says if they do not
confirm what it has sent.

An event that was not confirmed is sent all the same. While a replica is away the log has one line every ten seconds,
not one for each event, and each event holds its request up for a tenth of a second, not for a whole one.

WAIT itself is sent by ``appending``.
"""

from __future__ import annotations

import logging
import time

from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.log_lines import CONFIRMED_AGAIN, NOT_CONFIRMED

logger = logging.getLogger(__name__)

# Seconds to wait for replicas. One that is in step needs milliseconds.
_PATIENT = 1.0

# The same after a wait in vain, for so long.
_IMPATIENT = 0.1
_IMPATIENCE = 10.0

# Seconds between two lines in the log.
_INTERVAL = 10.0


class Confirmations:
    """What one producer knows of the replicas of its server. Threads may share it."""

    def __init__(self) -> None:
        self._impatient_until = 0.0
        self._say_again = 0.0
        self._unsaid = 0
        self._in_all = 0

    @property
    def seconds(self) -> float:
        """How long to wait now."""
        return _IMPATIENT if time.monotonic() < self._impatient_until else _PATIENT

    def told(self, wanted: int, confirmed: int | ServerError, count: int, stream: str, entry_id: bytes) -> None:
        """
        Take note of what came of waiting, and say it if need be.

        Arguments:
            wanted: replicas that were waited for.
            confirmed: replicas that have the events; or why that is not known.
            count: events that were waited for.
            stream: key of the stream of the last of them.
            entry_id: its entry.
        """
        if not isinstance(confirmed, ServerError) and confirmed >= wanted:
            self._confirmed()
            return
        now = time.monotonic()
        # Only after a patient wait: replicas that are merely slow must not look as if they were away for ever.
        if now >= self._impatient_until:
            self._impatient_until = now + _IMPATIENCE
        self._unsaid += count
        self._in_all += count
        if now < self._say_again:
            return
        self._say_again = now + _INTERVAL
        unsaid, self._unsaid = self._unsaid, 0
        reason = str(confirmed) if isinstance(confirmed, ServerError) else f"{confirmed} did"
        NOT_CONFIRMED.log(logger, count=unsaid, wanted=wanted, reason=reason, entry_id=entry_id, stream=stream)

    def _confirmed(self) -> None:
        self._impatient_until = 0.0
        if not self._in_all:
            return
        in_all, self._in_all = self._in_all, 0
        self._unsaid = 0
        self._say_again = 0.0
        CONFIRMED_AGAIN.log(logger, count=in_all)
