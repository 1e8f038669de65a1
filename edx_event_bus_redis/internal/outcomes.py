"""What becomes of an event that was not handled: it is decided (``delivery.py``), done in one step, and logged."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping

from edx_event_bus_redis.internal.delivery import Retry, decide
from edx_event_bus_redis.internal.errors import EventBusRedisError, ReceiverError
from edx_event_bus_redis.internal.letter import encode_facts
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.settings import ConsumerSettings
from edx_event_bus_redis.internal.suspects import Death

logger = logging.getLogger(__name__)

# Characters of a traceback's end, and of an exception's message, that a dead letter keeps.
_TRACEBACK_TAIL = 4000
_MESSAGE_HEAD = 1000


class Outcomes:
    """
    Settles what a consumer could not handle.

    Arguments:
        store: of the group.
        stream: key of the topic's stream.
        settings: of the consumer.
        consumer_name: its name.
    """

    def __init__(self, store: GroupStore, stream: str, settings: ConsumerSettings, consumer_name: str) -> None:
        self._store = store
        self._stream = stream
        self._settings = settings
        self._consumer_name = consumer_name

    def failed(self, entry: Entry, error: EventBusRedisError) -> None:
        """
        Settle an entry that was not handled: it is put aside for a retry, or made a dead letter.

        Raises:
            ServerError: it is still pending, and this has to be called again.
        """
        decision = decide(error, entry.failures, self._settings.max_retries)
        if isinstance(decision, Retry):
            self._store.retry_later(entry, decision.after)
            logger.warning(
                "Entry %s of stream %s is tried again in %.1f s: retry %d of %d for group %s",
                entry.original_id.decode(),
                self._stream,
                decision.after,
                entry.failures + 1,
                self._settings.max_retries,
                self._settings.group,
            )
        else:
            self._bury(entry, decision.cause, entry.failures + 1, _described(error))

    def killed(self, entry: Entry, starts: int, death: Death) -> None:
        """Make a dead letter of an entry whose workers died. Raises ServerError as ``failed`` does."""
        facts = {"worker_exit": death.worker_exit, "traceback": death.stack[-_TRACEBACK_TAIL:]}
        self._bury(entry, f"{death.cause}, at each of {starts} starts", starts, facts)

    def _bury(self, entry: Entry, cause: str, deliveries: int, facts: Mapping[str, str]) -> None:
        added = encode_facts(entry, cause=cause, deliveries=deliveries, consumer=self._consumer_name, **facts)
        self._store.bury(entry, added, self._settings.dead_letters_max_len)
        logger.error(
            "Entry %s of stream %s is a dead letter of group %s now: %s",
            entry.original_id.decode(),
            self._stream,
            self._settings.group,
            cause,
        )


def _described(error: EventBusRedisError) -> dict[str, str]:
    """Describe the first exception behind a failure; it may quote the event, as the dead letter does anyway."""
    cause = error.causes[0] if isinstance(error, ReceiverError) and error.causes else error
    lines = traceback.format_exception(cause)
    return {
        "exception": f"{type(cause).__module__}.{type(cause).__qualname__}",
        "message": str(cause)[:_MESSAGE_HEAD],
        "traceback": "".join(lines)[-_TRACEBACK_TAIL:],
    }
