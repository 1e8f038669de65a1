"""The pool on real events: sharing, deaths, stops."""

import signal
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.support.events import add_logins
from tests.support.waiting import wait_until


def test_workers_share_one_group_under_unique_names(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """N workers of one pool handle each event once, as consumers c1.0 to c1.N-1 of one group."""
    pool = consume(workers=3).wait_running(3)
    ids = add_logins(client, stream_name, 300, "sleep:0.005")

    handled = pool.wait_handled(300)

    assert sorted(each.event_id for each in handled) == sorted(ids)
    assert {each.pid for each in handled} == set(pool.worker_pids().values())
    names = {consumer["name"] for consumer in client.xinfo_consumers(stream_name, "group")}
    assert names == {b"c1.0", b"c1.1", b"c1.2"}
    assert pool.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_a_killed_worker_is_replaced_and_its_events_are_handled(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """SIGKILL of a worker under load loses nothing and repeats one event at the most."""
    pool = consume(workers=2).wait_running(2)
    ids = add_logins(client, stream_name, 200, "sleep:0.01")
    pool.wait_handled(20)
    victim = pool.worker_pids()[0]

    psutil.Process(victim).kill()
    handled = pool.wait_handled(200)

    assert {each.event_id for each in handled} == set(ids)
    assert len(handled) <= 201
    assert pool.worker_pids()[0] != victim
    assert f"worker 0, pid {victim}, died: SIGKILL; " in pool.log
    assert pool.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_workers_die_with_a_killed_supervisor(consume: Any) -> None:
    """When the supervisor is killed its workers are gone at once."""
    pool = consume(workers=3).wait_running(3)
    workers = pool.children()
    assert len(workers) == 3 + 1, "with the monitor"

    pool.terminate(signal.SIGKILL)
    pool.wait()

    wait_until(lambda: not any(worker.is_running() for worker in workers), timeout=5, what="no orphan")


def test_what_an_event_needs_is_loaded_once_for_all_workers(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """The database's backend is loaded before the fork, and replacements have it too: all of them share it."""
    database = {"ENGINE": "tests.support.announced", "NAME": ":memory:"}
    pool = consume(workers=2, settings={"DATABASES": {"default": database}}).wait_running(2)
    psutil.Process(pool.worker_pids()[0]).kill()
    pool.wait_running(3)
    add_logins(client, stream_name, 20, "query:default")

    pool.wait_handled(20)

    assert Path(f"{pool.record}.loaded").read_text().split() == [str(pool.process.pid)]


def test_the_supervisor_has_no_connection_and_no_thread(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """What is got ready in the supervisor leaves it alone: it is connected to nothing, and forks from one thread."""
    pool = consume(workers=2).wait_running(2)
    add_logins(client, stream_name, 20)
    pool.wait_handled(20)

    supervisor = psutil.Process(pool.process.pid)
    # psutil before 6 has the older name.
    connections = getattr(supervisor, "net_connections", None) or supervisor.connections
    assert [each for each in connections("inet") if each.raddr] == []
    assert supervisor.num_threads() == 1
