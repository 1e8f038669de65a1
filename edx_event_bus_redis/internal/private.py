"""
What a group has for itself beside the topic's stream, all in its hash slot:

``later``   events that wait for their retry, by the time at which they are due (sorted set)
``again``   events to be delivered to this group again: retries that are due, and replayed dead letters (stream)
``starts``  how often suspects were started, of which a worker may have died (hash)
``dead``    dead letters (stream)
``left``    when consumers left on purpose (hash; ``stream.py`` reads it, because setting up the group does)

An event moves between these and the topic's stream in one step each. So it is never lost between two of them, other
groups never see it again, and it survives that the topic's stream is trimmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import redis

from edx_event_bus_redis.internal import scripts
from edx_event_bus_redis.internal.letter import DeadLetter, packed, unpacked
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.stream import Stream, translated_errors

# Entries moved from later to again in one step.
_PROMOTE_LIMIT = 100

# What is added to the fields of an entry that is delivered again; always these, always last.
_ORIGIN, _FAILURES, _HISTORY = b"again_origin", b"again_failures", b"again_history"
_ADDED = 6


class Promoted(NamedTuple):
    """What is to be delivered again: how many entries now, and seconds until the next retry is due, None for never."""

    waiting: int
    next_due: float | None


class AgainStream(Stream):
    """The stream of what is delivered again to one group. An entry is deleted when it is acknowledged."""

    def acknowledge(self, group: str, ids: Sequence[bytes]) -> None:
        """Acknowledge entries and delete them."""
        with translated_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.execute_command("XACK", self.key, group, *ids)
            pipeline.execute_command("XDEL", self.key, *ids)
            pipeline.execute()

    def _entry(self, entry_id: bytes, fields: list[bytes] | None) -> Entry:
        if not fields:
            return Entry(entry_id, fields)
        if fields[-_ADDED::2] != [_ORIGIN, _FAILURES, _HISTORY] or not fields[-3].isdigit():
            # Not put here by this package. It is nobody's event, but has to be got rid of as one.
            return Entry(entry_id, fields, origin=entry_id)
        origin, failures, history = fields[-_ADDED + 1 :: 2]
        return Entry(entry_id, unpacked(fields[:-_ADDED]), origin, int(failures), history)


class GroupStore:
    """
    The private keys of one group.

    Arguments:
        client: of ``make_client``.
        stream: the topic's stream.
        group: name of the group.

    Every method raises ServerError or one of its subclasses.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str) -> None:
        self._client = client
        self._stream = stream
        self._group = group
        self.later, self.again, self.starts, self.dead = (
            group_key(stream, kind, group) for kind in ("later", "again", "starts", "dead")
        )
        self._retry_later = client.register_script(scripts.RETRY_LATER)
        self._bury = client.register_script(scripts.BURY)
        self._replay = client.register_script(scripts.REPLAY)
        self._promote = client.register_script(scripts.PROMOTE)
        self._begin_suspect = client.register_script(scripts.BEGIN_SUSPECT)

    def retry_later(self, entry: Entry, seconds: float) -> None:
        """Put a pending entry aside, to be delivered again to this group after so many seconds."""
        fields = [*packed(entry.fields or []), *_again(entry.original_id, entry.failures + 1, entry.history)]
        keys = [self._source(entry), self.starts, self.later]
        arguments: list[str | bytes | int] = [self._group, entry.id, _flag(entry), round(seconds * 1000), *fields]
        with translated_errors():
            self._retry_later(keys=keys, args=arguments)

    def bury(self, entry: Entry, facts: Sequence[bytes], max_len: int) -> None:
        """
        Make a pending entry a dead letter.

        Arguments:
            entry: with its original fields, which the dead letter begins with.
            facts: of ``encode_facts``.
            max_len: dead letters to keep, approximately.
        """
        keys = [self._source(entry), self.starts, self.dead]
        arguments: list[str | bytes | int] = [self._group, entry.id, _flag(entry), max_len]
        arguments += [*packed(entry.fields or []), *facts]
        with translated_errors():
            self._bury(keys=keys, args=arguments)

    def replay(self, letter: DeadLetter) -> bool:
        """Hand a dead letter's event to this group again; return False if the dead letter is gone."""
        added = _again(letter.entry_id, 0, letter.history_when_replayed())
        arguments: list[str | bytes | int] = [self._group, letter.id, letter.stored, *added]
        with translated_errors():
            return bool(self._replay(keys=[self.dead, self.again], args=arguments))

    def promote(self) -> Promoted:
        """Make the retries that are due ready to be read from ``again``, and say what there is."""
        with translated_errors():
            waiting, due = self._promote(keys=[self.later, self.again], args=[self._group, _PROMOTE_LIMIT])
        return Promoted(waiting, None if due < 0 else due / 1000)

    def counted_starts(self, entries: Sequence[Entry]) -> set[bytes]:
        """Return the ids of those entries whose starts are counted: they are suspects."""
        with translated_errors():
            counts = self._client.hmget(self.starts, [_field(entry) for entry in entries])
        return {entry.id for entry, count in zip(entries, counts, strict=True) if count is not None}

    def begin_suspect(self, entry: Entry, *, before: int, certain: bool, most: int) -> int:
        """
        Count a start of a suspect, before it happens.

        Arguments:
            entry: the suspect.
            before: starts that were made without being counted, if none is counted yet.
            certain: whether these were made; if not, they alone do not make it enough.
            most: starts that an entry gets.

        Returns:
            The number of this start, or minus the number of starts if these are enough.
        """
        arguments: list[str | bytes | int] = [_field(entry), before, int(certain), most]
        with translated_errors():
            return int(self._begin_suspect(keys=[self.starts], args=arguments))

    def clear_suspect(self, entry: Entry) -> None:
        """Forget the starts of an entry that was handled."""
        with translated_errors():
            self._client.hdel(self.starts, _field(entry))

    def _source(self, entry: Entry) -> str:
        return self.again if entry.origin else self._stream


def _again(origin: bytes, failures: int, history: bytes) -> tuple[bytes, ...]:
    return _ORIGIN, origin, _FAILURES, b"%d" % failures, _HISTORY, history


def _flag(entry: Entry) -> str:
    return "1" if entry.origin else "0"


def _field(entry: Entry) -> bytes:
    """The field of ``starts``; as in the scripts."""
    return _flag(entry).encode() + b"/" + entry.id
