"""Amounts as people say them."""

from __future__ import annotations


def amount(number: int, singular: str, plural: str = "") -> str:
    """Return how many there are of what: ``1 event``, ``4,300 events``; ``plural``: if it has more than an s behind."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
