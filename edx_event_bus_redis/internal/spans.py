"""
Spans for the monitoring systems that edx-django-utils supports, under names like those of event-bus-kafka.

Where no such system is set up a span costs next to nothing. A system that fails is no reason to stop working.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TypeVar

from edx_django_utils.monitoring import function_trace

from edx_event_bus_redis.internal.telemetry import is_monitored, log_failure

T = TypeVar("T")

# One event: the state of the application before it, its receivers, and the books after it.
CONSUME = "consumer.consume"
# The receivers of one event.
EMIT = "consumer.emit_signals_from_message"
# One call of ``send``; one of ``send_many``.
SEND = "producer.send"
SEND_MANY = "producer.send_many"

_NO_SPAN = contextlib.nullcontext()


def span(name: str) -> contextlib.AbstractContextManager[None]:
    """Return a context that is a span of that name in each monitoring system that is set up."""
    return _Span(name) if is_monitored() else _NO_SPAN


def within_span(name: str, do: Callable[[T], None], argument: T) -> None:
    """Do something within a span of that name; where there is no monitoring system, without a context around it."""
    if is_monitored():
        with _Span(name):
            do(argument)
    else:
        do(argument)


class _Span(contextlib.AbstractContextManager[None]):
    def __init__(self, name: str) -> None:
        self._name = name
        self._trace: Any = None

    def __enter__(self) -> None:
        try:
            trace = function_trace(self._name)
            trace.__enter__()
        except Exception as failure:  # noqa: BLE001 -- back ends are foreign code
            log_failure(failure)
        else:
            self._trace = trace

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if self._trace is None:
            return False
        try:
            self._trace.__exit__(kind, error, traceback)
        except Exception as failure:  # noqa: BLE001 -- as above
            if failure is not error:
                log_failure(failure)
        return False
