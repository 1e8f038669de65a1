"""Signals as messages."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pool import SignalInbox, blocked

ONE, TWO = signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """Handlers of the caller for both signals; what they are called with."""
    received: list[int] = []
    former = [signal.signal(number, lambda number, _: received.append(number)) for number in (ONE, TWO)]
    yield received
    for number, handler in zip((ONE, TWO), former, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_signals_are_taken_once_and_in_order() -> None:
    """What arrived since the last call is returned, oldest first, and when the first of all came is remembered."""
    with SignalInbox((ONE, TWO)) as inbox:
        assert inbox.take() == []
        assert inbox.first_at is None

        for number in (TWO, ONE, ONE):
            signal.raise_signal(number)
        first_at = inbox.first_at
        assert inbox.received
        assert inbox.take() == [TWO, ONE, ONE]
        assert not inbox.received

        signal.raise_signal(TWO)
        assert inbox.take() == [TWO]
        assert inbox.first_at == first_at


def test_handlers_and_wakeup_descriptor_are_put_back(handlers: list[int]) -> None:
    """After the block, also one that raised, the caller's handlers answer again and its descriptor is written to."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    former = signal.set_wakeup_fd(writer.fileno())
    before = [signal.getsignal(number) for number in (ONE, TWO)]
    try:
        with pytest.raises(KeyError), SignalInbox((ONE, TWO)):  # noqa: PT012 -- the block is what is tested
            signal.raise_signal(ONE)
            raise KeyError

        assert [signal.getsignal(number) for number in (ONE, TWO)] == before
        signal.raise_signal(TWO)
        assert handlers == [TWO]
        assert reader.recv(16) == bytes([TWO])
    finally:
        signal.set_wakeup_fd(former)
        reader.close()
        writer.close()


@pytest.mark.usefixtures("handlers")
def test_a_wait_ends_when_the_signal_arrives() -> None:
    """Who waits for ever is woken by a signal of another process."""
    script = f"""
import os, psutil, time
waiting = psutil.Process(os.getppid())
while waiting.status() != psutil.STATUS_SLEEPING:
    time.sleep(0.001)
waiting.send_signal({ONE:d})
"""
    with SignalInbox((ONE,)) as inbox, subprocess.Popen([sys.executable, "-c", script]):
        assert inbox.wait()
        assert inbox.take() == [ONE]


@pytest.mark.usefixtures("handlers")
def test_a_wait_returns_at_once_for_a_signal_that_is_there() -> None:
    """A signal that arrived before the wait, and was not taken, is not waited for."""
    with SignalInbox((ONE,)) as inbox:
        signal.raise_signal(ONE)
        assert inbox.wait()


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("other", ["taken already", "not of the inbox"])
def test_a_wait_is_ended_by_nothing_else(other: str) -> None:
    """A signal that was taken already, or one that others handle, neither ends a wait before its time nor spins."""
    with SignalInbox((ONE,)) as inbox:
        if other == "taken already":
            signal.raise_signal(ONE)
            inbox.take()
        else:
            signal.raise_signal(TWO)
        began, busy = time.monotonic(), time.thread_time()
        assert not inbox.wait(0.2)
        assert time.monotonic() - began >= 0.2
        assert time.thread_time() - busy < 0.1


def test_an_inbox_in_another_thread_stays_empty_and_can_be_waited_on() -> None:
    """Where Python allows no handlers the inbox works as if no signal ever came."""
    results = []

    def use() -> None:
        with SignalInbox((ONE,)) as inbox:
            results.append((inbox.wait(0.01), inbox.received, inbox.take()))

    before = signal.getsignal(ONE)
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert results == [(False, False, [])]
    assert signal.getsignal(ONE) is before


@pytest.mark.usefixtures("handlers")
def test_a_process_with_many_open_files_can_wait() -> None:
    """A descriptor beyond the 1024 that select(2) can handle is waited on like any other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1_200:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1_200), hard))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_050)]
    try:
        with SignalInbox((ONE,)) as inbox:
            assert not inbox.wait(0.01)
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_blocked_signals_arrive_after_the_block(handlers: list[int]) -> None:
    """Signals are held back while the block runs, none is lost, and the mask is as it was, also after an exception."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with pytest.raises(KeyError), blocked((ONE,)):  # noqa: PT012 -- the block is what is tested
        # To this thread: the other threads of a test run do not block them.
        signal.raise_signal(ONE)
        signal.raise_signal(TWO)
        assert handlers == [TWO]
        raise KeyError

    assert handlers == [TWO, ONE]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
