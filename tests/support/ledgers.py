"""The records of a group's ledger, one by one; the product only needs what they come to."""

from typing import NamedTuple

from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.losses import Loss
from edx_event_bus_redis.internal.message import is_id, split_id


class Record(NamedTuple):
    """A record: when (unix seconds), why, what was lost, and who has found out."""

    time: float
    reason: str
    loss: Loss
    by: str


def records_of(ledger: Ledger, count: int = 10) -> list[Record]:
    """Return the newest records, newest first: so many at the most, less what is none."""
    found = []
    for record_id, fields in ledger.stream.newest(ledger.key, count):
        first, last, number = (fields.get(name, b"") for name in (b"first", b"last", b"count"))
        if is_id(first) and is_id(last) and number.isdigit():
            reason, by = (fields.get(name, b"").decode() for name in (b"reason", b"by"))
            found.append(Record(split_id(record_id)[0] / 1000, reason, Loss(int(number), first, last), by))
    return found
