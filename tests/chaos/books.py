"""
The books of a run, by event id, and whether they balance.

Every event that the server took is handled, or a dead letter, or its entry lies in a range of the ledger of losses. It
is handled more than once only if the process that had handled it was killed or frozen before the acknowledgement: one
such event for a handler that is slower than the ack window, as many as fit into two windows for a faster one. Where the
group was deleted, events of that moment may be, too.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from edx_event_bus_redis.internal.pace import ACK_WINDOW, BATCH_LIMIT
from tests.support.consuming import Handled

# Events of a handler that does nothing which may be repeated when its process is killed: those of the window that is
# open, and of the one before if its acknowledgement is on its way to a server that does not take it. 0.1 ms is the
# least that handling one takes.
FAST_REPEATS = round(2 * ACK_WINDOW / 0.0001)

# Seconds within which a group that was deleted is made anew, and before which what was read then was sent.
DESTROYED_SECONDS = 2.0

# Seconds since the last look of a monitor, at the most, when a group is made anew: a network may be dead for 7 before,
# and then two time-outs have to end and a monitor that has died meanwhile to be replaced.
LOOK_SECONDS = 15.0

# Entries that the two workers of a pool have in hand at the most. They are taken off what was pending at the last look,
# though they may have been read since.
MOST_HELD = 2 * BATCH_LIMIT

# Where a record begins if no monitor had looked: it has the count 0, and says nothing.
UNKNOWN_FIRST = "0-1"

# Seconds after which an event that failed is settled. Those that are to be delivered again have other ids until then.
RETRY_SECONDS = 60.0
RETRIED = frozenset({"fails", "fails once"})

# Handlers that are slower than the ack window.
SLOW = frozenset({"slow", "slower"})
NEVER_HANDLED = frozenset({"fails", "kills"})


@dataclass(frozen=True)
class Sent:
    """
    An event that was sent.

    Attributes:
        kind: what its handler does.
        entry_id: where it is in the stream; None if the server did not answer, so that it may be there or not.
    """

    kind: str
    entry_id: str | None


@dataclass(frozen=True)
class Ended:
    """A process that had handled events and was killed, or frozen for a while: by whom, and when (seconds)."""

    pid: int
    how: str
    at: float


@dataclass(frozen=True)
class Loss:
    """A record of the ledger: ids from first to last, why, how many, and when it was entered (seconds)."""

    first: str
    last: str
    reason: str
    count: int
    at: float = 0.0


@dataclass
class Books:
    """
    What is known of a run.

    Attributes:
        sent: by event id.
        handled: by receivers, in order.
        begun: by receivers, in order.
        dead: deliveries that the dead letter of an event says it had, by event id.
        ledger: the losses.
        ended: processes that were killed or frozen.
        destroyed: when the group was deleted while all workers lived, and the stream stayed.
        flushed: when the server was flushed, and with all else it forgot how often an event was started.
        survivors: processes of the workers that were there at the end.
    """

    sent: dict[str, Sent] = field(default_factory=dict)
    handled: list[Handled] = field(default_factory=list)
    begun: list[Handled] = field(default_factory=list)
    dead: dict[str, int] = field(default_factory=dict)
    ledger: list[Loss] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    destroyed: list[float] = field(default_factory=list)
    flushed: list[float] = field(default_factory=list)
    survivors: set[int] = field(default_factory=set)

    def flushes_between_starts(self, event_id: str) -> int:
        """Return how many flushes there were between the first start of an event and the last."""
        starts = [each.at for each in self.begun if each.event_id == event_id]
        return sum(min(starts) < at < max(starts) for at in self.flushed)

    def lost(self) -> set[str]:
        """Return the events whose entries lie in a range of the ledger and that nobody has handled."""
        settled = {each.event_id for each in self.handled} | self.dead.keys()
        losses = [loss for loss in self.ledger if not self.costs_nothing(loss)]
        return {
            event_id
            for event_id, sent in self.sent.items()
            if event_id not in settled and sent.entry_id is not None and _lies_in(sent.entry_id, losses)
        }

    def costs_nothing(self, loss: Loss) -> bool:
        """Whether a group was deleted of which every entry was unread or in the hands of a worker that lived."""
        return loss.reason == "group_gone" and any(0 <= loss.at - at < DESTROYED_SECONDS for at in self.destroyed)

    def may_be_delivered_anew(self, event_id: str) -> bool:
        """Whether one pool had read an event that another one had not seen yet when it made a deleted group anew."""
        entry_id = self.sent[event_id].entry_id
        if entry_id is None:
            return False
        seconds = split(entry_id)[0] / 1000
        return any(-DESTROYED_SECONDS < seconds - at < DESTROYED_SECONDS for at in self.destroyed)

    def repeats(self) -> dict[int, list[str]]:
        """Return the events that were handled again later, by the process that had handled them before."""
        by_event: dict[str, list[int]] = defaultdict(list)
        for each in self.handled:
            by_event[each.event_id].append(each.pid)
        found: dict[int, list[str]] = defaultdict(list)
        for event_id, pids in by_event.items():
            for pid in pids[:-1]:
                found[pid].append(event_id)
        return found

    def take_overs(self) -> dict[str, list[float]]:
        """Return the seconds from the end of a process until what it had in hand was begun again, by how it ended."""
        begun: dict[str, list[Handled]] = defaultdict(list)
        last: dict[int, Handled] = {}
        for each in self.begun:
            begun[each.event_id].append(each)
            last[each.pid] = each
        done = {(each.event_id, each.pid) for each in self.handled}
        found: dict[str, list[float]] = defaultdict(list)
        for event_id, starts in begun.items():
            if event_id in self.sent and self.sent[event_id].kind == "kills":
                gaps = (after.at - before.at for before, after in itertools.pairwise(starts))
                found["worker killed by its event"] += gaps
        for end in self.ended:
            hand = last.get(end.pid)
            if "killed" not in end.how or hand is None or (hand.event_id, hand.pid) in done:
                continue
            later = [each.at for each in begun[hand.event_id] if each.at > end.at and each.pid != end.pid]
            if later:
                found[end.how].append(min(later) - end.at)
        return found


def faults_of(books: Books, *, max_deliveries: int) -> list[str]:
    """Return what is wrong with the books, one line each; nothing if they balance."""
    handled = Counter(each.event_id for each in books.handled)
    begun = Counter(each.event_id for each in books.begun)
    settled = handled.keys() | books.dead.keys() | books.lost()
    wrong = [
        f"event {event_id} ({sent.kind}, entry {sent.entry_id}) is neither handled, though begun {begun[event_id]} "
        f"times, nor a dead letter, nor in the ledger"
        for event_id, sent in books.sent.items()
        if sent.entry_id is not None and event_id not in settled
    ]
    wrong += [f"event {event_id} was never sent" for event_id in settled - books.sent.keys()]
    wrong += [
        f"event {event_id} ({books.sent[event_id].kind}) is a dead letter after {begun[event_id]} starts only"
        for event_id in books.dead.keys() & books.sent.keys()
        if books.sent[event_id].kind not in NEVER_HANDLED and begun[event_id] < max_deliveries
    ]
    wrong += [
        f"event {event_id} has killed {begun[event_id]} workers, {max_deliveries} are allowed"
        for event_id, sent in books.sent.items()
        if sent.kind == "kills"
        and begun[event_id] > max_deliveries
        and begun[event_id] > max_deliveries * (1 + books.flushes_between_starts(event_id))
    ]
    return wrong + _too_many_repeats(books) + _miscounted(books)


def _too_many_repeats(books: Books) -> list[str]:
    # One that is not there any more was killed: by us, by an event, or together with its supervisor.
    harmed = Counter(end.pid for end in books.ended)
    wrong = []
    for pid, event_ids in books.repeats().items():
        unexpected = [each for each in event_ids if each in books.sent and not books.may_be_delivered_anew(each)]
        kinds = Counter(books.sent[event_id].kind in SLOW for event_id in unexpected)
        allowed = harmed[pid] or int(pid not in books.survivors)
        if kinds[True] > allowed or kinds[False] > allowed * FAST_REPEATS:
            wrong.append(
                f"{kinds[True]} events of slow and {kinds[False]} of fast handlers were handled again after process "
                f"{pid} had handled them, which was killed or frozen {allowed} times: {', '.join(event_ids[:5])}"
            )
    return wrong


def _miscounted(books: Books) -> list[str]:
    """
    Whether the ledger counts as many as are lost.

    Of what was trimmed or deleted it knows the number. Of a group that was made anew it knows that as of the last look
    of a monitor only, so that a record is compared with what may have been lost in its range, and with what has to.
    """
    gone = [loss for loss in books.ledger if loss.reason == "group_gone"]
    known = [loss for loss in books.ledger if loss.reason != "group_gone"]
    costly = [loss for loss in gone if not books.costs_nothing(loss)]
    entry_of = {event_id: sent.entry_id for event_id, sent in books.sent.items() if sent.entry_id is not None}
    lost = [entry_of[event_id] for event_id in books.lost()]
    # What nobody knows to be sent may be lost.
    unsure = len(books.sent) - len(entry_of)
    order = sorted(map(split, entry_of.values()))

    def places(loss: Loss) -> range:
        return range(bisect.bisect_left(order, split(loss.first)), bisect.bisect_right(order, split(loss.last)))

    def most_of(loss: Loss) -> int:
        return len(places(loss)) + unsure + (_retried_before(books, loss) if loss in gone else 0)

    def least_of(loss: Loss) -> int:
        others = [each for each in books.ledger if each is not loss]
        early = (each for each in lost if split(each)[0] / 1000 < loss.at - LOOK_SECONDS)
        return sum(_lies_in(each, [loss]) and not _lies_in(each, others) for each in early) - MOST_HELD

    wrong = [
        f"{_named(loss)} counts {loss.count} events, and there were {most_of(loss)} at the most"
        for loss in books.ledger
        if loss.count > most_of(loss)
    ]
    wrong += [
        f"{_named(loss)} counts {loss.count} events, and at least {least_of(loss)} are lost by it"
        for loss in costly
        if loss.count < least_of(loss)
        and loss.first != UNKNOWN_FIRST
        and not _may_not_know_what_was_unread(loss, known)
    ]
    # What was handled and not acknowledged may be counted, too.
    repeats = sum(len(event_ids) for event_ids in books.repeats().values()) + len(books.ended) * FAST_REPEATS
    in_known = len({place for loss in known for place in places(loss)})
    lost_in_known = sum(_lies_in(each, known) for each in lost)
    least = sum(not _lies_in(each, costly) for each in lost)
    most = lost_in_known + unsure + min(repeats, in_known - lost_in_known)
    counted = sum(loss.count for loss in known)
    if not least <= counted <= most:
        wrong.append(
            f"{least} to {most} events are lost otherwise than with the group, and the ledger counts {counted}"
        )
    return wrong


def _retried_before(books: Books, loss: Loss) -> int:
    """Return how many events may have waited to be delivered again, of which the ids say nothing."""
    seconds = split(loss.last)[0] / 1000
    return sum(
        sent.kind in RETRIED
        and sent.entry_id is not None
        and seconds - RETRY_SECONDS <= split(sent.entry_id)[0] / 1000 <= seconds
        for sent in books.sent.values()
    )


def _may_not_know_what_was_unread(loss: Loss, known: Collection[Loss]) -> bool:
    """Whether something unread was deleted before; until that is counted a monitor takes what is unread for nothing."""
    return any(each.reason == "trimmed" and 0 <= loss.at - each.at < LOOK_SECONDS for each in known)


def _named(loss: Loss) -> str:
    return f"the ledger's record {loss.reason} from {loss.first} to {loss.last}"


def split(entry_id: str) -> tuple[int, int]:
    """Return an entry id in a form that can be compared."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def losses(records: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Loss]:
    """Return what records of a ledger say."""
    return [
        Loss(
            *(fields[name].decode() for name in (b"first", b"last", b"reason")),
            count=int(fields[b"count"]),
            at=split(record_id.decode())[0] / 1000,
        )
        for record_id, fields in records
    ]


def _lies_in(entry_id: str, ledger: Collection[Loss]) -> bool:
    return any(split(loss.first) <= split(entry_id) <= split(loss.last) for loss in ledger)
