"""What is known of a run of the demo, from what its processes write, and what the verdict on it is."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

# What the supervisor says in the consumer's log.
_STARTED = re.compile(r"Pool \S+: started worker (\d+), pid (\d+)$")
_REPLACED = re.compile(r"Pool \S+: replaced worker (\d+), pid (\d+), was (\d+)$")
_DIED = re.compile(r"Pool \S+: worker (\d+), pid (\d+), died: ([^;]+); ((?:entry \S+|nothing) in hand)")
_RUNNING = "Running consumer for"

# How many event ids a sentence names.
_NAMED = 3


class Tail:
    """
    The lines of a file that others append to.

    Arguments:
        path: of the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_lines(self) -> list[str]:
        """Return the complete lines that came since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._position += len(text)
        return text.decode(errors="replace").splitlines()


@dataclass
class Worker:
    """
    One shard of the pool.

    Attributes:
        pids: ids of its processes, the living one last.
        handled: events that it handled, repeated ones too.
    """

    pids: list[int] = field(default_factory=list)
    handled: int = 0


@dataclass
class Kill:
    """
    The worker that the demo killed.

    Attributes:
        shard: its number.
        pid: of the process that was killed.
        event_id: of the event that it had begun and not finished.
        death: what the supervisor says of it: the cause, and what was in hand.
        replacement: id of the process that took its place.
        handled_by: id of the process that handled the event after all.
    """

    shard: int
    pid: int
    event_id: str
    death: str | None = None
    replacement: int | None = None
    handled_by: int | None = None


@dataclass
class Run:
    """
    Everything that is known so far.

    Attributes:
        wanted: number of events to be sent.
        workers: the shards, by number.
        sent: digest of each event that was sent, by event id.
        times_handled: how often each event was handled, by event id.
        changed: ids of events that arrived with other data than they were sent with.
        in_hand: the event that is begun and not finished, by process id.
        running: how often a worker has said that it runs.
        restarts: how often a worker was replaced.
        kill: the worker that was killed, None if none was.
        pending: entries of the group that are not acknowledged; None if that could not be asked.
        exit_status: of the consumer; None if it did not end when it was told to.
    """

    wanted: int
    workers: list[Worker]
    sent: dict[str, int] = field(default_factory=dict)
    times_handled: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)
    in_hand: dict[int, str] = field(default_factory=dict)
    running: int = 0
    restarts: int = 0
    kill: Kill | None = None
    pending: int | None = None
    exit_status: int | None = None

    @property
    def handled(self) -> int:
        """Number of events that were handled, each counted once."""
        return len(self.times_handled)

    @property
    def repeated(self) -> int:
        """How often an event was handled that had been handled before."""
        return self.times_handled.total() - self.handled

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is to be waited for before the consumer is stopped."""
        replaced = self.kill is not None and self.kill.replacement is not None
        return len(self.sent) == self.wanted and self.sent.keys() <= self.times_handled.keys() and replaced

    def learn_from_receiver(self, line: str) -> str | None:
        """Take note of a line that a receiver left; return what is worth telling about it."""
        match line.split():
            case ["begun", event_id, pid]:
                self.in_hand[int(pid)] = event_id
            case ["handled", event_id, pid, name, digest]:
                self.in_hand.pop(int(pid), None)
                self.times_handled[event_id] += 1
                self.workers[int(name.rpartition(".")[2])].handled += 1
                if self.sent.get(event_id) != int(digest):
                    self.changed.add(event_id)
                if self.kill is not None and self.kill.event_id == event_id and self.kill.handled_by is None:
                    self.kill.handled_by = int(pid)
                    return f"event {short(event_id)} handled after all, by {name}, pid {pid}"
        return None

    def learn_from_log(self, line: str) -> str | None:
        """Take note of a line of the consumer's log; return what is worth telling about it."""
        if _RUNNING in line:
            self.running += 1
        elif found := _STARTED.search(line):
            shard, pid = map(int, found.groups())
            self.workers[shard].pids.append(pid)
        elif found := _DIED.search(line):
            shard, pid = int(found[1]), int(found[2])
            self.in_hand.pop(pid, None)
            if self.kill is not None and self.kill.pid == pid:
                self.kill.death = f"{found[3]}, {found[4]}"
            return f"supervisor: worker {shard} died of {found[3]}, {found[4]}"
        elif found := _REPLACED.search(line):
            shard, pid, former = map(int, found.groups())
            self.workers[shard].pids.append(pid)
            self.restarts += 1
            if self.kill is not None and self.kill.pid == former:
                self.kill.replacement = pid
            return f"supervisor: worker {shard} replaced, pid {pid}"
        return None


def shortcomings(run: Run) -> list[str]:
    """Return a sentence for each thing that went wrong: none, if every event was handled and the pool did its duty."""
    missing = [event_id for event_id in run.sent if not run.times_handled[event_id]]
    found = {
        f"{len(run.sent):,} events were sent instead of {run.wanted:,}": len(run.sent) != run.wanted,
        _events(missing, "not handled"): missing,
        _events(sorted(run.changed), "handled with other data than sent"): run.changed,
        "no worker was killed in the middle of its work": run.kill is None,
        "the killed worker was not replaced": run.kill is not None and run.kill.replacement is None,
        "the supervisor did not see which entry the killed worker had in hand": run.kill is not None
        and not (run.kill.death or "").startswith("SIGKILL, entry "),
        f"{run.pending} entries are pending": run.pending,
        "it is not known whether entries are pending": run.pending is None,
        f"the consumer ended with status {run.exit_status}": run.exit_status,
        "the consumer did not end when it was told to": run.exit_status is None,
    }
    return [sentence for sentence, holds in found.items() if holds]


def short(event_id: str) -> str:
    """Return enough of an event's id to tell it from the others of a run."""
    return event_id.partition("-")[0]


def _events(ids: list[str], what: str) -> str:
    more = ", ..." if len(ids) > _NAMED else ""
    return f"{len(ids):,} event{'s were' if len(ids) != 1 else ' was'} {what}: {', '.join(ids[:_NAMED])}{more}"
