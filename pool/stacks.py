"""
The Python stacks of a worker, also of one that hangs in C code or swallows every exception.

The interpreter's fault handler writes them, straight from the handler of a signal, into a file without a name that
parent and child share.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import tempfile

# Answered by the worker's fault handler.
DUMP_SIGNAL = signal.SIGUSR1

# Bytes that are read at the most: many threads with deep stacks.
_LONGEST = 100_000


class Stacks:
    """The stacks of one shard's workers, of one process after the other."""

    def __init__(self) -> None:
        # In memory where the system can, for containers without a writable file system.
        if hasattr(os, "memfd_create"):
            self._file = os.fdopen(os.memfd_create("stacks"), "r+b")
        else:
            self._file = tempfile.TemporaryFile("r+b")  # noqa: SIM115 -- open as long as the pool
        # Parent and child share one position in the file, and the parent empties it.
        descriptor = self._file.fileno()
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)

    def register(self) -> None:
        """Answer the signal; called in the worker."""
        faulthandler.register(DUMP_SIGNAL, file=self._file, all_threads=True, chain=False)

    def request(self, pid: int) -> None:
        """Ask a worker that has registered for its stacks, which it writes within milliseconds."""
        os.ftruncate(self._file.fileno(), 0)
        os.kill(pid, DUMP_SIGNAL)

    def read(self) -> str:
        """Return what was written since the last request."""
        return os.pread(self._file.fileno(), _LONGEST, 0).decode(errors="replace")
