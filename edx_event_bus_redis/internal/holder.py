"""
Which process holds something in Redis, and whether it is dead.

Only a process that shares the holder's process ids can know: one of the same machine and of the same container. For
all others a holder is alive until its lease ends.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")

# In /proc/<pid>/stat, behind the command in parentheses: the state is the first field, the start time in clock ticks
# since the machine was booted the 20th (proc(5) counts them as 3 and 22).
_STATE, _STARTED = 0, 19
_DEAD_STATES = ("Z", "X", "x")

# In place of the start time of a process that is dead; equal to none.
_DEAD = "dead"


class Holder(NamedTuple):
    """
    A process, as it describes itself to others.

    Attributes:
        host: name of its machine or container.
        pid: its process id.
        pid_space: what its process id is unique in; empty if that cannot be known.
        started: when it was started, in clock ticks since the machine was booted; tells it from a later process of
            the same id.
    """

    host: str
    pid: int
    pid_space: str
    started: str


def this_process() -> Holder:
    """Describe this process."""
    pid = os.getpid()
    return Holder(socket.gethostname(), pid, _pid_space(), _started(pid) or "")


def is_surely_dead(holder: Holder) -> bool:
    """Return whether the process is known to be dead; False if it lives, or if nobody here can know."""
    if not holder.pid_space or holder.pid_space != _pid_space():
        return False
    started = _started(holder.pid)
    return not _exists(holder.pid) if started is None else started != holder.started


def _pid_space() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        # Not Linux, or without /proc.
        return ""


def _started(pid: int) -> str | None:
    """
    Return when a process was started, ``_DEAD`` if it is dead and not yet buried; None if nothing is to be seen of it.

    Processes of other users may be hidden (proc(5), hidepid), though they live.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return _DEAD if fields[_STATE] in _DEAD_STATES else fields[_STARTED]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's.
        pass
    return True
