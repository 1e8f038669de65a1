"""
What a dead letter looks like in Redis: the original fields of the entry, followed by ten that say why it is one.

A stream's entry can have more fields than a Lua script can hand to XADD. Those of such an entry are packed into one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from edx_event_bus_redis.internal.message import Entry

# In this order behind the original fields. The attributes of DeadLetter of the same names say what they are.
_FACTS = (
    *(b"dead_entry_id", b"dead_cause", b"dead_deliveries", b"dead_consumer", b"dead_worker_exit"),
    *(b"dead_exception", b"dead_message", b"dead_traceback", b"dead_time", b"dead_history"),
)
_ADDED = 2 * len(_FACTS)

_PACKED = b"dead_packed"

# Names and values of an entry that is kept as it is. Lua's unpack gives up at about 8000 (LUAI_MAXCSTACK in luaconf.h).
_MOST_PARTS = 4000


class DeadLetter(NamedTuple):
    """
    A dead letter.

    Attributes:
        id: of the dead letter.
        fields: of the entry, names and values alternating.
        stored: number of names and values that these are in Redis; fewer than there are if they are packed.
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
        return list(json.loads(self.history)) if self.history else []

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
    if tuple(facts[::2]) != _FACTS:
        milliseconds = int(entry.id.partition(b"-")[0])
        stored, facts = raw, encode_facts(Entry(entry.id, None), cause="not known", deliveries=0, consumer="")
        facts[2 * _FACTS.index(b"dead_time") + 1] = b"%d" % (milliseconds // 1000)
    entry_id, *texts, history = facts[1::2]
    cause, deliveries, consumer, worker_exit, exception, message, traceback, moment = map(decoded, texts)
    return DeadLetter(
        id=entry.id,
        fields=unpacked(stored),
        stored=len(stored),
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


def packed(fields: Sequence[bytes]) -> list[bytes]:
    """Return fields that a script can handle: the same, or if there are too many of them one that holds all."""
    # What looks like packed fields is packed as well, so that unpacking always gives what there was.
    if len(fields) <= _MOST_PARTS and fields[:1] != [_PACKED]:
        return list(fields)
    return [_PACKED, json.dumps([part.decode("latin-1") for part in fields]).encode()]


def unpacked(fields: list[bytes]) -> list[bytes]:
    """Return the fields that ``packed`` was given."""
    if len(fields) != 2 or fields[0] != _PACKED:
        return fields
    return [part.encode("latin-1") for part in json.loads(fields[1])]


def decoded(raw: bytes) -> str:
    """Return bytes as text, those that are none as escapes."""
    return raw.decode(errors="backslashreplace")


def _encoded(value: str | bytes) -> bytes:
    # A message can have halves of surrogate pairs, which UTF-8 has no form for.
    return value if isinstance(value, bytes) else value.encode(errors="backslashreplace")
