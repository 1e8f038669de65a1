"""What the records of a ledger say. Somebody else may have put there what is none: that is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edx_event_bus_redis.internal.losses import Reason

# Records among which the totals are looked for, newest first; as in the script that writes them.
NEWEST = 10

# Of a number that was written here.
_MOST_DIGITS = 15

RawRecords = Iterable[tuple[bytes, Mapping[bytes, bytes]]]


def totals_of(newest: RawRecords) -> dict[str, int]:
    """Return how many events were lost for each reason, and as ``total`` all of them; 0 if none."""
    totals = dict.fromkeys(["total", *Reason], 0)
    for _, fields in newest:
        if _is_number(fields.get(b"total")):
            found = {name: fields.get(_field(name)) for name in totals}
            totals |= {name: int(value) for name, value in found.items() if value is not None and _is_number(value)}
            break
    return totals


def number_of(value: bytes | None) -> int:
    """Return a number of events as a record has it; 0 if it is none."""
    return int(value) if value is not None and _is_number(value) else 0


def _field(name: str) -> bytes:
    return name.encode() if name == "total" else f"total_{name}".encode()


def _is_number(value: bytes | None) -> bool:
    return value is not None and value.isdigit() and len(value) <= _MOST_DIGITS
