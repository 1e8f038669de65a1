"""Attributes that are made when they are first asked for, also in a process that was forked meanwhile."""

import os
import signal
import threading

import pytest

from edx_event_bus_redis.internal.lazy import lazy


class Thing:
    """Has an attribute that takes its time."""

    def __init__(self) -> None:
        self.made = 0
        self.is_asked = threading.Event()
        self.may_go_on = threading.Event()

    @lazy
    def number(self) -> int:
        self.made += 1
        self.is_asked.set()
        self.may_go_on.wait(30)
        return 7


def test_it_is_made_once() -> None:
    """What was made is kept."""
    thing = Thing()
    thing.may_go_on.set()

    assert (thing.number, thing.number, thing.made) == (7, 7, 1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_does_not_wait_for_a_thread_that_makes_it() -> None:
    """A thread that was making it when the process forked is not in the child, which makes it for itself."""
    thing = Thing()
    thread = threading.Thread(target=lambda: thing.number)
    thread.start()
    thing.is_asked.wait(30)

    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            thing.may_go_on = threading.Event()
            thing.may_go_on.set()
            os._exit(0 if thing.number == 7 else 1)
        finally:
            os._exit(2)
    thing.may_go_on.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
