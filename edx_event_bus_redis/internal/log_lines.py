"""
The lines that operators may rely on, beside those of the published package, which are in ``telemetry``.

Each kind has a stable name and stable words, and is explained in docs/operations.rst. What varies are fields: they are
in the text, and attributes of the record, so that a formatter that writes JSON has them. Every record also has

* ``log_line``: the name of its kind;
* ``consumer_name``, ``pool`` and ``shard`` of the process that says it, as far as it has them.

The id of the event that a line is about, ``event_id``, is at the end of the text, behind the name of the process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

_identity: dict[str, Any] = {}

_NUMBERED = re.compile(r"\[(?P<field>\w+): (?P<one>[^|\]]+)\|(?P<others>[^\]]+)\]")


def identify(*, consumer_name: str | None = None, pool: str | None = None, shard: int | None = None) -> None:
    """
    Say who this process is, for all lines that it logs from now on.

    Arguments:
        consumer_name: stands at the end of each line whose words do not have it, or the pool's name, anyway.
        pool: name of the pool that it belongs to.
        shard: its number, of a worker.
    """
    _identity.clear()
    _identity.update(consumer_name=consumer_name, pool=pool, shard=shard)


def record_fields(line: str, **fields: Any) -> dict[str, Any]:
    """Return what the record of a line gets as attributes, beside what its words need."""
    return {"log_line": line, **_identity, **fields}


def harmless(text: str) -> str:
    """Return the text, with escapes in it if it has what would begin a new line or control a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _inflected(words: str, fields: Mapping[str, Any]) -> str:
    return _NUMBERED.sub(lambda found: found["one"] if fields.get(found["field"]) == 1 else found["others"], words)


class Line:
    """
    A kind of line.

    Arguments:
        level: of the logging module.
        name: stable, in snake_case; the record's ``log_line``.
        words: a %-format with named fields. ``[count: event|events]`` stands for the first if the field ``count`` is 1,
            else for the second.

    Attributes:
        words: with the plural for whatever is counted.
    """

    def __init__(self, level: int, name: str, words: str) -> None:
        self.level = level
        self.name = name
        self.words = _inflected(words, {})
        self._all_words = words
        self._says_who = "%(pool)s" in words or "%(consumer_name)s" in words

    def log(self, logger: logging.Logger, *, exc_info: bool = False, **fields: Any) -> None:
        """Log such a line with these values. Ids may be bytes; only a stack may have several lines."""
        if not logger.isEnabledFor(self.level):
            return
        shown = {name: value if name == "stack" else _shown(value) for name, value in fields.items()}
        record = record_fields(self.name, **shown)
        words = _inflected(self._all_words, shown)
        about = [] if self._says_who or not record.get("consumer_name") else ["%(consumer_name)s"]
        if record.get("event_id"):
            about.append("event %(event_id)s")
        if about:
            words += f" [{', '.join(about)}]"
        logger.log(self.level, words, record, extra=record, exc_info=exc_info, stacklevel=2)


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, BaseException):
        return value if str(value).isprintable() else harmless(str(value))
    return harmless(value) if isinstance(value, str) else value


_INFO, _WARNING, _ERROR, _CRITICAL = logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL

# The position of a group.
GROUP_CREATED = Line(_INFO, "group_created", "Created group %(group)s on stream %(stream)s")
CURSOR_STAYS = Line(
    _INFO,
    "cursor_stays",
    "Group %(group)s on stream %(stream)s has live consumers (%(live)s): its cursor stays",
)
CURSOR_MOVED = Line(
    _INFO,
    "cursor_moved",
    "Group %(group)s on stream %(stream)s: its cursor moved from %(old)s to %(new)s",
)
GROUP_MADE_ANEW = Line(
    _ERROR,
    "group_made_anew",
    "Group %(group)s on stream %(stream)s was gone; made anew with its cursor at %(cursor)s",
)

