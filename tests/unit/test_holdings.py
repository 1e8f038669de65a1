"""What a worker has read and not finished is known to others in the memory that they share."""

import os

import pytest

from edx_event_bus_redis.internal.holdings import Holdings
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.pace import BATCH_LIMIT
from edx_event_bus_redis.internal.protocols import Held

LONGEST = b"18446744073709551615-18446744073709551615"


def entries(*ids: bytes, origin: bytes | None = None) -> list[Entry]:
    return [Entry(entry_id, [b"name", b"value"], origin) for entry_id in ids]


def test_nothing_is_held_at_first() -> None:
    """Of a shard that has read nothing there are no ids."""
    assert Holdings(1)[0].held == Held([], again=False)


def test_what_is_finished_is_not_held() -> None:
    """Entries are finished in their order; what was finished stays so."""
    holding = Holdings(1)[0]
    holding.took(entries(b"1-0", b"1-1", b"2-0"))
    assert holding.held == Held([b"1-0", b"1-1", b"2-0"], again=False)

    holding.left(1)
    assert holding.held.ids == [b"2-0"]
    holding.left(7)
    assert (holding.held.ids, holding.count) == ([b"2-0"], 1)
    holding.left(0)
    assert holding.held.ids == []


def test_what_is_read_next_takes_the_place_of_what_was_read_before() -> None:
    """A batch from the other stream, with fewer and shorter ids."""
    holding = Holdings(1)[0]
    holding.took(entries(LONGEST, LONGEST))
    holding.left(0)

    holding.took(entries(b"5-1", origin=b"1-0"))

    assert holding.held == Held([b"5-1"], again=True)


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_the_largest_batch_of_the_longest_ids_fits(shard: int) -> None:
    """And costs the other shards nothing."""
    holdings = Holdings(3)
    for other in range(3):
        holdings[other].took(entries(b"1-1"))

    holdings[shard].took(entries(*[LONGEST] * BATCH_LIMIT))

    assert holdings[shard].held.ids == [LONGEST] * BATCH_LIMIT
    assert [holdings[other].held.ids for other in range(3) if other != shard] == [[b"1-1"]] * 2
    assert holdings.count(range(3)) == BATCH_LIMIT + 2
    assert holdings.count(range(1)) == holdings[0].count


def test_it_outlives_the_process_that_wrote_it() -> None:
    """A forked process leaves it behind."""
    holding = Holdings(1)[0]
    pid = os.fork()
    if pid == 0:
        holding.took(entries(b"1-0", b"1-1"))
        os._exit(0)
    os.waitpid(pid, 0)

    assert holding.held.ids == [b"1-0", b"1-1"]
