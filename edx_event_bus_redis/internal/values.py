"""
What the value of an option or a setting must be.

Each function takes whatever was given and returns the converted value, or raises Wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

_ENTRY_ID = re.compile(r"\d{1,20}(-\d{1,20})?|\$", re.ASCII)
_RANGE = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
_HOST = re.compile(r"[\w.:%-]+", re.ASCII)
_LARGEST_ID_PART = 2**64 - 1

# The largest whole number that every JSON reader keeps exactly; far below what Redis takes (2**63 - 1).
_LARGEST_COUNT = 2**53

# Three years. The system's calls that wait refuse much longer times.
_LONGEST_SECONDS = 100_000_000


class Wrong(Exception):
    """A value is not what it should be; the message says what would be right."""


def count(minimum: int, maximum: int = _LARGEST_COUNT) -> Callable[[object], int]:
    """Return what takes a whole number from a minimum to a maximum."""
    expected = f"from {minimum}" if maximum == _LARGEST_COUNT else f"from {minimum} to {maximum}"

    def convert(value: object) -> int:
        # JSON's true is an int to Python, and never what was meant.
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise Wrong(f"expected a whole number {expected}")
        return value

    return convert


class Workers(NamedTuple):
    """How many workers a pool begins with, and up to how many it grows by itself; None if it does not."""

    number: int
    most: int | None


def workers(maximum: int) -> Callable[[object], Workers]:
    """Return what takes a number of workers up to a maximum, or the fewest and the most, like "2-16"."""
    whole = count(1, maximum)

    def convert(value: object) -> Workers:
        found = _RANGE.fullmatch(value) if isinstance(value, str) else None
        try:
            if found is None:
                return Workers(whole(value), None)
            fewest, most = (whole(int(number)) for number in found.groups())
        except Wrong:
            raise Wrong(
                f'expected a whole number from 1 to {maximum}, or the fewest and the most, like "2-16"'
            ) from None
        if fewest > most:
            raise Wrong(f'expected the fewest workers first and the most then, like "{most}-{fewest}"')
        return Workers(fewest, most)

    return convert


def seconds(value: object, *, zero: bool = False) -> float:
    """Take a time above 0, or from 0 if ``zero``."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not (0 < number <= _LONGEST_SECONDS or (zero and number == 0)):
        raise Wrong("expected a number of seconds" + (", 0 or more" if zero else " above 0"))
    return float(number)


def seconds_or_zero(value: object) -> float:
    """Take a time from 0."""
    return seconds(value, zero=True)


def port(value: object) -> int:
    """Take the number of a port. Not 0, which lets the system choose one: whoever asks has to know it."""
    return count(1, 65_535)(value)


def host(value: object) -> str:
    """Take the address, or the name, of an interface."""
    if not isinstance(value, str) or not _HOST.fullmatch(value) or value.count(":") == 1:
        raise Wrong(
            'expected an address or a name of this machine without a port, like "127.0.0.1", or "0.0.0.0" for all'
        )
    return value


def flag(value: object) -> bool:
    """Take true or false, and nothing that is only as good as one of them."""
    if not isinstance(value, bool):
        raise Wrong("expected true or false")
    return value


def name(value: object) -> str:
    """Take text that can stand in a log line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise Wrong("expected a name: text that is not empty and has no control characters")
    return value


def entry_id(value: object) -> str:
    """Take the id of an entry, with or without its sequence, also as a number; "$" is the end of the stream."""
    text = str(value) if isinstance(value, int) else value
    if not isinstance(text, str) or not _ENTRY_ID.fullmatch(text) or _too_large(text):
        raise Wrong('expected the id of an entry like "1679676448892-0", "0" for all or "$" for none')
    return text


def _too_large(entry_id: str) -> bool:
    return entry_id != "$" and any(int(part) > _LARGEST_ID_PART for part in entry_id.split("-"))


def max_len(value: object) -> int:
    """Take a number of entries; also as text, because the published package does."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    return count(1)(value)


def errors_limit(value: object) -> int | None:
    """Take a number of errors; 0 is none, because it switches the limit off in the published package."""
    return count(0)(value) or None


def prefix(value: object) -> str | None:
    """Take a prefix; empty text is none."""
    return None if value == "" else name(value)
