"""Whom a start takes for alive."""

from edx_event_bus_redis.internal.alive import live_consumers
from edx_event_bus_redis.internal.stream import Consumer, Group


def live(*consumers: Consumer, **leases: bool) -> list[str]:
    return live_consumers(Group(b"0-0", consumers), "c1", leases)


def test_a_consumer_that_left_is_gone() -> None:
    """A consumer that left on purpose is not alive, even if it was heard of a moment ago and holds entries."""
    assert live(Consumer("c2", 3, 5, left=True), Consumer("c1.0", 0, 5, left=True)) == []


def test_own_names_show_themselves_every_second() -> None:
    """The name of this start and the shards under it are gone after seconds, unless they hold entries."""
    assert live(Consumer("c1", 0, 5_000), Consumer("c1.0", 0, 5_000), Consumer("c1.17", 0, 5_000)) == []
    assert live(Consumer("c1", 0, 5), Consumer("c1.0", 2, 5_000)) == ["c1", "c1.0"]
    assert live(Consumer("c1.x", 0, 5_000), Consumer("c2.0", 0, 5_000)) == ["c1.x", "c2.0"]


def test_a_silent_consumer_is_gone() -> None:
    """A consumer that holds nothing and was not heard of for longer than a poll is gone."""
    assert live(Consumer("c2", 0, 70_000), Consumer("c3", 0, 80_000)) == ["c2"]


def test_a_busy_consumer_may_be_silent_for_long() -> None:
    """A consumer that holds entries may be handling one of them."""
    assert live(Consumer("c2", 1, 80_000), Consumer("c3", 1, 2_000_000)) == ["c2"]


def test_a_lease_decides_for_the_workers_of_its_pool() -> None:
    """Workers of a pool that holds its name are alive however silent, those of one that is gone are not."""
    silent, fresh = Consumer("c2.0", 0, 5_000_000), Consumer("c2.1", 3, 5)
    assert live(silent, fresh, c2=True) == ["c2.0", "c2.1"]
    assert live(silent, fresh, c2=False) == []
    assert live(silent, fresh, c2_0=True) == ["c2.1"]
