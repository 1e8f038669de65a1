"""
The stream of what is delivered again to one group: retries that are due, and replayed dead letters.

What puts entries there is in ``private``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from edx_event_bus_redis.internal import scripts
from edx_event_bus_redis.internal.letter import parse_history, restored
from edx_event_bus_redis.internal.message import Entry, is_id
from edx_event_bus_redis.internal.sizes import NO_LIMIT, shortened, size_of
from edx_event_bus_redis.internal.stream import Stream

# What is added to the fields of an entry that is delivered again; always these, always last.
_ORIGIN, _FAILURES, _HISTORY = b"again_origin", b"again_failures", b"again_history"
_ADDED = 6

# Of the number of failures, which is far from being so large.
_MOST_DIGITS = 9


class AgainStream(Stream):
    """
    The stream of what is delivered again to one group. An entry is deleted when it is acknowledged.

    Arguments:
        client: as of every stream.
        key: as of every stream.
        largest: bytes of an event of which all is kept; what is added to it does not count.
    """

    def __init__(self, client: redis.Redis, key: str, largest: int = NO_LIMIT) -> None:
        super().__init__(client, key)
        self._largest_event = largest
        self._acknowledge = self.script(scripts.ACKNOWLEDGE_AGAIN)

    def acknowledge(self, group: str, ids: Sequence[bytes]) -> None:
        """Acknowledge entries and delete them."""
        self._acknowledge([self.key], [group, *ids])

    def _acknowledgement(self, group: str, ids: Sequence[bytes]) -> tuple[Any, ...]:
        # A server that does not know the script refuses it; then ``acknowledge`` loads it.
        return "EVALSHA", self._acknowledge.sha, 1, self.key, group, *ids

    def _entry(self, entry_id: bytes, fields: list[bytes] | None, *_: int) -> Entry:
        if not fields:
            return Entry(entry_id, fields)
        try:
            entry = delivered_again(entry_id, fields)
        except ValueError:
            # Not put here by this package. It is nobody's event, but has to be got rid of as one.
            entry = Entry(entry_id, fields, origin=entry_id)
        size = entry.size or size_of(entry.fields)
        kept = shortened(entry.fields or []) if size > self._largest_event else entry.fields
        return entry._replace(fields=kept, size=size)


def delivered_again(entry_id: bytes, fields: list[bytes]) -> Entry:
    """Return the entry as it was in the topic's stream, with what was added. Raises ValueError if nothing was."""
    if fields[-_ADDED::2] != [_ORIGIN, _FAILURES, _HISTORY]:
        raise ValueError("no such entry")
    origin, failures, history = fields[-_ADDED + 1 :: 2]
    if not is_id(origin) or not failures.isdigit() or len(failures) > _MOST_DIGITS:
        raise ValueError("no id, or no number")
    parse_history(history)
    event_fields, size = restored(fields[:-_ADDED])
    return Entry(entry_id, event_fields, origin, int(failures), history, size)


def again_fields(origin: bytes, failures: int, history: bytes) -> tuple[bytes, ...]:
    """Return what is added to the fields of an entry: where it came from, and what has become of it so far."""
    return _ORIGIN, origin, _FAILURES, b"%d" % failures, _HISTORY, history
