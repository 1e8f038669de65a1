"""
The log lines and the attributes for monitoring that the published package has, too.

They hold what identifies an event, never its data; but for the line about one that a producer could not deliver, which
is nowhere else. The two lines for each event of a consumer are in ``audit_log``, this package's own in ``log_lines``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Mapping
from typing import Any

import attrs
from edx_django_utils.monitoring import record_exception, set_custom_attribute
from edx_django_utils.monitoring.internal.backends import configured_backends
from openedx_events.data import EventsMetadata
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.errors import (
    EventBusRedisError,
    EventConsumptionException,
    EventProductionException,
    ServerUnavailable,
)
from edx_event_bus_redis.internal.log_lines import MONITORING_FAILS, record_fields
from edx_event_bus_redis.internal.message import Message
from edx_event_bus_redis.internal.plain_logging import is_taken
from edx_event_bus_redis.internal.settings import audit_logging_enabled

logger = logging.getLogger(__name__)

# The loggers of the published package, so that a deployment's logging configuration goes on to apply.
consumer_logger = logging.getLogger("edx_event_bus_redis.internal.consumer")
producer_logger = logging.getLogger("edx_event_bus_redis.internal.producer")


def is_monitored() -> bool:
    """Return whether a monitoring system is set up; one that is set up in a wrong way is logged as one that fails."""
    try:
        return bool(configured_backends())
    except Exception as failure:  # noqa: BLE001 -- back ends are foreign code
        log_failure(failure)
        return False


@attrs.frozen
class RunContext:
    """Who consumes what."""

    full_topic: str
    consumer_group: str
    consumer_name: str

    def log_running(self, *, quiet: bool = False) -> None:
        """Log that the consumer runs, for debugging only if ``quiet``."""
        consumer_logger.log(
            logging.DEBUG if quiet else logging.INFO,
            "Running consumer for %r",
            attrs.asdict(self),
            extra=self._fields("running"),
        )

    def _fields(self, line: str, **fields: Any) -> dict[str, Any]:
        return record_fields(line, stream=self.full_topic, group=self.consumer_group, **fields)

    def set_attributes(self, message: Message | None, error: Exception | None = None) -> None:
        """Tell the monitoring system what is being worked at. Its failures are no reason to stop working."""
        if not is_monitored():
            return
        try:
            self._set_attributes(message, error)
        except Exception as failure:  # noqa: BLE001 -- back ends are foreign code
            log_failure(failure)
            # .. custom_attribute_name: redis_monitoring_error
            # .. custom_attribute_description: What failed when attributes were set, for the back ends that work.
            _set_failure("redis_monitoring_error", failure)

    def _set_attributes(self, message: Message | None, error: Exception | None) -> None:
        # .. custom_attribute_name: redis_stream
        # .. custom_attribute_description: The stream's key.
        set_custom_attribute("redis_stream", self.full_topic)
        # .. custom_attribute_name: redis_consumer_group
        # .. custom_attribute_description: The consumer group.
        set_custom_attribute("redis_consumer_group", self.consumer_group)
        # .. custom_attribute_name: redis_consumer_name
        # .. custom_attribute_description: The consumer's name in its group.
        set_custom_attribute("redis_consumer_name", self.consumer_name)
        if message is not None:
            # .. custom_attribute_name: redis_msg_id
            # .. custom_attribute_description: The id of the entry in the stream.
            set_custom_attribute("redis_msg_id", message.entry_id.decode())
            # .. custom_attribute_name: id
            # .. custom_attribute_description: The event's id, which is in the logs of producer and consumer.
            set_custom_attribute("id", str(message.metadata.id))
            # .. custom_attribute_name: event_type
            # .. custom_attribute_description: The event's type.
            set_custom_attribute("event_type", message.metadata.event_type)
        if error is not None:
            # .. custom_attribute_name: redis_error_fatal
            # .. custom_attribute_description: Whether the server could not be reached.
            set_custom_attribute("redis_error_fatal", isinstance(error, ServerUnavailable))

    def record_error(
        self, error: Exception, message: Message | None, entry_id: bytes | None = None, *, quiet: bool = False
    ) -> None:
        """
        Record a failure in the log and in the monitoring system.

        Arguments:
            error: what failed. Its traceback is logged only if it is not one of this package's, which say it all.
            message: the message, None if none could be got or decoded.
            entry_id: the entry's id, None if none could be got.
            quiet: whether the log has said the same already.
        """
        event_id = None
        if message is not None:
            details = f"event details: {message}"
            entry_id, event_id = message.entry_id, str(message.metadata.id)
        elif entry_id is not None:
            details = f"entry details: redis_msg_id={entry_id!r}"
        else:
            details = "no event available"
        context = ", ".join(f"{name}={value!r}" for name, value in attrs.asdict(self).items())
        self.set_attributes(message, error)
        _record_exception(EventConsumptionException(error))
        traceback = None if isinstance(error, EventBusRedisError) else error
        consumer_logger.log(
            logging.DEBUG if quiet else logging.ERROR,
            "Error consuming event from Redis: %r in context %s -- %s",
            error,
            context,
            details,
            exc_info=traceback,
            extra=self._fields(
                "consuming_failed",
                entry_id=None if entry_id is None else entry_id.decode(),
                event_id=event_id,
            ),
        )


def deliveries_are_logged() -> bool:
    """Return whether somebody wants ``ProducingContext.log_delivered``."""
    return producer_logger.isEnabledFor(logging.INFO) and audit_logging_enabled()


@attrs.define(kw_only=True)
class ProducingContext:
    """What is needed to send an event again by hand."""

    full_topic: str | None = None
    signal: OpenEdxPublicSignal
    initial_topic: str
    event_key_field: str
    event_data: Mapping[str, Any]
    event_metadata: EventsMetadata

    def log_delivered(self, entry_id: bytes) -> None:
        """Log which event was delivered."""
        event_id = str(self.event_metadata.id)
        fields = record_fields(
            "delivered",
            stream=self.full_topic,
            entry_id=entry_id.decode(),
            event_id=event_id,
            event_type=self.event_metadata.event_type,
        )
        try:
            producer_logger.info(
                "Message delivered to Redis event bus: topic=%s, message_id=%s, signal=%s, redis_msg_id=%s",
                self.full_topic,
                event_id,
                self.signal,
                entry_id,
                extra=fields,
            )
        except Exception as failure:  # noqa: BLE001 -- filters are foreign code
            logging_failed(failure)

    def record_error(self, error: Exception) -> None:
        """
        Record a failure in the log, with all that the event was, and in the monitoring system.

        This is the one line that holds event data: the event is nowhere else, and lost without it. Data and metadata
        are the JSON that the command ``produce_event`` takes.
        """
        _record_exception(EventProductionException(error))
        if not is_taken(producer_logger, logging.ERROR):
            return
        producer_logger.error(
            "Error delivering message to Redis event bus. error=%s: %s full_topic=%r event_key=None signal=%r "
            "initial_topic=%r event_key_field=%r event_data=%s event_metadata=%s",
            type(error).__name__,
            error,
            self.full_topic,
            self.signal,
            self.initial_topic,
            self.event_key_field,
            self._data_as_json(),
            self._metadata_as_json(),
            extra=record_fields(
                "producing_failed",
                stream=self.full_topic,
                event_id=str(getattr(self.event_metadata, "id", "")),
                topic=self.initial_topic,
            ),
        )

    def _data_as_json(self) -> str:
        try:
            return codec_for(self.signal).to_json(self.event_data)
        except Exception:  # noqa: BLE001 -- the data may be what is wrong with the event
            return repr(self.event_data)

    def _metadata_as_json(self) -> str:
        try:
            return str(self.event_metadata.to_json())
        except Exception:  # noqa: BLE001 -- as above
            return repr(self.event_metadata)


def _record_exception(exception: Exception) -> None:
    # record_exception() takes the exception from the stack.
    try:
        raise exception
    except type(exception):
        try:
            record_exception()
        except Exception as failure:  # noqa: BLE001 -- back ends are foreign code
            log_failure(failure)


def logging_failed(failure: Exception) -> None:
    """Tell the monitoring system that a line of the audit log could not be written."""
    # .. custom_attribute_name: redis_logging_error
    # .. custom_attribute_description: What failed when an event was logged.
    _set_failure("redis_logging_error", failure)


def _set_failure(attribute: str, failure: Exception) -> None:
    # What fails may be this very call.
    with contextlib.suppress(Exception):
        set_custom_attribute(attribute, type(failure).__name__)


def log_failure(failure: Exception) -> None:
    """Log that the monitoring system fails."""
    _log_once(type(failure).__name__)


@functools.cache
def _log_once(kind: str) -> None:
    """Log that the monitoring system fails, once for each kind of failure: it may do so several times an event."""
    MONITORING_FAILS.log(logger, failure=kind)
