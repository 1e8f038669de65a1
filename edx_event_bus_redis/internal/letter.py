"""
What a dead letter looks like in Redis: the original fields of the entry, followed by ten that say why it is one.

A stream's entry can have more fields than a Lua script can hand to XADD. Those of such an entry are packed into one. Of
an entry that was too large only short fields are there, and behind them how large it was.

Putting one there is done by ``private``, reading and disposing of them by ``dead_letters``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from edx_event_bus_redis.internal.message import Entry, is_id, split_id
from edx_event_bus_redis.internal.sizes import size_of

# In this order behind the original fields. The attributes of DeadLetter of the same names say what they are.
_FACTS = (
    *(b"dead_entry_id", b"dead_cause", b"dead_deliveries", b"dead_consumer", b"dead_worker_exit"),
    *(b"dead_exception", b"dead_message", b"dead_traceback", b"dead_time", b"dead_history"),
)
_ADDED = 2 * len(_FACTS)

_PACKED, _SHORTENED = b"dead_packed", b"dead_shortened_from"

# The last second that a date can be made of.
_LATEST = 253_402_300_799

# Names and values of an entry that is kept as it is. Lua's unpack gives up at about 8000 (LUAI_MAXCSTACK in luaconf.h).
MOST_PARTS = 4000

# Of the bytes that an entry had.
_MOST_DIGITS = 15


class DeadLetter(NamedTuple):
    """
    A dead letter.

    Attributes:
        id: of the dead letter.
        fields: of the entry, names and values alternating.
        stored: number of names and values that these are in Redis; fewer than there are if they are packed.
        size: bytes of the entry if it was too large, so that only its short fields were kept; else 0.
        entry_id: id that the entry had in the topic's stream.
        cause: why it is a dead letter, in words.
        deliveries: how often the event was started.
        consumer: name of the consumer that gave up.
        worker_exit: name of the signal or exit status by which its workers died; empty if they did not.
        exception: type of the exception that a receiver raised; empty if none did.
        message: of the exception.
        traceback: end of the exception's, or the stack that the worker hung in.
        time: when it became a dead letter, seconds since 1970.
        history: JSON list of what it was a dead letter for before, oldest first; empty if it was none.
    """

    id: bytes
    fields: list[bytes]
    stored: int
    size: int
    entry_id: bytes
    cause: str
    deliveries: int
    consumer: str
    worker_exit: str
    exception: str
    message: str
    traceback: str
    time: float
    history: bytes

    @property
    def moment(self) -> str:
        """When it became a dead letter, as ISO 8601 in UTC."""
        return datetime.fromtimestamp(self.time, UTC).isoformat()

    @property
    def previous(self) -> list[dict[str, Any]]:
        """What it was a dead letter for before, oldest first."""
        return parse_history(self.history)

    def history_when_replayed(self) -> bytes:
        """The history that a replay passes on: the letter's own, and the letter."""
        this = {
            "cause": self.cause,
            "deliveries": self.deliveries,
            "consumer": self.consumer,
            "worker_exit": self.worker_exit,
            "exception": self.exception,
            "time": self.moment,
        }
        return json.dumps([*self.previous, this]).encode()


def encode_facts(
    entry: Entry,
    *,
    cause: str,
    deliveries: int,
    consumer: str,
    worker_exit: str = "",
    exception: str = "",
    message: str = "",
    traceback: str = "",
) -> list[bytes]:
    """Return what is added to the fields of an entry that becomes a dead letter now; see DeadLetter."""
    values: list[str | bytes] = [
        *(entry.original_id, cause, str(deliveries), consumer, worker_exit),
        *(exception, message, traceback, f"{time.time():.3f}", entry.history),
    ]
    return [part for name, value in zip(_FACTS, values, strict=True) for part in (name, _encoded(value))]


