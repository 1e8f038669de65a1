"""
What a group has for itself beside the topic's stream, all in its hash slot:

``later``   events that wait for their retry, by the time at which they are due (sorted set)
``again``   events to be delivered to this group again: retries that are due, and replayed dead letters (stream)
``starts``  how often suspects were started, of which a worker may have died, and how one did, if it is known (hash)
``dead``    dead letters (stream)
``left``    when consumers left on purpose that had something (hash; ``stream.py`` reads it, as setting up does)
``taken``   pending entries that were taken from consumers which may not know it (sorted set; for a day)

An event moves between these and the topic's stream in one step each. So it is never lost between two of them, other
groups never see it again, and it survives that the topic's stream is trimmed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis
from redis.commands.core import Script

from edx_event_bus_redis.internal import outcome_scripts, scripts
from edx_event_bus_redis.internal.again import again_fields
from edx_event_bus_redis.internal.death import Death, encode_death, parse_death
from edx_event_bus_redis.internal.errors import EventGone
from edx_event_bus_redis.internal.letter import MOST_PARTS, DeadLetter, decoded, stored
from edx_event_bus_redis.internal.losses import Loss
from edx_event_bus_redis.internal.message import Entry, is_id
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.server_errors import translated_errors
from edx_event_bus_redis.internal.sizes import NO_LIMIT, READ_AHEAD_BYTES

# Entries moved from later to again in one step.
_PROMOTE_LIMIT = 100

# What is kept of a suspect of which it is known how a worker died; see ``scripts``.
_KNOWN_DEATH = re.compile(rb"\d+ (\d{1,9}) (.+)", re.DOTALL)

# Events that wait of which the origins are looked at.
_MOST_ORIGINS = 500


class Promoted(NamedTuple):
    """What is to be delivered again: how many entries now, and seconds until the next retry is due, None for never."""

    waiting: int
    next_due: float | None


class Buried(NamedTuple):
    """
    What came of making a dead letter.

    Attributes:
        dropped: older dead letters that made room, by the ids that their events had; in the ledger. None if none did.
        trouble: why they could not be entered into the ledger, and so are still there; empty if nothing is wrong.
    """

    dropped: Loss | None
    trouble: str


class Reclaimed(NamedTuple):
    """
    What a dead worker had.

    Attributes:
        entries: as raw replies, ``[id, [name, value, …]]``; they are pending.
        lost: what the stream does not have any more, None if nothing; that is in the ledger.
    """

    entries: list[Any]
    lost: Loss | None


class Waiting(NamedTuple):
    """
    What waits to be delivered again.

    Attributes:
        number: of the events.
        origins: the ids that they had in the topic's stream; none if there are too many of them.
    """

    number: int
    origins: list[bytes]

    @property
    def are_too_many(self) -> bool:
        """Whether not all origins are known."""
        return self.number > len(self.origins)


class GroupStore:
    """
    The private keys of one group.

    Arguments:
        client: of ``make_client``.
        stream: the topic's stream.
        group: name of the group.
        consumer: name of the consumer that has entries in hand; empty if there is none.

    Every method raises ServerError or one of its subclasses.
    """

    def __init__(self, client: redis.Redis, stream: str, group: str, consumer: str = "") -> None:
        self._client = client
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self.later, self.again, self.starts, self.dead = (
            group_key(stream, kind, group) for kind in ("later", "again", "starts", "dead")
        )
        self._taken, self._lost = (group_key(stream, kind, group) for kind in ("taken", "lost"))
        self._left = group_key(stream, "left", group)
        self._leave = client.register_script(scripts.LEAVE)
        self._retry_later = client.register_script(outcome_scripts.RETRY_LATER)
        self._bury = client.register_script(outcome_scripts.BURY)
        self._put_back = client.register_script(outcome_scripts.PUT_BACK)
        self._dropped = client.register_script(outcome_scripts.DROPPED)
        self._reclaim = client.register_script(outcome_scripts.RECLAIM)
        self._replay = client.register_script(scripts.REPLAY)
        self._promote = client.register_script(scripts.PROMOTE)
        self._waiting = client.register_script(scripts.WAITING)
        self._count_death = client.register_script(scripts.COUNT_DEATH)
        self._mark_suspects = client.register_script(scripts.MARK_SUSPECTS)
        self._begin_suspect = client.register_script(scripts.BEGIN_SUSPECT)

    def retry_later(self, entry: Entry, seconds: float) -> bool:
        """
        Put an entry in hand aside, to be delivered again after so many seconds.

        Returns:
            False if another consumer has finished it. One that was dropped is put aside, too: pending or not.
        """
        fields: list[bytes | int] = [round(seconds * 1000), *self._fields(entry, failures=entry.failures + 1)]
        return bool(self._settle(self._retry_later, entry, self.later, fields))

    def bury(self, entry: Entry, facts: Sequence[bytes], max_len: int) -> Buried | None:
        """
        Make an entry in hand a dead letter; return None where ``retry_later`` returns False.

        Arguments:
            entry: with its original fields, which the dead letter begins with.
            facts: of ``encode_facts``.
            max_len: dead letters to keep, approximately.
        """
        reply = self._settle(self._bury, entry, self.dead, [max_len, *stored(entry), *facts])
        if not reply:
            return None
        count, first, last, trouble = reply
        words = f"{decoded(trouble)} ({self._lost})" if trouble else ""
        return Buried(Loss(count, first, last) if count else None, words)

    def put_back(self, entries: Sequence[Entry]) -> int:
        """
        Have those delivered again, to whoever is there, that were dropped while they were in hand; return how many.

        Arguments:
            entries: of one stream. They must not have been begun.
        """
        if not entries:
            return 0
        keys = [self._source(entries[0]), self.starts, self._taken, self._lost]
        arguments: list[str | bytes] = [
            self._group,
            _flag(entries[0]),
            self._consumer,
            *(entry.id for entry in entries),
        ]
        with translated_errors(*keys):
            dropped = set(self._dropped(keys=keys, args=arguments))
        return sum(
            bool(self._settle(self._put_back, entry, self.later, self._fields(entry, failures=entry.failures)))
            for entry in entries
            if entry.id in dropped
        )

    def reclaim(self, ids: Sequence[bytes], *, again: bool, largest: int = NO_LIMIT) -> Reclaimed:
        """
        Return what the predecessor of this consumer had in hand when it died; pending again, if it was dropped.

        Arguments:
            ids: what it had.
            again: whether it was delivered again.
            largest: bytes of an entry of which all is returned.

        What is pending for the consumer, but was deleted from the stream, is left for those who read it; also what has
        too many bytes together with the rest.
        """
        if not ids:
            return Reclaimed([], None)
        keys = [self.again if again else self._stream, self.starts, self._taken, self._lost]
        with translated_errors(*keys):
            most = NO_LIMIT if again else largest
            arguments: list[str | bytes | int] = [self._group, int(again), self._consumer, most, READ_AHEAD_BYTES, *ids]
            entries, count, *range_ = self._reclaim(keys=keys, args=arguments)
        return Reclaimed(entries, Loss(count, *range_) if count else None)

    def leave(self) -> None:
        """Have this consumer leave on purpose: its name is removed, or it leaves word that others may take over."""
        keys = [self._left, self._stream, self.again]
        with translated_errors(*keys):
            self._leave(keys=keys, args=[self._group, self._consumer])

    def _settle(self, script: Script, entry: Entry, target: str, arguments: Sequence[bytes | int]) -> Any:
        keys = [self._source(entry), self.starts, self._taken, self._lost, target]
        about: list[str | bytes | int] = [self._group, entry.id, _flag(entry), self._consumer]
        with translated_errors(*keys):
            return script(keys=keys, args=about + list(arguments))

    @staticmethod
    def _fields(entry: Entry, *, failures: int) -> list[bytes]:
        return [*stored(entry), *again_fields(entry.original_id, failures, entry.history)]

    def replay(self, letter: DeadLetter) -> bool:
        """
        Hand a dead letter's event to this group again; return False if the dead letter is gone.

        Raises:
            EventGone: the event was too large to be kept in the dead letter, and is not in the topic's stream any more.
        """
        added = again_fields(letter.entry_id, 0, letter.history_when_replayed())
        original, keys = b"", [self.dead, self.again]
        if letter.size:
            # Not else: operators need no right to the stream.
            original, keys = letter.entry_id, [*keys, self._stream]
        arguments: list[str | bytes | int] = [self._group, letter.id, letter.stored, original, MOST_PARTS, *added]
        with translated_errors():
            replayed = self._replay(keys=keys, args=arguments)
        if replayed < 0:
            raise EventGone(f"entry {decoded(letter.entry_id)} is gone, or has more than {MOST_PARTS // 2} fields")
        return bool(replayed)

    def promote(self) -> Promoted:
        """Make the retries that are due ready to be read from ``again``, and say what there is."""
        with translated_errors(self.later, self.again):
            waiting, due = self._promote(
                keys=[self.later, self.again], args=[self._group, _PROMOTE_LIMIT, READ_AHEAD_BYTES]
            )
        return Promoted(waiting, None if due < 0 else due / 1000)

    def waiting(self) -> Waiting:
        """Return how many events wait to be delivered again, and where they came from."""
        with translated_errors(self.later, self.again):
            arguments = [_MOST_ORIGINS, READ_AHEAD_BYTES]
            number, origins = self._waiting(keys=[self.later, self.again], args=arguments)
        return Waiting(number, [origin for origin in origins if is_id(origin)])

    def counted_starts(self, entries: Sequence[Entry]) -> set[bytes]:
        """Return the ids of those entries whose starts are counted: they are suspects."""
        with translated_errors():
            counts = self._client.hmget(self.starts, [_field(entry) for entry in entries])
        return {entry.id for entry, count in zip(entries, counts, strict=True) if count is not None}

    def count_death(self, death: Death) -> None:
        """
        Count the start that a worker of this consumer's name has died of, if none of the entry is counted yet, and keep
        how it died, if the entry is still pending. It may be called again.
        """
        source = self.again if death.again else self._stream
        with translated_errors(source, self.starts):
            about: list[str | bytes | int] = [self._group, death.entry_id, int(death.again), self._consumer]
            self._count_death(keys=[source, self.starts], args=[*about, encode_death(death)])

    def known_death(self, entry: Entry) -> tuple[int, Death] | None:
        """Return the last start of an entry of which it is known how a worker died, and how; None if there is none."""
        with translated_errors(self.starts):
            (kept,) = self._client.hmget(self.starts, [_field(entry)])
        found = _KNOWN_DEATH.fullmatch(kept) if isinstance(kept, bytes) else None
        death = parse_death(entry.id, found[2], again=entry.origin is not None) if found else None
        return (int(found[1]), death) if found and death else None

    def mark_suspects(self, entries: Sequence[Entry]) -> None:
        """Make suspects of entries, not none, that are no suspects yet: each may have been started without a count."""
        with translated_errors(self.starts):
            self._mark_suspects(keys=[self.starts], args=list(map(_field, entries)))

    def begin_suspect(self, entry: Entry, *, most: int, uncounted: int) -> int:
        """
        Count a start of a suspect, before it happens.

        Arguments:
            entry: the suspect.
            most: starts that an entry gets.
            uncounted: starts that it is reckoned to have had if none is counted.

        Returns:
            The number of this start, or minus the number of starts if these are enough.
        """
        with translated_errors(self.starts):
            return int(self._begin_suspect(keys=[self.starts], args=[_field(entry), most, uncounted]))

    def clear_suspect(self, entry: Entry) -> None:
        """Forget the starts of an entry that was handled."""
        with translated_errors():
            self._client.hdel(self.starts, _field(entry))

    def _source(self, entry: Entry) -> str:
        return self.again if entry.origin else self._stream


def _flag(entry: Entry) -> str:
    return "1" if entry.origin else "0"


def _field(entry: Entry) -> bytes:
    """The field of ``starts``; as in the scripts."""
    return _flag(entry).encode() + b"/" + entry.id
