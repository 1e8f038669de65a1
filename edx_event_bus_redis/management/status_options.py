"""The options of ``event_bus_status``: what there is, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
from django.core.management.base import CommandError, CommandParser

from edx_event_bus_redis.internal import values
from edx_event_bus_redis.internal.findings import Limits
from edx_event_bus_redis.management.command_line import EXIT_BAD_SETTING

# Less would be more often than pools tell something new, and more than Redis is there for.
_SHORTEST_INTERVAL = 0.1

Number = TypeVar("Number", int, float)


@attrs.frozen
class StatusOptions:
    """
    What is asked for, beside which streams.

    Attributes:
        as_json: whether JSON is printed.
        watch: seconds between the looks of ``--watch``, None without it.
        check: seconds between the two looks of ``--check``, None without it.
        limits: of what is all right.
    """

    as_json: bool
    watch: float | None
    check: float | None
    limits: Limits


def add_options(parser: CommandParser) -> None:
    """Declare the options."""
    parser.add_argument("-t", "--topic", help="only this topic, without the prefix; by default all of the prefix")
    parser.add_argument(
        "--json",
        action="store_true",
        help='print a JSON object, {"streams": [...]}; null is what cannot be known, and ages are in seconds. With '
        "--watch one in each line",
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        const="2",
        metavar="SECONDS",
        help="show it again and again, every 2 seconds unless told otherwise, with rates and with what is wrong; "
        "Ctrl-C ends it",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="look twice, and print one line for each thing that is wrong, the worst first, or one that nothing is",
    )
    parser.add_argument("--check-seconds", default="5", metavar="N", help="seconds between the looks of --check (5)")
    parser.add_argument(
        "--stuck-seconds",
        metavar="N",
        help="seconds that one event may be in hand (300, or the handler_timeout of its pool if that is longer)",
    )
    parser.add_argument("--dead-letters", default="0", metavar="N", help="dead letters that a group may have (0)")
    parser.add_argument(
        "--losses-hours", default="24", metavar="N", help="hours for which losses are told (24); 0 tells of none"
    )


def chosen_options(options: Mapping[str, Any]) -> StatusOptions:
    """Return what is asked for; what cannot work ends the command with status 2 and a line that names it."""
    watch, stuck = options["watch"], options["stuck_seconds"]
    if options["check"] and watch is not None:
        raise CommandError("--check and --watch exclude each other", returncode=EXIT_BAD_SETTING)
    check_seconds = _number("--check-seconds", options["check_seconds"], values.seconds)
    limits = Limits(
        stuck_seconds=None if stuck is None else _number("--stuck-seconds", stuck, values.seconds),
        dead_letters=_number("--dead-letters", options["dead_letters"], values.count(0)),
        losses_seconds=_number("--losses-hours", options["losses_hours"], _hours),
    )
    return StatusOptions(
        as_json=options["json"],
        watch=None if watch is None else _number("--watch", watch, _interval),
        check=check_seconds if options["check"] else None,
        limits=limits,
    )


def _number(name: str, text: str, convert: Callable[[object], Number]) -> Number:
    try:
        return convert(_parsed(text))
    except values.Wrong as wrong:
        raise CommandError(f"{name} is {text!r}: {wrong}", returncode=EXIT_BAD_SETTING) from None


def _parsed(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _interval(value: object) -> float:
    seconds = values.seconds(value)
    if seconds < _SHORTEST_INTERVAL:
        raise values.Wrong(f"expected {_SHORTEST_INTERVAL} seconds or more")
    return seconds


def _hours(value: object) -> float:
    try:
        return values.seconds_or_zero(value) * 3600
    except values.Wrong:
        raise values.Wrong("expected a number of hours, 0 or more") from None