# Losses.
LOST_SKIPPED = Line(
    _ERROR,
    "lost_skipped",
    "Group %(group)s on stream %(stream)s skipped %(count)d [count: event|events] that it had not read: its cursor "
    "moved from %(old)s to %(new)s",
)
LOST_TRIMMED = Line(
    _ERROR,
    "lost_trimmed",
    "Lost %(count)d [count: event|events]: group %(group)s on stream %(stream)s: trimmed before [count: it was|they "
    "were] read (entries %(first)s to %(last)s)",
)
LOST_DELETED = Line(
    _ERROR,
    "lost_deleted",
    "Lost %(count)d [count: event|events]: [count: it was|they were] pending in group %(group)s, and stream "
    "%(stream)s has been trimmed or [count: it was|they were] deleted (entries %(first)s to %(last)s)",
)
LOST_WITH_GROUP = Line(
    _ERROR,
    "lost_with_group",
    "Lost %(count)d [count: event|events]: group %(group)s on stream %(stream)s: it was gone; about so many as it "
    "had pending or unread the moment before (entries %(first)s to %(last)s)",
)
LOST_FORGOTTEN = Line(
    _ERROR,
    "lost_forgotten",
    "Lost about %(count)d [count: event|events]: stream %(stream)s has forgotten its last entries, at least "
    "%(forgotten)d, and group %(group)s had not read so many of them (entries %(first)s to %(last)s)",
)
LOST_WITH_WORKER = Line(
    _ERROR,
    "lost_with_worker",
    "Lost %(count)d [count: event|events]: group %(group)s on stream %(stream)s was gone, or its consumer, when the "
    "worker died that had [count: it|them] in hand, and the stream does not have [count: it|them] any more (entries "
    "%(first)s to %(last)s)",
)
LOST_DEAD_LETTERS = Line(
    _ERROR,
    "lost_dead_letters",
    "Lost %(count)d [count: event|events] that had failed: group %(group)s on stream %(stream)s had more dead letters "
    "than it keeps, and dropped the oldest (entries %(first)s to %(last)s)",
)
LOST_UNKNOWN = Line(
    _ERROR,
    "lost_unknown",
    "What group %(group)s on stream %(stream)s had pending or unread is lost, and it is not known how many events that "
    "were",
)
FALLS_BEHIND = Line(
    _WARNING,
    "falls_behind",
    "Group %(group)s on stream %(stream)s falls behind: %(unread)d of %(cap)d entries unread, %(when)s",
)
CAUGHT_UP = Line(
    _WARNING,
    "caught_up",
    "Group %(group)s on stream %(stream)s has caught up: %(unread)d of %(cap)d entries unread",
)
STREAM_OUTGROWN = Line(
    _WARNING,
    "stream_outgrown",
    "Stream %(stream)s has %(length)d [length: entry|entries], its cap is %(cap)d, and may grow until the server has "
    "no memory left: some group does not acknowledge what it has, or nothing trims the stream; event_bus_status "
    "--check tells which",
)
STREAM_SHRUNK = Line(
    _INFO,
    "stream_shrunk",
    "Stream %(stream)s is trimmed again: it has %(length)d [length: entry|entries], its cap is %(cap)d",
)
CANNOT_CHECK = Line(
    _ERROR,
    "cannot_check",
    "Group %(group)s on stream %(stream)s cannot be checked for losses: %(error)s",
)
CAN_CHECK_AGAIN = Line(
    _WARNING,
    "can_check_again",
    "Group %(group)s on stream %(stream)s can be checked for losses again",
)

# Single events.
RETRY = Line(
    _WARNING,
    "retry",
    "Entry %(entry_id)s of stream %(stream)s is tried again in %(seconds).1f s: retry %(retry)d of %(retries)d for "
    "group %(group)s",
)
STARTED_AGAIN = Line(
    _WARNING,
    "started_again",
    "Entry %(entry_id)s of stream %(stream)s is started again for group %(group)s, start %(start)d of %(starts)d: "
    "%(cause)s",
)
DEAD_LETTER = Line(
    _ERROR,
    "dead_letter",
    "Entry %(entry_id)s of stream %(stream)s is a dead letter of group %(group)s now: %(cause)s",
)
NOT_PENDING = Line(
    _WARNING,
    "not_pending",
    "Entry %(entry_id)s of stream %(stream)s failed here, but was not pending for it any more: another consumer of "
    "group %(group)s has it or has finished it, or somebody has acknowledged it",
)

