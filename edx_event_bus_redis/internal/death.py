"""
How a worker died of an entry, as it is told to its replacement, and as it is kept beside the count of starts.

Kept it is a JSON object with the attributes of Death of the same names. It goes with the count, when the entry is done
with.
"""

from __future__ import annotations

import json

import attrs

# Characters that are kept of a stack, whose innermost call comes first.
_STACK_HEAD = 4000

_KEPT = ("cause", "worker_exit", "stack")


@attrs.frozen
class Death:
    """
    How a worker died of an entry.

    Attributes:
        entry_id: what it had in hand.
        again: whether that was delivered again, from the group's own stream.
        cause: in words.
        worker_exit: name of the signal or exit status.
        stack: Python stack that it hung in, empty if unknown.
    """

    entry_id: bytes
    again: bool
    cause: str
    worker_exit: str
    stack: str = ""


def encode_death(death: Death) -> bytes:
    """Return what is kept of a death."""
    return json.dumps(
        {"cause": death.cause, "worker_exit": death.worker_exit, "stack": innermost(death.stack)}
    ).encode()


def parse_death(entry_id: bytes, record: bytes, *, again: bool) -> Death | None:
    """Return the death of which this was kept; None if somebody else has written it."""
    try:
        kept = json.loads(record)
    except (ValueError, RecursionError):
        return None
    if not isinstance(kept, dict) or not all(isinstance(kept.get(name), str) for name in _KEPT):
        return None
    return Death(entry_id, again, **{name: kept[name] for name in _KEPT})


def innermost(stack: str) -> str:
    """
    Return a stack from the thread on that was at work, whose innermost call comes first, as far as it is kept.

    The fault handler writes the other threads before it.
    """
    return stack[max(0, stack.find("Current thread")) :][:_STACK_HEAD]