def parse_letter(entry: Entry) -> DeadLetter:
    """
    Return the dead letter that an entry of a group's ``dead`` stream is.

    One that was put there by other means has nothing but its fields, and its own id as the entry's.
    """
    raw = entry.fields or []
    stored, facts = raw[:-_ADDED], raw[-_ADDED:]
    try:
        if tuple(facts[::2]) == _FACTS:
            return _letter(entry.id, *restored(stored), len(stored), facts)
    except (ValueError, OverflowError, OSError):
        # A value that was never written here.
        pass
    facts = encode_facts(Entry(entry.id, None), cause="not known", deliveries=0, consumer="")
    facts[2 * _FACTS.index(b"dead_time") + 1] = b"%d" % min(split_id(entry.id)[0] // 1000, _LATEST)
    return _letter(entry.id, raw, 0, len(raw), facts)


def _letter(letter_id: bytes, fields: list[bytes], size: int, stored: int, facts: Sequence[bytes]) -> DeadLetter:
    """Raises one of several exceptions if a fact is not what it ought to be."""
    entry_id, *texts, history = facts[1::2]
    if not is_id(entry_id):
        raise ValueError("no id of an entry")
    cause, deliveries, consumer, worker_exit, exception, message, traceback, moment = map(decoded, texts)
    letter = DeadLetter(
        id=letter_id,
        fields=fields,
        stored=stored,
        size=size,
        entry_id=entry_id,
        cause=cause,
        deliveries=int(deliveries),
        consumer=consumer,
        worker_exit=worker_exit,
        exception=exception,
        message=message,
        traceback=traceback,
        time=float(moment),
        history=history,
    )
    # Both are read when they are asked for, and raise then what they raise.
    _ = letter.moment, letter.previous
    return letter


def parse_history(history: bytes) -> list[dict[str, Any]]:
    """Return what an event was a dead letter for before, oldest first. Raises ValueError if it is no such list."""
    try:
        letters = json.loads(history) if history else []
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(letters, list) or not all(isinstance(letter, dict) for letter in letters):
        raise ValueError("no list of dead letters")
    return letters


def stored(entry: Entry) -> list[bytes]:
    """Return what is kept of an entry's fields, such that a script can handle it."""
    fields = entry.fields or []
    kept = _packed(fields)
    return [*kept, _SHORTENED, b"%d" % entry.size] if entry.size > size_of(fields) else kept


def restored(kept: list[bytes]) -> tuple[list[bytes], int]:
    """
    Return the fields that ``stored`` was given, and the size that their entry had if it was too large, else 0.

    Raises:
        ValueError: ``stored`` has not made this.
    """
    if kept[-2:-1] == [_SHORTENED] and kept[-1].isdigit() and len(kept[-1]) <= _MOST_DIGITS:
        return _unpacked(kept[:-2]), int(kept[-1])
    return _unpacked(kept), 0


def _packed(fields: list[bytes]) -> list[bytes]:
    """Return the same fields, or if there are too many of them one that holds all."""
    # What looks like fields that were stored is packed as well, so that what there was always comes back.
    if len(fields) <= MOST_PARTS and fields[:1] != [_PACKED] and fields[-2:-1] != [_SHORTENED]:
        return fields
    return [_PACKED, json.dumps([part.decode("latin-1") for part in fields]).encode()]


def _unpacked(fields: list[bytes]) -> list[bytes]:
    if len(fields) != 2 or fields[0] != _PACKED:
        return fields
    try:
        parts = json.loads(fields[1])
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(parts, list) or len(parts) % 2 or not all(isinstance(part, str) for part in parts):
        raise ValueError("no list of names and values")
    return [part.encode("latin-1") for part in parts]


def decoded(raw: bytes) -> str:
    """Return bytes as text, those that are none as escapes."""
    return raw.decode(errors="backslashreplace")


def _encoded(value: str | bytes) -> bytes:
    # A message can have halves of surrogate pairs, which UTF-8 has no form for.
    return value if isinstance(value, bytes) else value.encode(errors="backslashreplace")