# The server.
GOES_ON = Line(
    _WARNING,
    "goes_on",
    "Consumer %(consumer_name)s goes on, after %(count)d [count: failure|failures] in %(seconds).1f s",
)
COULD_NOT_FINISH = Line(
    _ERROR,
    "could_not_finish",
    "Consumer %(consumer_name)s could not finish: %(handled)d handled [handled: event|events] may be repeated, "
    "%(ahead)d [ahead: was|were] not begun: %(error)r",
)
KEEP_UNACKED_HAS_NO_EFFECT = Line(
    _WARNING,
    "keep_unacked_has_no_effect",
    "EVENT_BUS_REDIS_STREAM_KEEP_UNACKED has no effect: the server cannot trim by acknowledgement, which Redis 8.2 and "
    "newer can. Streams are trimmed whether entries were read or not",
)
NOT_CONFIRMED = Line(
    _WARNING,
    "not_confirmed",
    "%(count)d [count: event is|events are] sent, but %(wanted)d [wanted: replica|replicas] did not confirm in time "
    "that [wanted: it has|they have] [count: it|them]: %(reason)s; the last is entry %(entry_id)s of stream %(stream)s",
)
CONFIRMED_AGAIN = Line(
    _WARNING,
    "confirmed_again",
    "Replicas confirm again that they have what is sent; %(count)d [count: event was|events were] not confirmed",
)

# Names.
NAME_OF_A_WORKER = Line(
    _WARNING,
    "name_of_a_worker",
    "Consumer name %(consumer_name)s in group %(group)s of stream %(stream)s is that of a worker of pool %(other)s, "
    "which may take its events away; choose a name that does not end in a dot and a number",
)
NAME_IS_TAKEN = Line(
    _WARNING,
    "name_is_taken",
    "Consumer name %(consumer_name)s in group %(group)s of stream %(stream)s belongs to another pool, on host %(host)s "
    "with pid %(pid)d",
)
POOL_IS_GONE = Line(
    _WARNING,
    "pool_is_gone",
    "Pool %(gone)s of group %(group)s on stream %(stream)s is gone: %(why)s; what it left is taken over",
)

# Probes and metrics.
ANSWERS = Line(_INFO, "answers", "Pool %(pool)s answers to HTTP on port %(port)d of %(host)s")
CANNOT_ANSWER = Line(
    _ERROR,
    "cannot_answer",
    "Pool %(pool)s cannot answer to HTTP on port %(port)d of %(host)s, goes on without, and tries again: %(error)s",
)
ANSWERING_FAILED = Line(_ERROR, "answering_failed", "Pool %(pool)s: answering to HTTP failed")
NO_MONITOR = Line(
    _WARNING,
    "no_monitor",
    "Nobody answers to HTTP on port %(port)d: only a pool has a monitor, and this consumer has no workers",
)

# What a process is told by its surroundings.
CONSUMERS_DISABLED = Line(_ERROR, "consumers_disabled", "Redis consumers not enabled, exiting.")
MONITORING_FAILS = Line(_ERROR, "monitoring_fails", "The monitoring system fails with %(failure)s; this is said once")

# The end of a process.
GAVE_UP = Line(_ERROR, "gave_up", "Consumer %(consumer_name)s gives up: %(error)s")
FAILED = Line(_ERROR, "failed", "Consumer %(consumer_name)s failed")
MONITOR_FAILED = Line(_ERROR, "monitor_failed", "Pool %(pool)s: its monitor failed")
NAME_IS_LOST = Line(_ERROR, "name_is_lost", "Pool %(pool)s: %(error)s; it starts anew under another one")
NAME_IS_KEPT = Line(
    _WARNING,
    "name_is_kept",
    "Pool %(pool)s could not give its name back, the lease ends by itself: %(error)r",
)
DEATHS_NOT_COUNTED = Line(
    _WARNING,
    "deaths_not_counted",
    "Pool %(pool)s: how %(count)d [count: entry|entries] of stream %(stream)s ended [count: its worker|their workers] "
    "could not be kept for group %(group)s: %(error)r",
)
SUCCESSOR_CANNOT_CONNECT = Line(
    _ERROR,
    "successor_cannot_connect",
    "Pool %(pool)s: a new worker cannot reach Redis: %(error)r",
)

# The supervisor, of its workers and its monitor.
_POOL = "Pool %(pool)s: "

