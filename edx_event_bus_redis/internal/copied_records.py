"""
Records of the logging module that are copies.

A record mostly says what the one before it said: logger, process, thread, place in the code. So each is a copy of the
first one of its place, with what differs put in, which takes half the time (ADR 0027).
"""

from __future__ import annotations

import logging
import time
from typing import Any

from edx_event_bus_redis.internal.plain_logging import is_plain


def _makers() -> tuple[object, ...]:
    """Return what makes records now, which tracers wrap."""
    logger = logging.Logger
    return logger.info, logger._log, logger.makeRecord, logging.LogRecord.__init__  # noqa: SLF001 -- looked at alone


_MAKERS = _makers()

# The same of one logger.
_METHODS = {"info", "_log", "findCaller", "makeRecord"}

# Whether nobody has replaced one of them before this module was imported.
_ARE_PLAIN = all(map(is_plain, _MAKERS))


class CopiedRecords:
    """
    Records at level INFO, logged again and again in one place of the code, by one thread of one process.

    The names of level, thread and process are those that were in force at the first.

    Arguments:
        logger: whose records they are.
        depth: calls from ``make`` up to the function that logs; 1 if that calls ``make`` itself.
        fields: that all of them have.
    """

    def __init__(self, logger: logging.Logger, *, depth: int, fields: dict[str, Any] | None = None) -> None:
        self._logger = logger
        self._depth = depth
        self._fields = fields
        self._first: dict[str, Any] | None = None

    def make(self, words: str, arguments: tuple[object, ...], fields: dict[str, Any]) -> logging.LogRecord:
        """Return a record of these words, with ``fields`` in addition. To be called only if records are plain."""
        first = self._first
        if first is None:
            first = self._first = self._make_first()
        now = time.time()
        attributes = first | fields
        attributes["msg"] = words
        attributes["args"] = arguments
        attributes["created"] = now
        attributes["msecs"] = now * 1000 // 1 % 1000
        attributes["relativeCreated"] += (now - first["created"]) * 1000
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__ = attributes
        return record

    def _make_first(self) -> dict[str, Any]:
        # 1 is this method, 2 is make().
        path, line, function, _ = self._logger.findCaller(stacklevel=2 + self._depth)
        logger = self._logger
        return vars(logger.makeRecord(logger.name, logging.INFO, path, line, "", (), None, function, self._fields))


def records_are_plain(logger: logging.Logger) -> bool:
    """Return whether nobody has a say in how records are made, as tracers have that put an id into each."""
    return (
        _ARE_PLAIN
        and type(logger) is logging.Logger
        and logging.getLogRecordFactory() is logging.LogRecord
        and _makers() == _MAKERS
        and vars(logger).keys().isdisjoint(_METHODS)
    )
