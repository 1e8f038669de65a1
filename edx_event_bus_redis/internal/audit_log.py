"""
The audit log of a consumer: two lines for each event.

A producer's audit log is in ``telemetry``.
"""

from __future__ import annotations

import logging
from typing import Any

from edx_event_bus_redis.internal.copied_records import CopiedRecords, records_are_plain
from edx_event_bus_redis.internal.log_lines import record_fields
from edx_event_bus_redis.internal.message import Message
from edx_event_bus_redis.internal.settings import audit_logging_enabled
from edx_event_bus_redis.internal.telemetry import RunContext, consumer_logger, logging_failed


class AuditLog:
    """
    The audit log of one consumer, to be used by one thread of one process.

    Arguments:
        context: who consumes what.
    """

    def __init__(self, context: RunContext) -> None:
        about = {"stream": context.full_topic, "group": context.consumer_group}
        self._stream = context.full_topic
        # Asking for the setting takes longer than all else that is asked for an event.
        self._is_enabled = audit_logging_enabled()
        self._received = _Line(
            "Message received from Redis: topic=%s, message_id=%s, redis_msg_id=%s, event_timestamp_ms=%d",
            record_fields("received", **about),
        )
        self._processed = _Line("Message from Redis processed successfully", record_fields("processed", **about))
        self._event: dict[str, Any] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether somebody wants these lines; to be asked once for each event. The setting is that of the start."""
        return self._is_enabled and consumer_logger.isEnabledFor(logging.INFO)

    def received(self, message: Message) -> None:
        """Log which event was received."""
        metadata, entry_id = message.metadata, message.entry_id
        event_id = str(metadata.id)
        self._event = {"entry_id": entry_id.decode(), "event_id": event_id, "event_type": metadata.event_type}
        milliseconds = round(metadata.time.timestamp() * 1000)
        self._received.log(self._event, self._stream, event_id, entry_id, milliseconds)

    def processed(self) -> None:
        """Log that the event received last was processed."""
        self._processed.log(self._event)


class _Line:
    """A line that is logged again and again, by ``consumer_logger`` at level INFO."""

    def __init__(self, words: str, fields: dict[str, Any]) -> None:
        self._words = words
        self._fields = fields
        # 1 is the method log().
        self._records = CopiedRecords(consumer_logger, depth=2, fields=fields)

    def log(self, fields: dict[str, Any], *arguments: object) -> None:
        """Log it. A filter of the host that fails is no reason to stop working."""
        try:
            if records_are_plain(consumer_logger):
                consumer_logger.handle(self._records.make(self._words, arguments, fields))
            else:
                consumer_logger.info(self._words, *arguments, extra={**self._fields, **fields}, stacklevel=2)
        except Exception as failure:  # noqa: BLE001 -- filters are foreign code
            logging_failed(failure)
