"""
The dead letters of a group: read in pages, handed to the group again, or deleted; and what is to be told of them.

They are made in ``private``, by the step that takes an entry off the pending entries list.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis
from openedx_events.tooling import OpenEdxPublicSignal

from edx_event_bus_redis.internal.codec import codec_for
from edx_event_bus_redis.internal.errors import EventTooLarge, GroupMissing
from edx_event_bus_redis.internal.letter import DeadLetter, decoded, parse_letter
from edx_event_bus_redis.internal.message import Entry, parse_entry
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.sizes import NO_LIMIT
from edx_event_bus_redis.internal.stream import Stream

# Dead letters that are deleted in one step, so that many never make the server unavailable to others.
_PAGE = 1000

# Dead letters that are read in one step. Each may be as large as EVENT_BUS_REDIS_MAX_EVENT_BYTES.
_READ_PAGE = 20


class DeadLetters:
    """
    The dead letters of one group.

    Arguments:
        client: of ``make_client``.
        stream: key of the topic's stream.
        group: name of the group.
        largest: bytes that an event may have to be replayed.

    Every method raises ServerError or one of its subclasses, iterators when they go on. A group that is gone still has
    its dead letters.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str, largest: int = NO_LIMIT) -> None:
        self._largest = largest
        self._store = GroupStore(client, stream, group)
        self._dead = Stream(client, self._store.dead)
        self._topic_stream = Stream(client, stream)
        self._group = group

    def are_of_a_known_group(self) -> bool:
        """Return whether the group is one of the stream's, or has dead letters, or had some."""
        if self._last_id() is not None:
            return True
        try:
            return self._group in self._topic_stream.about().groups
        except GroupMissing:
            return False

    def all(self) -> Iterator[DeadLetter]:
        """Yield those that there are when this begins, oldest first; not what comes while it goes on."""
        last = self._last_id()
        if last is None:
            return
        after = b"0-0"
        while page := self._dead.entries(b"(" + after, last, _READ_PAGE):
            yield from map(parse_letter, page)
            after = page[-1].id

    def _last_id(self) -> bytes | None:
        """Return the largest id that a dead letter has ever had, None if there never was one."""
        try:
            return self._dead.last_id()
        except GroupMissing:
            return None

    def get(self, letter_id: bytes) -> DeadLetter | None:
        """Return the dead letter of this id, None if there is none."""
        found = self._dead.entries(letter_id, letter_id, 1)
        return parse_letter(found[0]) if found else None

    def replay(self, letter: DeadLetter) -> bool:
        """
        Hand a dead letter's event to this group alone, in one step; return False if the dead letter is gone.

        Raises:
            EventTooLarge: the event still is.
            EventGone: it was too large to be kept in the dead letter, and is not in the topic's stream any more.
        """
        if letter.size > self._largest:
            raise EventTooLarge(letter.size, self._largest)
        return self._store.replay(letter)

    def discard(self, ids: Iterable[bytes]) -> int:
        """Delete dead letters; return how many there were."""
        left = iter(ids)
        deleted = 0
        while page := list(itertools.islice(left, _PAGE)):
            deleted += self._dead.delete(page)
        return deleted


def event_headers(letter: DeadLetter) -> tuple[str | None, str | None]:
    """Return type and id of the event, None for what the entry does not have."""
    fields = dict(_pairs(letter))
    event_type, event_id = (fields.get(name) for name in (b"type", b"id"))
    return _text(event_type), _text(event_id)


def summary(letter: DeadLetter) -> dict[str, Any]:
    """Return all about a dead letter but the fields of its entry, for JSON."""
    event_type, event_id = event_headers(letter)
    return {
        "id": letter.id.decode(),
        "entry_id": decoded(letter.entry_id),
        "event_id": event_id,
        "event_type": event_type,
        "cause": letter.cause,
        "deliveries": letter.deliveries,
        "consumer": letter.consumer,
        "worker_exit": letter.worker_exit,
        "exception": letter.exception,
        "message": letter.message,
        "traceback": letter.traceback,
        "time": letter.moment,
        "history": letter.previous,
        "too_large": letter.size or None,
    }


def details(letter: DeadLetter) -> dict[str, Any]:
    """
    Return everything about a dead letter, for JSON.

    ``event_data`` is None if it cannot be decoded. ``openedx_events.tooling.load_all_signals`` must have been called.
    """
    fields = {decoded(name): decoded(value) for name, value in _pairs(letter)}
    return {**summary(letter), "fields": fields, "event_data": _event_data(letter)}


def _event_data(letter: DeadLetter) -> Any:
    try:
        message = parse_entry(Entry(letter.id, letter.fields), "")
        codec = codec_for(OpenEdxPublicSignal.get_signal_by_type(message.metadata.event_type))
        return json.loads(codec.to_json(codec.decode(message.event_data)))
    except Exception:  # noqa: BLE001 -- a damaged event can raise anything; that it is damaged, the cause says
        return None


def _pairs(letter: DeadLetter) -> Sequence[tuple[bytes, bytes]]:
    return list(zip(letter.fields[::2], letter.fields[1::2], strict=True))


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else decoded(raw)
