"""Signals as messages: handlers only record, loops act, and the former handlers are put back."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any


class SignalInbox:
    """
    Records the given signals and wakes whoever waits for them.

    Arguments:
        signals: what to record while the ``with`` block runs; the handlers found before are put back after it.
        then: called in the handler after each signal with how many were received so far. Only for what cannot wait
            for a loop, which may hang in foreign code.

    Python allows handlers in the main thread only. In another thread the inbox stays empty and still can be waited on.
    """

    def __init__(self, signals: Iterable[signal.Signals], then: Callable[[int], None] | None = None) -> None:
        self._signals = tuple(signals)
        self._then = then
        self._count = 0
        self.first_at: float | None = None
        self._received: deque[signal.Signals] = deque()
        self._former: dict[signal.Signals, Any] = {}
        self._former_wakeup = -1
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> SignalInbox:
        if threading.current_thread() is threading.main_thread():
            # A full pipe is no loss: whoever waits is awake already, and the deque has every signal.
            self._former_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            for number in self._signals:
                self._former[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        if self._former:
            for number, handler in self._former.items():
                # None: installed by other code than Python's, which cannot be put back from here.
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            signal.set_wakeup_fd(self._former_wakeup)
        self._reader.close()
        self._writer.close()

    def _record(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- the signature of a handler
        self._received.append(signal.Signals(number))
        self._count += 1
        if self.first_at is None:
            self.first_at = time.monotonic()
        if self._then is not None:
            self._then(self._count)

    def fileno(self) -> int:
        """Return a file descriptor that is readable when a signal has arrived."""
        return self._reader.fileno()

    @property
    def received(self) -> bool:
        """Whether a signal waits to be taken."""
        return bool(self._received)

    def take(self) -> list[signal.Signals]:
        """Return the signals that arrived since the last call, oldest first, without blocking."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        taken = []
        while self._received:
            taken.append(self._received.popleft())
        return taken

    def wait(self, seconds: float) -> bool:
        """Block until a signal waits to be taken or the seconds are over; return whether one waits."""
        deadline = time.monotonic() + seconds
        while not self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            readable, _, _ = select.select([self._reader], [], [], left)
            if readable:
                # Bytes of signals that are already taken, or of handlers that are not ours.
                with contextlib.suppress(BlockingIOError):
                    self._reader.recv(4096)
        return bool(self._received)


@contextlib.contextmanager
def blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Hold the signals back while the block runs; they arrive after it."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
