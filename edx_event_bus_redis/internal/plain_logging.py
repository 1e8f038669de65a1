"""What the logging module is going to do with a line, so that nothing is made for one that nobody gets."""

from __future__ import annotations

import logging
from types import FunctionType


def is_plain(method: object) -> bool:
    """Return whether this is the logging module's own method, which nobody has replaced."""
    return type(method) is FunctionType and method.__globals__ is vars(logging)


def is_taken(logger: logging.Logger, level: int) -> bool:
    """Return whether somebody gets what this logger logs at this level."""
    if not logger.isEnabledFor(level):
        return False
    # Whoever has replaced this, as error trackers do, sees records that no handler takes.
    if not is_plain(logging.Logger.callHandlers):
        return True
    has_handlers = False
    each: logging.Logger | None = logger
    while each is not None:
        for handler in each.handlers:
            if handler.level <= level:
                return True
            has_handlers = True
        each = each.parent if each.propagate else None
    return not has_handlers and logging.lastResort is not None and logging.lastResort.level <= level
