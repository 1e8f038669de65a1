"""Stops: what is in hand is finished, what was read ahead too as far as time allows, and nothing is lost."""

import os
import re
import signal
import time
from typing import Any

import psutil
import pytest
import redis

from tests.support.events import add_batch, add_logins
from tests.support.waiting import wait_until

BOTH = pytest.mark.parametrize("workers", [None, 2])
STOPS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@BOTH
@STOPS
def test_an_idle_consumer_stops_with_status_0(consume: Any, workers: int | None, number: signal.Signals) -> None:
    """In the middle of a poll of a minute SIGTERM and SIGINT end the consumer within seconds, with status 0."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    children = consumer.children()
    began = time.monotonic()

    consumer.terminate(number)

    assert consumer.wait(20) == 0
    # The poll timeout is 60 s; this only tells it from a stop at its end.
    assert time.monotonic() - began < 20
    assert not any(child.is_running() for child in children)


@BOTH
def test_what_was_read_is_finished_before_the_stop(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """Under load a stop handles what was read ahead and leaves nothing pending; the rest is still to be read."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    ids = add_logins(client, stream_name, 600, "sleep:0.002")
    consumer.wait_handled(50)

    assert consumer.stop() == 0

    handled = [each.event_id for each in consumer.handled()]
    assert client.xpending(stream_name, "group")["pending"] == 0
    assert len(handled) == len(set(handled)) < 600
    again = consume(workers=workers, check_backlog=True)
    again.wait_handled(600)
    assert sorted(each.event_id for each in again.handled()) == sorted(ids)


@pytest.mark.parametrize("before", ["ok", "sleep:0.002"], ids=["not acknowledged", "acknowledged ahead"])
def test_the_log_says_how_many_entries_stay_pending(
    consume: Any, client: redis.Redis, stream_name: str, before: str
) -> None:
    """Of a worker that has to be killed everything that is pending counts: also what it has handled just before."""
    pool = consume(workers=1, shutdown_timeout=0.5).wait_running(1)
    add_logins(client, stream_name, 50)
    pool.wait_handled(50)
    add_batch(client, stream_name, [*[before] * 5, "hang", *["ok"] * 5], first=50)
    wait_until(lambda: len(pool.begun()) == 56, what="the one that hangs is in hand")

    assert pool.stop() == 0

    (said,) = re.findall(r"with (\d+) (?:entry|entries) left pending, 1 worker killed", pool.log)
    assert int(said) == client.xpending(stream_name, "group")["pending"]


@BOTH
def test_the_event_in_hand_is_finished(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """A stop waits for the event in hand and acknowledges it."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    add_logins(client, stream_name, 1, "sleep:1")
    wait_until(consumer.begun, what="the event is in hand")

    assert consumer.stop() == 0

    assert len(consumer.handled()) == 1
    assert client.xpending(stream_name, "group")["pending"] == 0


@BOTH
def test_a_handler_that_outlasts_the_shutdown_timeout_is_left(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """After shutdown_timeout the consumer leaves with status 0; the event in hand stays pending for the next start."""
    consumer = consume(workers=workers, shutdown_timeout=0.5).wait_running(workers or 1)
    (event_id,) = add_logins(client, stream_name, 1, "hang")
    wait_until(consumer.begun, what="the event is in hand")

    assert consumer.stop() == 0

    assert client.xpending(stream_name, "group")["pending"] == 1
    again = consume(workers=workers, check_backlog=True)
    wait_until(lambda: len(again.begun()) == 2, what="the next start begins with it")
    assert [each.event_id for each in again.begun()] == [event_id, event_id]


@BOTH
def test_a_second_signal_ends_at_once(consume: Any, client: redis.Redis, stream_name: str, workers: int | None) -> None:
    """Whoever insists does not have to wait for the event in hand."""
    consumer = consume(workers=workers, shutdown_timeout=1000).wait_running(workers or 1)
    add_logins(client, stream_name, 1, "hang")
    wait_until(consumer.begun, what="the event is in hand")
    children = consumer.children()

    consumer.terminate()
    if workers:
        wait_until(lambda: "stopping (SIGTERM)" in consumer.log, what="the stop has begun")
    # Another one, as two of a kind that come together are one.
    consumer.terminate(signal.SIGINT)

    assert consumer.wait() == 0
    assert not any(child.is_running() for child in children)
    assert client.xpending(stream_name, "group")["pending"] == 1


def test_a_stop_before_the_server_can_be_reached(consume: Any) -> None:
    """A consumer that waits for its server stops with status 0."""
    for workers in (None, 2):
        consumer = consume(url="redis://127.0.0.1:1/", workers=workers)
        wait_until(lambda consumer=consumer: "Error consuming event from Redis" in consumer.log, what="an error")

        assert consumer.stop() == 0


def test_ctrl_c_reaches_all_and_still_stops_gracefully(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A signal to the whole process group, as a terminal sends it, lets the event in hand be finished."""
    pool = consume(workers=2).wait_running(2)
    add_logins(client, stream_name, 1, "sleep:0.5")
    wait_until(pool.begun, what="the event is in hand")

    for process in [psutil.Process(pool.process.pid), *pool.children()]:
        os.kill(process.pid, signal.SIGINT)

    assert pool.wait() == 0
    assert len(pool.handled()) == 1
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_the_log_says_what_was_left(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """One line tells how long the stop took, what stays pending and whether workers were killed."""
    pool = consume(workers=2, shutdown_timeout=0.5).wait_running(2)
    add_logins(client, stream_name, 1, "hang")
    wait_until(pool.begun, what="the event is in hand")
    pool.stop()

    assert "Pool c1: stopping (SIGTERM), within 0.5 s" in pool.log
    assert "with 1 entry left pending, 1 worker killed" in pool.log
    assert re.search(r"Pool c1: where worker \d was:\n.+ in _hang\n", pool.log, re.DOTALL)