WORKER_STARTED = Line(_INFO, "worker_started", _POOL + "started worker %(shard)d, pid %(pid)d")
WORKER_REPLACED = Line(_WARNING, "worker_replaced", _POOL + "replaced worker %(shard)d, pid %(pid)d, was %(former)d")
WORKER_RENEWED = Line(
    _INFO, "worker_renewed", _POOL + "replaced worker %(shard)d, pid %(pid)d, was %(former)d: %(reason)s"
)
WORKER_DIED = Line(_ERROR, "worker_died", _POOL + "worker %(shard)d, pid %(pid)d, died: %(cause)s; %(hand)s; %(then)s")
WORKER_STACK = Line(_ERROR, "worker_stack", _POOL + "where worker %(shard)d was:\n%(stack)s")
WORKERS_DIED = Line(
    _ERROR,
    "workers_died",
    _POOL
    + "%(deaths)d more [deaths: worker|workers] died and [deaths: was|were] replaced in the last %(seconds).0f s, "
    "the last of: %(cause)s",
)
WORKER_LEFT = Line(_INFO, "worker_left", _POOL + "worker %(shard)d, pid %(pid)d, has left")
SUCCESSOR_FAILED = Line(
    _ERROR,
    "successor_failed",
    _POOL
    + "the new worker %(shard)d, pid %(pid)d, failed before it was ready, the old one stays: %(cause)s; %(reason)s",
)
SUCCESSOR_STACK = Line(_ERROR, "successor_stack", _POOL + "where the new worker %(shard)d was:\n%(stack)s")
FORK_FAILED = Line(_ERROR, "fork_failed", _POOL + "%(child)s cannot be forked: %(error)s; next try in %(seconds).1f s")
MEMORY_UNKNOWN = Line(
    _ERROR,
    "memory_unknown",
    _POOL + "memory of worker %(shard)d, pid %(pid)d, cannot be measured and is not watched: %(error)s",
)
MONITOR_STARTED = Line(_INFO, "monitor_started", _POOL + "started monitor, pid %(pid)d")
MONITOR_REPLACED = Line(_WARNING, "monitor_replaced", _POOL + "replaced monitor, pid %(pid)d, was %(former)d")
MONITOR_RENEWED = Line(_INFO, "monitor_renewed", _POOL + "replaced monitor, pid %(pid)d, was %(former)d: %(reason)s")
MONITOR_DIED = Line(
    _ERROR, "monitor_died", _POOL + "monitor, pid %(pid)d, died: %(cause)s; replacement in %(seconds).1f s"
)
MONITOR_STACK = Line(_ERROR, "monitor_stack", _POOL + "where the monitor was:\n%(stack)s")

# The pool as a whole.
# A warning, so that whoever asks gets it at any level of logging.
STACK = Line(_WARNING, "stack", _POOL + "where %(role)s, pid %(pid)d, is:%(stack)s")
RESIZED = Line(_INFO, "resized", _POOL + "number of workers is %(workers)d, was %(former)d: %(reason)s")
RESIZE_WISHED = Line(
    _INFO,
    "resize_wished",
    _POOL + "asks for the number of workers to be %(workers)d, is %(former)d: %(reason)s",
)
RESIZE_REFUSED = Line(
    _WARNING,
    "resize_refused",
    _POOL + "stays at %(workers)d [workers: worker|workers], the %(limit)s that it may have: %(reason)s",
)
RENEWING = Line(_INFO, "renewing", _POOL + "replacing all workers, one after the other: %(reason)s")
RENEWED = Line(_INFO, "renewed", _POOL + "all workers are replaced, in %(seconds).1f s: %(reason)s")
NOT_RENEWED = Line(
    _ERROR,
    "not_renewed",
    _POOL + "not all workers could be replaced, those that are left stay; given up after %(seconds).1f s: %(reason)s",
)
POOL_GAVE_UP = Line(
    _CRITICAL,
    "pool_gave_up",
    _POOL + "gave up after %(replacements)d [replacements: replacement,|replacements, the last of them] without an "
    "event handled in between; last cause "
    "of death: %(cause)s",
)
STOPPING = Line(_INFO, "stopping", _POOL + "stopping (%(reason)s), within %(seconds).1f s")
STOPPED = Line(
    _INFO,
    "stopped",
    _POOL + "stopped after %(seconds).1f s with %(pending)d [pending: entry|entries] left pending, %(killed)d "
    "[killed: worker|workers] killed",
)
