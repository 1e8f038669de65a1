"""What is done to a process that goes on for too long."""

import signal
import time
from typing import Any

from pool.child import MANAGED
from pool.process import ChildProcess
from pool.stacks import Stacks
from pool.time_limit import Matter, TimeLimit
from tests.pool.program import argument, flag, say


def sleep_with_stacks(parent: int, stacks: Stacks) -> None:
    if argument("answers"):
        stacks.register()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MANAGED)
    flag("there").touch()
    time.sleep(3600)


def look_twice() -> None:
    """Find a process over its limit twice, so long after each other that it would be killed; say what became of it."""
    stacks = Stacks()
    process = ChildProcess("sleeper", sleep_with_stacks, stacks)
    while not flag("there").exists():
        time.sleep(0.005)
    limit = TimeLimit(stacks)
    for what in argument("matters"):
        matter = Matter(what, seconds=5.0, limit=1.0)
        limit.enforce(process, matter)
        time.sleep(max(0.0, limit.next_look(matter) - time.monotonic()))
    until = time.monotonic() + argument("patience")
    is_dead = process.poll()
    while not is_dead and time.monotonic() < until:
        time.sleep(0.005)
        is_dead = process.poll()
    if is_dead:
        say("dead", verdict=limit.verdict(process.exit_code or 0))
    else:
        say("alive")
        process.kill()
        process.wait()


def test_what_does_not_end_is_killed(start_program: Any) -> None:
    """A process in which one thing is over the limit, and still is a moment later, is killed, its stacks are known."""
    program = start_program(look_twice, matters=[1, 1], answers=True, patience=30.0)

    what, seconds, stack = program.wait_for("dead")[0].verdict

    assert (what, seconds) == (1, 5.0)
    assert "in sleep_with_stacks" in stack


def test_what_has_ended_a_moment_later_is_spared(start_program: Any) -> None:
    """After a time in which the whole machine stood still everything is over the limit, and nothing is killed."""
    program = start_program(look_twice, matters=[1, 2], answers=True, patience=0.1)

    assert program.wait_for("alive")


def look_once_more() -> None:
    """Find another thing going on in a process that was killed a moment ago, before its end is noticed."""
    stacks = Stacks()
    process = ChildProcess("sleeper", sleep_with_stacks, stacks)
    limit, matter = TimeLimit(stacks), Matter(1, seconds=5.0, limit=1.0)
    limit.enforce(process, matter)
    time.sleep(max(0.0, limit.next_look(matter) - time.monotonic()))
    limit.enforce(process, matter)
    limit.enforce(process, Matter(2, seconds=0.0, limit=1.0))
    while not process.poll():
        time.sleep(0.005)
    say("dead", verdict=limit.verdict(process.exit_code or 0))


def test_what_is_seen_of_a_killed_process_does_not_change_what_it_was_killed_for(start_program: Any) -> None:
    """Between the kill and the end a process may seem to do something else, or to have less memory."""
    program = start_program(look_once_more, answers=False)

    assert program.wait_for("dead")[0].verdict == [1, 5.0, ""]


def test_who_cannot_answer_yet_is_killed_as_well(start_program: Any) -> None:
    """A process that hangs before it can write its stacks does not notice that it is asked, and is killed."""
    program = start_program(look_twice, matters=[1, 1], answers=False, patience=30.0)

    assert program.wait_for("dead")[0].verdict == [1, 5.0, ""]
