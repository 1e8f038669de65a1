"""What becomes of an event that was not handled: it is decided (``delivery.py``), done in one step, and logged."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Mapping
from typing import Any

from edx_event_bus_redis.internal.death import Death, innermost
from edx_event_bus_redis.internal.delivery import Retry, decide
from edx_event_bus_redis.internal.errors import EventBusRedisError, ReceiverError
from edx_event_bus_redis.internal.letter import encode_facts
from edx_event_bus_redis.internal.log_lines import DEAD_LETTER, LOST_DEAD_LETTERS, NOT_PENDING, RETRY, STARTED_AGAIN
from edx_event_bus_redis.internal.losses import CheckTrouble, LossLog
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.options import ConsumerSettings
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.protocols import Progress

logger = logging.getLogger(__name__)

# Characters that a dead letter keeps: of a traceback's end, and of a message.
_TRACEBACK_TAIL = 4000
_MESSAGE_HEAD = 1000

_UNKNOWN = "its process ended with it in hand, nobody knows how"


class Outcomes:
    """
    Settles what a consumer could not handle.

    Arguments:
        store: of the group.
        stream: key of the topic's stream.
        settings: of the consumer.
        consumer_name: its name.
        progress: where to leave word of retries.
    """

    def __init__(
        self, store: GroupStore, stream: str, settings: ConsumerSettings, consumer_name: str, progress: Progress
    ) -> None:
        self._store = store
        self._stream = stream
        self._settings = settings
        self._consumer_name = consumer_name
        self._progress = progress
        self._dropped = LossLog(stream, settings.group, LOST_DEAD_LETTERS)
        self._trouble = CheckTrouble(stream, settings.group)

    def failed(self, entry: Entry, error: EventBusRedisError) -> None:
        """
        Settle an entry that was not handled: it is put aside for a retry, or made a dead letter.

        Raises:
            ServerError: it is still pending, and this has to be called again.
        """
        decision = decide(error, entry.failures, self._settings.max_retries)
        if isinstance(decision, Retry):
            if not self._store.retry_later(entry, decision.after):
                NOT_PENDING.log(logger, **self._which(entry))
                return
            self._progress.retried()
            RETRY.log(
                logger,
                **self._which(entry),
                seconds=decision.after,
                retry=entry.failures + 1,
                retries=self._settings.max_retries,
            )
        else:
            self._bury(entry, decision.cause, entry.failures + 1, _described(error))

    def started_again(self, entry: Entry, start: int, death: Death) -> None:
        """Say that an entry is started again of which a worker has died; the supervisor does not know its event id."""
        starts = self._settings.max_deliveries
        STARTED_AGAIN.log(logger, **self._which(entry), start=start, starts=starts, cause=death.cause)

    def killed(self, entry: Entry, starts: int, known: tuple[int, Death] | None) -> None:
        """
        Make a dead letter of an entry whose workers died. Raises ServerError as ``failed`` does.

        Arguments:
            entry: in hand.
            starts: that it had.
            known: the last start of which it is known how the worker died, and how; None if it is of none.
        """
        each = "its only start" if starts == 1 else f"each of {starts} starts"
        if known is None:
            cause, facts = f"{_UNKNOWN}, at {each}", {"worker_exit": "unknown"}
        else:
            start, death = known
            cause, worker_exit, stack = f"{death.cause}, at {each}", death.worker_exit, innermost(death.stack)
            if start < starts:
                # What is known of an earlier start says nothing for certain of the last one.
                cause = f"{_UNKNOWN}, at the last of {starts} starts; of start {start} it is known: {death.cause}"
                worker_exit = f"unknown, {worker_exit} at start {start}"
                stack = stack and f"At start {start}:\n{stack}"
            facts = {"worker_exit": worker_exit, "traceback": stack}
        self._bury(entry, cause, starts, facts)

    def _bury(self, entry: Entry, cause: str, deliveries: int, facts: Mapping[str, str]) -> None:
        added = encode_facts(entry, cause=cause, deliveries=deliveries, consumer=self._consumer_name, **facts)
        buried = self._store.bury(entry, added, self._settings.dead_letters_max_len)
        if buried is None:
            NOT_PENDING.log(logger, **self._which(entry))
            return
        DEAD_LETTER.log(logger, **self._which(entry), cause=cause)
        if buried.trouble:
            self._trouble.happened(buried.trouble)
        elif buried.dropped is not None:
            self._trouble.over()
            self._dropped.add(buried.dropped)
        self.say_what_is_due()

    def say_what_is_due(self) -> None:
        """Log how many dead letters were dropped and not said yet, unless some were said a moment ago."""
        self._dropped.say(time.monotonic())

    def say_all(self) -> None:
        """Log how many dead letters were dropped and not said yet."""
        self._dropped.say_all()

    def _which(self, entry: Entry) -> dict[str, Any]:
        return {
            "entry_id": entry.original_id,
            "event_id": entry.event_id,
            "stream": self._stream,
            "group": self._settings.group,
        }


def _described(error: EventBusRedisError) -> dict[str, str]:
    """Describe the first exception behind a failure; it may quote the event, as the dead letter does anyway."""
    cause = error.causes[0] if isinstance(error, ReceiverError) and error.causes else error
    lines = traceback.format_exception(cause)
    return {
        "exception": f"{type(cause).__module__}.{type(cause).__qualname__}",
        "message": str(cause)[:_MESSAGE_HEAD],
        "traceback": "".join(lines)[-_TRACEBACK_TAIL:],
    }
