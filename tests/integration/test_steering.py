"""Steering a pool of consumers by signals, on real events."""

import re
import signal
import time
from collections import Counter
from typing import Any

import pytest
import redis

from tests.support.events import add_batch, add_logins
from tests.support.waiting import wait_until

pytestmark = pytest.mark.one_version


def pending(client: redis.Redis, stream: str) -> int:
    return int(client.xpending(stream, "group")["pending"])


def assert_each_handled_once(pool: Any, ids: list[str]) -> None:
    counts = Counter(each.event_id for each in pool.handled())
    assert set(counts) == set(ids)
    assert {each for each, count in counts.items() if count > 1} == set()


def test_replacing_loses_and_repeats_nothing(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Over several HUPs under load each event is handled once; the workers and the monitor are others then."""
    pool = consume(workers=3).wait_running(3)
    workers = pool.worker_pids()
    ids: list[str] = []
    for round_number in range(1, 4):
        ids += add_logins(client, stream_name, 300, "sleep:0.002", first=len(ids))
        pool.wait_handled(len(ids) - 250)
        pool.terminate(signal.SIGHUP)
        ids += add_logins(client, stream_name, 300, "ok", first=len(ids))
        wait_until(lambda: pool.log.count("all workers are replaced") == round_number, what="replaced")  # noqa: B023

    pool.wait_handled(len(ids))

    assert pool.stop() == 0
    assert_each_handled_once(pool, ids)
    assert set(pool.worker_pids().values()).isdisjoint(workers.values())
    assert "died" not in pool.log
    assert pending(client, stream_name) == 0
    assert client.exists(f"{{{stream_name}}}:starts:group") == 0, "nothing was taken for a suspect"


def test_what_was_read_ahead_is_handled_by_the_new_worker(
    consume: Any, client: redis.Redis, stream_name: str, tmp_path: Any
) -> None:
    """A worker with one event in hand and others read ahead finishes the one; the new one begins with the others."""
    asked, gate = tmp_path / "asked", tmp_path / "gate"
    pool = consume(workers=1).wait_running(1)
    ids = add_logins(client, stream_name, 50)
    pool.wait_handled(50)
    ids += add_batch(client, stream_name, [f"until_asked:{asked},wait:{gate}", *["ok"] * 20], first=50)
    wait_until(lambda: len(pool.begun()) == 51, what="the slow one is in hand")
    old = pool.worker_pids()[0]

    pool.terminate(signal.SIGHUP)
    wait_until(asked.exists, what="the new worker is ready, and the old one asked to leave")
    time.sleep(0.3)
    assert len(pool.begun()) == 51, "nobody begins anything meanwhile"
    gate.touch()
    handled = pool.wait_handled(71)

    assert [each.number for each in handled] == list(range(71))
    assert handled[50].pid == old
    assert {each.pid for each in handled[51:]} == {pool.worker_pids()[0]} != {old}
    assert pool.stop() == 0
    assert_each_handled_once(pool, ids)


def test_the_name_is_kept_over_a_replacement(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """The monitor that gives way leaves the lease to the next one."""
    pool = consume(workers=1).wait_running(1)
    key = f"{{{stream_name}}}:pool:group:c1"
    token = wait_until(lambda: client.hget(key, "token"))

    pool.terminate(signal.SIGHUP)
    # A lease that was given back would be there again within milliseconds, unless another pool had it by then.
    while "all workers are replaced" not in pool.log:
        assert all(client.exists(key) for _ in range(50))

    assert client.hget(key, "token") == token
    assert "replaced monitor, pid" in pool.log
    assert pool.stop() == 0
    assert client.exists(key) == 0


def names(client: redis.Redis, stream: str) -> set[str]:
    return {consumer["name"].decode() for consumer in client.xinfo_consumers(stream, "group")}


def test_a_worker_more_and_less_under_load(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Workers that come and go lose and repeat nothing, and the names of those that left are removed."""
    pool = consume(workers=2).wait_running(2)
    ids = add_logins(client, stream_name, 1500, "sleep:0.003")
    pool.wait_handled(20)
    for number in (signal.SIGTTIN, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTTOU):
        before = pool.log.count("number of workers is")
        pool.terminate(number)
        wait_until(lambda: pool.log.count("number of workers is") > before)  # noqa: B023 -- called in this round
        pool.wait_handled(min(len(ids), len(pool.handled()) + 50))

    pool.wait_handled(len(ids))

    assert "died" not in pool.log
    assert "Pool c1: number of workers is 4, was 3: SIGTTIN" in pool.log
    wait_until(lambda: names(client, stream_name) == {"c1.0", "c1.1"}, what="only the names of those that live")
    assert client.hget(f"{{{stream_name}}}:pool:group:c1", "workers") == b"2"
    assert pool.stop() == 0
    assert_each_handled_once(pool, ids)
    assert pending(client, stream_name) == 0


def test_what_a_leaving_worker_has_read_ahead_is_taken_over(
    consume: Any, client: redis.Redis, stream_name: str, tmp_path: Any
) -> None:
    """The one event in hand is finished, and the others of its batch are handled by who stays, at once."""
    gates = [tmp_path / "gate-0", tmp_path / "gate-1"]
    pool = consume(workers=2).wait_running(2)
    ids = add_logins(client, stream_name, 100)
    pool.wait_handled(100)
    first = pool.worker_pids()[1]
    # Each worker reads a batch that begins with an event that it has to wait for.
    ids += add_batch(client, stream_name, [f"wait:{gates[0]}", *["ok"] * 5], first=100)
    wait_until(lambda: len(pool.begun()) == 101)
    ids += add_batch(client, stream_name, [f"wait:{gates[1]}", *["ok"] * 5], first=106)
    wait_until(lambda: len(pool.begun()) == 102, what="both have one in hand")
    gate = {each.pid: gates[each.number == 106] for each in pool.begun()[100:]}

    pool.terminate(signal.SIGTTOU)
    wait_until(lambda: "Pool c1: number of workers is 1, was 2: SIGTTOU" in pool.log)
    time.sleep(0.3)
    assert len(pool.begun()) == 102, "nobody takes over from a worker that lives"
    gate[first].touch()
    wait_until(lambda: f"worker 1, pid {first}, has left" in pool.log)
    assert client.hexists(f"{{{stream_name}}}:left:group", "c1.1"), "so that what it had read ahead is not blamed"
    gate[pool.worker_pids()[0]].touch()

    pool.wait_handled(112, timeout=10)
    assert [each.pid for each in pool.handled()[100:]] == [first, *[pool.worker_pids()[0]] * 11]
    assert pool.stop() == 0
    assert_each_handled_once(pool, ids)


def test_a_leaving_worker_that_takes_too_long_is_killed(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Its event is handled by who stays, and the name of the killed one is removed."""
    pool = consume(workers=2, shutdown_timeout=0.6).wait_running(2)
    ids = add_logins(client, stream_name, 2, "sleep:2")
    wait_until(lambda: len(pool.begun()) == 2, what="both are in hand")

    pool.terminate(signal.SIGTTOU)

    wait_until(lambda: "died: not done within " in pool.log)
    handled = pool.wait_handled(2)
    assert {each.event_id for each in handled} == set(ids)
    assert {each.pid for each in handled} == {pool.worker_pids()[0]}
    wait_until(lambda: names(client, stream_name) == {"c1.0"}, what="only the name of the one that lives")
    assert pool.stop() == 0


def test_the_log_says_where_all_processes_are(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """SIGUSR1 while one worker hangs in C code: each process has one record with its stack, and goes on."""
    pool = consume(workers=2, shutdown_timeout=0.5).wait_running(2)
    add_logins(client, stream_name, 1, "hang_in_c")
    wait_until(pool.begun, what="it is in hand")

    pool.terminate(signal.SIGUSR1)

    wait_until(lambda: pool.log.count("Pool c1: where ") == 4, what="four records")
    assert "in _hang_in_c" in pool.log
    assert re.search(r"where worker [01], pid \d+, is:\n", pool.log)
    assert f"where supervisor, pid {pool.process.pid}, is:\n" in pool.log
    assert re.search(r"where monitor, pid \d+, is:\n", pool.log)
    assert "died" not in pool.log
    assert pool.stop() == 0


@pytest.mark.slow
def test_a_pool_grows_with_its_backlog_and_shrinks_when_it_is_idle(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """With a range the pool gets more workers while it falls behind, and fewer afterwards; the log says why."""
    pool = consume(workers="1-2").wait_running(1)
    ids = add_logins(client, stream_name, 1500, "sleep:0.02")

    wait_until(lambda: "Pool c1: number of workers is 2, was 1: the monitor asks for it" in pool.log)
    assert re.search(
        r"asks for the number of workers to be 2, is 1: all are busy, and [\d,]+ entries are unread, \d+\.\d s of work",
        pool.log,
    )
    pool.wait_handled(len(ids))
    wait_until(lambda: "Pool c1: number of workers is 1, was 2: the monitor asks for it" in pool.log, timeout=80)

    assert re.search(
        r"asks for the number of workers to be 1, is 2: 0\.\d of them were busy on average over \d+ s", pool.log
    )
    wait_until(lambda: names(client, stream_name) == {"c1.0"}, what="only the name of the one that lives")
    assert pool.stop() == 0
    assert_each_handled_once(pool, ids)


def test_a_consumer_without_workers_says_where_it_is_too(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """SIGUSR1 has it write its stack to standard error, and it goes on."""
    consumer = consume().wait_running()
    (first,) = add_logins(client, stream_name, 1, "sleep:2")
    wait_until(consumer.begun, what="the event is in hand")

    consumer.terminate(signal.SIGUSR1)

    wait_until(lambda: re.search(r'File ".+receivers.py", line \d+ in _sleep', consumer.log), what="its stack")
    (second,) = add_logins(client, stream_name, 1, first=1)
    consumer.wait_handled(2)
    assert consumer.stop() == 0
    assert_each_handled_once(consumer, [first, second])


def test_a_range_of_workers_that_cannot_be_is_a_bad_option(consume: Any) -> None:
    """The exit status is 2, and one line says what would be right."""
    for given in ("3-2", "0-4", "x"):
        consumer = consume(workers=given)

        assert consumer.wait() == 2
        (line,) = [line for line in consumer.log.splitlines() if line.startswith("edx-event-bus-redis: ")]
        assert line.startswith(f"edx-event-bus-redis: --extra key 'workers' is \"{given}\": expected ")
