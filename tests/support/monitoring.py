"""A monitoring back end and a log filter that do not work."""

import logging
from typing import Any

from edx_django_utils.monitoring.internal.backends import TelemetryBackend


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
