"""What the monitor sees of the workers."""

import os

from edx_event_bus_redis.internal.crew import SlotCrew
from edx_event_bus_redis.internal.holdings import Holdings
from pool import Cause, Memory, Slots


def test_who_is_busy_gets_on_with_something() -> None:
    """A worker with an event in hand, or some read ahead, is busy; one that waits, is in trouble, or is gone is not."""
    slots = Slots(6)
    in_hand, ahead, waiting, in_trouble, gone, failing = slots
    for slot in slots:
        slot.started(os.getpid())
        slot.idle()
    in_hand.begin(1, 1)
    ahead.held(5)
    waiting.begin(1, 2)
    waiting.succeeded()
    in_trouble.held(5)
    in_trouble.errors(3)
    gone.held(5)
    gone.gone()
    failing.begin(1, 3)
    failing.errors(1)

    crew = SlotCrew("c1", Slots(1)[0], slots, Holdings(len(slots)), b"0-0", wish=print)

    assert crew.load() == (6, 3, 1)


def test_what_workers_are_known_to_die_of_is_counted_from_the_start() -> None:
    """A counter that is there with 0 shows its first increase; causes that nobody has thought of come later."""
    slots = Slots(1)
    crew = SlotCrew("c1", Slots(1)[0], slots, Holdings(1), b"0-0", wish=print)
    known = [
        Cause(-9),
        Cause(1),
        Cause(-9, timed_out_after=5.0),
        Cause(-9, memory=Memory(9, 4)),
        Cause(-9, silent_for=9),
    ]
    assert {cause.kind: 0 for cause in known}.items() <= crew.deaths().items()
    assert set(crew.deaths().values()) == {0}

    slots.deaths.record(0, "SIGKILL", "SIGKILL", 0)
    slots.deaths.record(0, "exit status 77", "exit status 77", 0)

    assert {kind: count for kind, count in crew.deaths().items() if count} == {"SIGKILL": 1, "exit status 77": 1}
