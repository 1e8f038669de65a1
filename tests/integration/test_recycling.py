"""Workers of a pool are replaced after so many events, or when they have too much memory."""

import re
from collections import Counter
from typing import Any

import redis

from tests.support.dead_letters import dead_letters
from tests.support.events import add_logins
from tests.support.waiting import wait_until


def test_recycling_under_load_loses_and_repeats_nothing(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """While workers are replaced every hundred events each event is handled once, by many processes."""
    pool = consume(workers=2, max_events_per_worker=100).wait_running(2)
    ids = add_logins(client, stream_name, 1500, "sleep:0.002")

    handled = pool.wait_handled(1500)

    counts = Counter(each.event_id for each in handled)
    assert counts == dict.fromkeys(ids, 1)
    assert len({each.pid for each in handled}) >= 6
    assert re.search(r"Pool c1: replaced worker [01], pid \d+, was \d+: limit of events reached, \d+", pool.log)
    assert "died" not in pool.log
    assert pool.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0
    assert client.exists(f"{{{stream_name}}}:starts:group") == 0, "nothing was taken for a suspect"


def test_a_worker_that_leaks_is_replaced(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A worker whose events leave memory behind gives way above its cap; nobody is killed, and no event is repeated."""
    pool = consume(workers=1, max_memory_per_worker=200).wait_running(1)
    ids = add_logins(client, stream_name, 40, "leak:10,sleep:0.4")

    handled = pool.wait_handled(40)

    assert Counter(each.event_id for each in handled) == dict.fromkeys(ids, 1)
    assert re.search(r"replaced worker 0, pid \d+, was \d+: \d+ MiB of memory, may have about 200 MiB", pool.log)
    assert "died" not in pool.log
    assert pool.stop() == 0


def test_an_event_that_takes_too_much_memory_becomes_a_dead_letter(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """
    Its worker is killed far above the cap, max_deliveries times.

    The dead letter says that it was memory, how much, and what the cap is; other events go on.
    """
    pool = consume(workers=2, max_memory_per_worker=100, max_deliveries=2).wait_running(2)
    (poison,) = add_logins(client, stream_name, 1, "hog:20")
    others = add_logins(client, stream_name, 50, "sleep:0.01")

    (letter,) = wait_until(lambda: dead_letters(client, stream_name), what="a dead letter")

    assert letter["id"] == poison
    assert re.fullmatch(
        r"its worker had \d+ MiB of memory, more than twice the 100 MiB it may have, at each of 2 starts",
        letter["dead_cause"],
    )
    assert "in _hog" in letter["dead_traceback"]
    assert len([each for each in pool.begun() if each.event_id == poison]) == 2
    pool.wait_handled(50)
    assert {each.event_id for each in pool.handled()} == set(others)
    assert pool.log.count("died: ") == 2
    assert pool.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0
