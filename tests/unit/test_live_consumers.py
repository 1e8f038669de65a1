"""Whom a start takes for alive."""

from edx_event_bus_redis.internal.group import live_consumers
from edx_event_bus_redis.internal.stream import Consumer, Group


def live(*consumers: Consumer) -> list[str]:
    return live_consumers(Group(b"0-0", consumers), "c1")


def test_own_names_are_never_others() -> None:
    """The name of this start and the shards under it do not count, whatever their number was."""
    assert live(Consumer("c1", 0, 5), Consumer("c1.0", 3, 5), Consumer("c1.17", 0, 5)) == []
    assert live(Consumer("c1.x", 0, 5), Consumer("c2.0", 0, 5)) == ["c1.x", "c2.0"]


def test_a_silent_consumer_is_gone() -> None:
    """A consumer that holds nothing and was not heard of for longer than a poll is gone."""
    assert live(Consumer("c2", 0, 70_000), Consumer("c3", 0, 80_000)) == ["c2"]


def test_a_busy_consumer_may_be_silent_for_long() -> None:
    """A consumer that holds entries may be handling one of them."""
    assert live(Consumer("c2", 1, 80_000), Consumer("c3", 1, 2_000_000)) == ["c2"]
