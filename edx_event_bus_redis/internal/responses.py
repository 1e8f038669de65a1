"""
openedx-events' line about what the receivers of a signal returned, as cheap as its log lets it be.

openedx-events makes the text for each event, and its logger throws it away unless its level is INFO (ADR 0016). If it
takes it, and no receiver has returned anything, the text is the same each time, and the record nearly so (ADR 0027).
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

# Texts about what receivers returned that are kept; a service has as many as it has signals with receivers.
_MOST_TEXTS = 1_000

# How the line begins; any other, that another release may have, is logged as ever.
_FIRST_WORDS = "Responses of the Open edX Event <"


@contextlib.contextmanager
def responses_logged_cheaply() -> Iterator[None]:
    """
    While the block runs, have what receivers return formatted only if the log takes the line that it is for.

    Must be entered by the thread that consumes.
    """
    format_responses: Callable[..., str] | None = getattr(utils, "format_responses", None)
    logger = getattr(tooling, "log", None)
    if getattr(tooling, "format_responses", None) is not format_responses or format_responses is None:
        # Another release has something else there, or somebody has put it there: nothing is known of that.
        yield
        return
    tooling.format_responses = _only_for_log(format_responses)
    if type(logger) is logging.Logger:
        tooling.log = _ResponsesLogger(logger)
    try:
        yield
    finally:
        tooling.format_responses = format_responses
        tooling.log = logger


class _ResponsesLogger:
    """Stands in for openedx-events' logger, which gets its line about responses in records that are copies."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        # 1 is the method info().
        self._records = CopiedRecords(logger, depth=2)
        self._home = _place()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def info(self, words: Any, *arguments: Any, stacklevel: int = 1, **options: Any) -> None:
        logger = self._logger
        if not logger.isEnabledFor(logging.INFO):
            return
        is_known = type(words) is str and words.startswith(_FIRST_WORDS) and not (arguments or options)
        # Receivers send signals too, maybe in a thread, a process or a task of theirs, which a record names.
        if is_known and _place() == self._home and records_are_plain(logger):
            logger.handle(self._records.make(words, (), {}))
        else:
            logger.info(words, *arguments, stacklevel=stacklevel + 1, **options)


def _place() -> tuple[int, int, asyncio.AbstractEventLoop | None]:
    # asyncio exports this one for frameworks; get_running_loop() raises where there is none.
    return os.getpid(), threading.get_ident(), asyncio._get_running_loop()  # noqa: SLF001


def _only_for_log(format_responses: Callable[..., str]) -> Callable[..., str]:
    texts: dict[tuple[Any, ...], str] = {}

    def format_for_log(responses: Any, **options: Any) -> str:
        if not tooling.log.isEnabledFor(logging.INFO):
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
