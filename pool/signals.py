"""Signals as messages: handlers only record, loops act, and the former handlers are put back."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Self

# Seconds that one call of poll waits at the most: it takes milliseconds, as a 32-bit integer.
_LONGEST_POLL = 86_400.0


class SignalInbox:
    """
    Records the given signals and wakes whoever waits for them.

    Arguments:
        signals: what to record while the ``with`` block runs; the handlers found before are put back after it.

    Python allows handlers in the main thread only. In another thread the inbox stays empty and still can be waited on.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._signals = tuple(signals)
        self.first_at: float | None = None
        self._received: deque[signal.Signals] = deque()
        self._cleanup = contextlib.ExitStack()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> Self:
        self._cleanup.callback(self._reader.close)
        self._cleanup.callback(self._writer.close)
        if threading.current_thread() is threading.main_thread():
            self._cleanup.enter_context(wake_by_signals(self._writer))
            for number in self._signals:
                self._cleanup.callback(_put_back, number, signal.signal(number, self._record))
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _record(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- the signature of a handler
        self._received.append(signal.Signals(number))
        if self.first_at is None:
            self.first_at = time.monotonic()

    @property
    def received(self) -> bool:
        """Whether a signal waits to be taken."""
        return bool(self._received)

    def take(self) -> list[signal.Signals]:
        """Return the signals that arrived since the last call, oldest first, without blocking."""
        self._drain()
        taken = []
        while self._received:
            taken.append(self._received.popleft())
        return taken

    def wait(self, seconds: float = math.inf) -> bool:
        """Block until a signal waits to be taken or the seconds are over; return whether one waits."""
        deadline = time.monotonic() + seconds
        while not self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if is_readable(self._reader, left):
                # Bytes of signals that are already taken, or of handlers that are not ours.
                self._drain()
        return bool(self._received)

    def wake(self) -> None:
        """Wake whoever waits, to look again: for a thread that has taken the place of ``wake_by_signals``."""
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b"\0")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass


def _put_back(number: signal.Signals, handler: Any) -> None:
    # None: installed by other code than Python's, which cannot be put back from here.
    signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def is_readable(reader: socket.socket, seconds: float) -> bool:
    """Block until the socket has something to read or the seconds (a day at the most) are over; return whether."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    return bool(poll.poll(min(seconds, _LONGEST_POLL) * 1000))


@contextlib.contextmanager
def blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Hold the signals back while the block runs; they arrive after it."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


_wakeup_descriptors: set[int] = set()


@contextlib.contextmanager
def wake_by_signals(writer: socket.socket) -> Iterator[None]:
    """Write the number of each handled signal to the socket, when it arrives, while the block runs."""
    descriptor = writer.fileno()
    # A full socket is no loss: whoever reads it is awake already.
    former = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    _wakeup_descriptors.add(descriptor)
    try:
        yield
    finally:
        _wakeup_descriptors.discard(descriptor)
        signal.set_wakeup_fd(former)


def _part_from_parent() -> None:
    """Keep a forked child's signals from its parent, whose socket it shares."""
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor not in _wakeup_descriptors:
        signal.set_wakeup_fd(descriptor)


os.register_at_fork(after_in_child=_part_from_parent)
