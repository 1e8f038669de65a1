"""
openedx-events' line about what the receivers of a signal returned, as cheap as its log lets it be.

openedx-events makes the text for each event, and its logger throws it away unless its level is INFO and there is a
handler for that (ADR 0016). If somebody takes it, and no receiver has returned anything, the text is the same each
time, and the record nearly so (ADR 0027).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from openedx_events import tooling, utils

from edx_event_bus_redis.internal.copied_records import CopiedRecords, records_are_plain
from edx_event_bus_redis.internal.plain_logging import is_taken
from edx_event_bus_redis.internal.telemetry import logging_failed

# Texts about what receivers returned that are kept; a service has as many as it has signals with receivers.
_MOST_TEXTS = 1_000

# How the line begins; any other, that another release may have, is logged as ever.
_FIRST_WORDS = "Responses of the Open edX Event <"


@contextlib.contextmanager
def responses_logged_cheaply() -> Iterator[None]:
    """
    While the block runs, have what receivers return formatted only if the log takes the line that it is for, and have
    the records of that line copied.

    Must be entered by the thread that consumes.
    """
    format_responses: Any = getattr(utils, "format_responses", None)
    logger = getattr(tooling, "log", None)
    is_known = format_responses is not None and getattr(tooling, "format_responses", None) is format_responses
    if not is_known or type(logger) is not logging.Logger:
        # Another release has something else there, or somebody has put it there: nothing is known of that.
        yield
        return
    tooling.format_responses = _only_for_log(format_responses, logger)
    tooling.log = _that_copies(logger)
    try:
        yield
    finally:
        tooling.format_responses = format_responses
        tooling.log = logger


def _that_copies(logger: logging.Logger) -> logging.Logger:
    """
    Return a logger that is the same in everything, but that records of openedx-events' line are copies.

    And a filter of the host that fails is no reason to handle an event again, whose receivers are done.
    """
    # 1 is the method info().
    records = CopiedRecords(logger, depth=2)
    is_here = _place_check()

    class Copying(logging.Logger):
        def info(self, msg: object, *args: Any, stacklevel: int = 1, **options: Any) -> None:
            if not self.isEnabledFor(logging.INFO):
                return
            is_known = type(msg) is str and msg.startswith(_FIRST_WORDS) and not (args or options)
            try:
                # Receivers send signals too, maybe in a thread, a process or a task of theirs, which a record names.
                if is_known and is_here() and records_are_plain(logger):
                    logger.handle(records.make(str(msg), (), {}))
                else:
                    logger.info(msg, *args, stacklevel=stacklevel + 1, **options)
            except Exception as failure:  # noqa: BLE001 -- filters are foreign code
                logging_failed(failure)

    copying = Copying.__new__(Copying)
    # Not a copy of it: what is set at one of them is set at both.
    copying.__dict__ = logger.__dict__
    return copying


def _place_check() -> Callable[[], bool]:
    """Return what tells whether it is called in this process, by this thread, and in the same event loop or none."""
    # asyncio exports this one for frameworks; get_running_loop() raises where there is none.
    get_loop = asyncio._get_running_loop  # noqa: SLF001
    process, thread, loop = os.getpid(), threading.get_ident(), get_loop()
    return lambda: os.getpid() == process and threading.get_ident() == thread and get_loop() is loop


def _only_for_log(format_responses: Callable[..., str], logger: logging.Logger) -> Callable[..., str]:
    texts: dict[tuple[Any, ...], str] = {}

    def format_for_log(responses: Any, **options: Any) -> str:
        if not is_taken(logger, logging.INFO):
            return ""
        silent = _names_of_silent(responses)
        if silent is None:
            return format_responses(responses, **options)
        key = (*silent, *options.items())
        text = texts.get(key)
        if text is None:
            if len(texts) >= _MOST_TEXTS:
                texts.clear()
            text = texts[key] = format_responses(responses, **options)
        return text

    return format_for_log


def _names_of_silent(responses: Any) -> list[tuple[str, str]] | None:
    """Return all that goes into the text, if all receivers are functions and have returned None; else None."""
    names = []
    for receiver, response in responses:
        if response is not None or type(receiver) is not FunctionType:
            return None
        names.append((receiver.__module__, receiver.__name__))
    return names
