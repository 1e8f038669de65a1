"""Stopping work in this very process."""

import contextlib
import ctypes
import math
import os
import signal
import sys
import threading
import time
from typing import Any

import multiprocess
import pytest

from pool import SignalInbox, Stop, blocked, stop_on_signals
from tests.pool.program import argument, say, wait_for_flag

STOPPING = [signal.SIGTERM, signal.SIGINT]
FORK = multiprocess.get_context("fork")


def work_until_stopped() -> None:
    with stop_on_signals(20.0) as stop:
        say("ready", requested=stop.requested, time_left=stop.time_left)
        requested = stop.wait(3600)
        say("stopped", waited=requested, requested=stop.requested, time_left=stop.time_left)
    sys.exit(3)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_asks_for_a_stop_and_sets_its_deadline(start_program: Any, number: signal.Signals) -> None:
    """SIGTERM or SIGINT ends a wait, requests the stop and starts its time; the process leaves in its own way."""
    program = start_program(work_until_stopped)
    ready = program.wait_for("ready")[0]
    assert (ready.requested, ready.time_left) == (False, math.inf)

    program.send(number)
    stopped = program.wait_for("stopped")[0]

    assert (stopped.waited, stopped.requested) == (True, True)
    assert 0 < stopped.time_left <= 20.0
    assert program.wait() == 3


def hang_in_python() -> None:
    while True:
        time.sleep(3600)


def hang_in_foreign_code() -> None:
    # A lock that is taken twice is waited for without end, and without a look at Python's signal handlers: so hangs a
    # database driver that goes on reading after a signal.
    library = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(256)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def hang() -> None:
    with stop_on_signals(argument("timeout")):
        say("ready")
        {"python": hang_in_python, "foreign": hang_in_foreign_code}[argument("where")]()


def hang_with_a_full_pipe() -> None:
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    os.dup2(writer, 2)
    with stop_on_signals(0.2):
        say("ready")
        hang_in_python()


@pytest.mark.parametrize("where", ["python", "foreign"])
def test_who_hangs_leaves_when_the_time_is_over(start_program: Any, where: str) -> None:
    """
    A process that does not answer the stop leaves with status 0 after its time, even while hanging in C code.

    It says where it hung.
    """
    program = start_program(hang, timeout=0.2, where=where)
    program.wait_for("ready")

    program.send(signal.SIGTERM)

    assert program.wait() == 0
    assert f"in hang_in_{where}" in program.log


def test_who_cannot_say_where_it_hangs_leaves_as_well(start_program: Any) -> None:
    """A standard error that nobody reads any more does not keep a process from leaving."""
    program = start_program(hang_with_a_full_pipe)
    program.wait_for("ready")

    program.send(signal.SIGTERM)

    assert program.wait() == 0


@pytest.mark.parametrize("where", ["python", "foreign"])
def test_a_second_signal_leaves_at_once(start_program: Any, where: str) -> None:
    """Whoever insists does not have to wait for the time of a graceful stop, even while the process hangs in C code."""
    program = start_program(hang, timeout=3600.0, where=where)
    program.wait_for("ready")

    program.send(signal.SIGTERM)
    program.send(signal.SIGINT)

    assert program.wait() == 0


def stop_in_time_and_go_on() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with stop_on_signals(0.1) as stop:
        say("ready")
        stop.wait(3600)
    say("left", handlers=[signal.getsignal(number) for number in STOPPING] == before, threads=threading.active_count())
    time.sleep(0.3)
    sys.exit(3)


def test_who_stops_in_time_is_not_ended_later(start_program: Any) -> None:
    """After the block nothing is left: handlers are put back, the thread has ended, the timeout ends nothing."""
    program = start_program(stop_in_time_and_go_on)
    program.wait_for("ready")

    program.send(signal.SIGTERM)

    left = program.wait_for("left")[0]
    assert (left.handlers, left.threads) == (True, 1)
    assert program.wait() == 3


def hold_back() -> None:
    with stop_on_signals(20.0) as stop:
        with blocked(STOPPING):
            say("ready")
            wait_for_flag("sent")
            say("held back", requested=stop.requested)
        say("let through", requested=stop.requested)


def test_a_signal_can_be_held_back(start_program: Any) -> None:
    """What the main thread blocks stays pending: no other thread takes it, and no second one ends the process."""
    program = start_program(hold_back)
    program.wait_for("ready")

    program.send(signal.SIGTERM)
    program.raise_flag("sent")

    assert program.wait() == 0
    assert not program.records("held back")[0].requested
    assert program.records("let through")[0].requested


def say_and_hang() -> None:
    say("child")
    hang_in_python()


def fork_and_stop_the_child() -> None:
    with stop_on_signals(0.1) as stop:
        child = FORK.Process(target=say_and_hang)
        child.start()
        wait_for_flag("child is there")
        for _ in range(2):
            os.kill(child.pid, signal.SIGTERM)
        say("requested", waited=stop.wait(0.3))
        child.kill()
        child.join()
    sys.exit(3)


def test_a_forked_child_keeps_its_signals_to_itself(start_program: Any) -> None:
    """SIGTERM to a process that a handler has forked neither stops nor ends the parent."""
    program = start_program(fork_and_stop_the_child)
    program.wait_for("child")
    program.raise_flag("child is there")

    assert program.wait() == 3
    assert not program.records("requested")[0].waited


def stop_in_a_thread() -> None:
    def use() -> None:
        with stop_on_signals(20.0) as stop:
            say("in a thread", requested=stop.requested, waited=stop.wait(0.01), time_left=stop.time_left)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()


def test_in_another_thread_no_stop_is_ever_requested(start_program: Any) -> None:
    """Where Python allows no signal handlers work goes on without a stop."""
    program = start_program(stop_in_a_thread)

    assert program.wait() == 0
    record = program.records("in a thread")[0]
    assert (record.requested, record.waited, record.time_left) == (False, False, math.inf)


def test_the_end_of_the_parent_asks_for_a_stop() -> None:
    """A worker whose parent is another than at its start is to stop, and has no time left."""
    with SignalInbox(()) as inbox:
        with_parent = Stop(inbox, 20.0, parent=os.getppid())
        assert not with_parent.requested
        assert with_parent.time_left == math.inf

        without = Stop(inbox, 20.0, parent=os.getppid() + 1)
        assert without.requested
        assert without.wait(0.0)
        assert without.time_left == 0.0
