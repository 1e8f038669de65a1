"""What a ledger tells of the losses up to a time, from a few of its records, however many it has."""

from __future__ import annotations

from edx_event_bus_redis.internal.ledger_records import NEWEST, number_of, totals_of
from edx_event_bus_redis.internal.stream import Stream


def totals_before(ledger: Stream, milliseconds: int) -> dict[str, int]:
    """
    Return how many events had been lost before a time of the server's clock, in milliseconds since the epoch.

    A ledger is capped: where it does not reach back so far, what it does not have any more counts as lost before.

    Raises:
        ServerError: and its subclasses.
    """
    before = ledger.newest(ledger.key, NEWEST, before=milliseconds)
    if before:
        return totals_of(before)
    oldest = [
        (entry.id, dict(zip(fields[::2], fields[1::2], strict=True)))
        for entry in ledger.entries(b"-", b"+", 1)
        if (fields := entry.fields)
    ]
    totals = totals_of(oldest)
    for _, record in oldest:
        # That of the record itself, which happened after all that is asked for.
        for name in ("total", record.get(b"reason", b"").decode(errors="replace")):
            totals[name] = max(0, totals.get(name, 0) - number_of(record.get(b"count")))
    return totals


def last_loss(ledger: Stream) -> bytes | None:
    """Return the id of the newest record, which tells its time; None if nothing was lost. Raises ServerError."""
    return next((record_id for record_id, _ in ledger.newest(ledger.key, 1)), None)
