"""
The Python stacks of a worker, also of one that hangs in C code or swallows every exception.

The interpreter's fault handler writes them, straight from the handler of a signal, into a file without a name that
parent and child share.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import re
import signal
import tempfile
from collections.abc import Iterator

# Answered by the worker's fault handler.
DUMP_SIGNAL = signal.SIGUSR1

# Where a child begins, in pool/child.py.
_FIRST_FUNCTION = re.compile(r'[/\\]pool[/\\]child\.py", line \d+ in run_(?:worker|successor|monitor)$', re.MULTILINE)

# Bytes that are read at the most: many threads with deep stacks.
_LONGEST = 100_000

_STANDARD_ERROR = 2


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
        """Return what was written since the last request, each thread's stack from the child's first function on."""
        return _without_the_fork(os.pread(self._file.fileno(), _LONGEST, 0).decode(errors="replace"))


@contextlib.contextmanager
def stacks_on_signal() -> Iterator[None]:
    """
    Answer the signal with the stacks of this very process, on its standard error, while the block runs.

    Does nothing if the process answers the signal already.
    """
    if signal.getsignal(DUMP_SIGNAL) is not signal.SIG_DFL:
        yield
        return
    faulthandler.register(DUMP_SIGNAL, file=_STANDARD_ERROR, all_threads=True, chain=False)
    try:
        yield
    finally:
        faulthandler.unregister(DUMP_SIGNAL)


def _without_the_fork(stacks: str) -> str:
    """Leave out how the process came to be forked: it is the same in all, and as long as what is to be seen."""
    kept, is_below = [], False
    for line in stacks.splitlines(keepends=True):
        is_below = is_below and line.startswith("  File ")
        if not is_below:
            kept.append(line)
        is_below = is_below or _FIRST_FUNCTION.search(line) is not None
    return "".join(kept)
