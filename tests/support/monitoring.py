"""A monitoring back end that logs what it is told, and one, and a log filter, that do not work."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from edx_django_utils.monitoring.internal.backends import TelemetryBackend

logger = logging.getLogger(__name__)


class BrokenBackend(TelemetryBackend):
    """Fails at whatever it is asked."""

    def _fail(self, *_: Any, **__: Any) -> None:
        raise AttributeError("not in this version of the agent")

    set_attribute = record_exception = create_span = _fail
    tag_root_span_with_error = set_local_root_span_name = _fail


class BrokenFilter(logging.Filter):
    """Fails at the lines of the audit log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg.startswith("Message "):
            raise ValueError("a filter of the host")
        return True


class LoggingBackend(TelemetryBackend):
    """Logs the begin and the end of each span, and each attribute."""

    @contextlib.contextmanager
    def create_span(self, name: str, operation_name: str | None = None) -> Iterator[None]:
        logger.info("span %s begins", name)
        try:
            yield
        except BaseException as error:
            logger.info("span %s ends with %s", name, type(error).__name__)
            raise
        logger.info("span %s ends", name)

    def set_attribute(self, key: str, value: Any) -> None:
        logger.info("attribute %s=%s", key, value)

    def record_exception(self) -> None:
        pass

    tag_root_span_with_error = set_local_root_span_name = record_exception
