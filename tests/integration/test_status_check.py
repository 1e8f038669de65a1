"""``event_bus_status --check``: one line and one status that a monitoring system can carry."""

import io
import json
import re
import signal
import threading
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings

from devtools.server import EmbeddedServer
from tests.support.commands import manage
from tests.support.events import TOPIC, add_logins
from tests.support.heartbeats import heartbeat, private, workers
from tests.support.receivers import SECRET
from tests.support.waiting import wait_until

PLACE = f"{TOPIC}/group"

pytestmark = [pytest.mark.usefixtures("bus_settings"), pytest.mark.server]


def check(*arguments: str, seconds: str = "0.05") -> tuple[int, str]:
    """Run the check in this process and return its status and what it printed."""
    out = io.StringIO()
    try:
        call_command("event_bus_status", "--check", "--check-seconds", seconds, *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def healthy(client: redis.Redis, stream_name: str) -> str:
    """A stream with a group, and a pool of two that has read everything; returns the stream's name."""
    client.xadd(stream_name, {"a": "b"})
    client.xgroup_create(stream_name, "group", "$")
    heartbeat(client, stream_name, "c1", **workers({}, {}))
    return stream_name


def test_where_nothing_is_wrong_one_line_says_so(healthy: str) -> None:
    """Status 0, and how much was looked at, so that an empty check is not taken for a good one."""
    assert check() == (0, "OK 1 stream, 1 group, 1 pool, 2 workers: nothing is wrong\n")


def test_each_thing_that_is_wrong_has_a_line(client: redis.Redis, healthy: str) -> None:
    """Status 1; the worst first, each with topic and group."""
    client.xadd(private(healthy, "dead"), {"a": "b"})
    client.xadd(private(healthy, "lost"), {"reason": "trimmed", "count": 4, "total": 4, "total_trimmed": 4})

    assert check() == (
        1,
        f"PROBLEM {PLACE}: 4 events lost in the last 24 h: 4 trimmed\nPROBLEM {PLACE}: 1 dead letter\n",
    )


def test_limits_can_be_given(client: redis.Redis, healthy: str) -> None:
    """How many dead letters are all right, for how long losses are told, how long an event may be in hand."""
    client.xadd(private(healthy, "dead"), {"a": "b"})
    at = f"{(client.time()[0] - 7300) * 1000}-0"
    client.xadd(private(healthy, "lost"), {"reason": "deleted", "count": 1, "total": 1, "total_deleted": 1}, id=at)
    heartbeat(client, healthy, "c1", **workers({"state": "busy", "entry": "5-0", "seconds": 400}))
    assert check()[1].count("PROBLEM") == 3

    limits = ("--dead-letters", "1", "--losses-hours", "2", "--stuck-seconds", "500")

    assert check(*limits)[0] == 0
    assert check(*limits[:-1], "300") == (
        1,
        f"PROBLEM {PLACE}: worker c1.0 has had entry 5-0 in hand for 7 min\n",
    )
    assert "1 deleted" in check("--losses-hours", "2.1", *limits[:2], *limits[4:])[1]


def test_a_stream_far_above_its_cap_is_told_where_what_is_not_acknowledged_is_kept(
    client: redis.Redis, healthy: str
) -> None:
    """All is read, but a consumer of other software hoards it: only with the setting that is wrong."""
    pipeline = client.pipeline()
    for _ in range(1200):
        pipeline.xadd(healthy, {"a": "b"})
    pipeline.execute()
    client.xreadgroup("group", "other", {healthy: ">"})

    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN=100):
        assert check()[0] == 0
    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN=100, EVENT_BUS_REDIS_STREAM_KEEP_UNACKED=True):
        status, printed = check()
    assert (status, printed.count("\n")) == (1, 1)
    assert printed.startswith(
        f"PROBLEM {PLACE}: the stream has 1,201 entries, its cap is about 100: 0 of them are unread"
    )


def test_a_standstill_is_seen_between_the_looks(client: redis.Redis, healthy: str) -> None:
    """More and more is added while a living pool handles nothing; if it grows no more it may be a pause."""
    client.delete(healthy)
    client.xadd(healthy, {"a": "b"}, id=f"{(client.time()[0] - 10) * 1000}-0")
    client.xgroup_create(healthy, "group", 0)
    stop = threading.Event()

    def produce() -> None:
        with redis.Redis(connection_pool=client.connection_pool) as producer:
            while not stop.wait(0.01):
                producer.xadd(healthy, {"a": "b"})

    producing = threading.Thread(target=produce)
    producing.start()
    try:
        status, printed = check(seconds="0.5")
    finally:
        stop.set()
        producing.join()

    assert status == 1
    assert re.fullmatch(
        rf"PROBLEM {PLACE}: \d+ entries unread, \d+ more than [\d.]+ s before, and nothing is handled\n", printed
    )
    assert check()[0] == 0


def test_a_real_pool_is_well_until_it_is_killed(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A pool at work passes; killed with events in hand it is told to be gone, with what it has left."""
    pool = consume(workers=2, check_backlog=True).wait_running(2)
    add_logins(client, stream_name, 2, "sleep:30")
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 2, what="both are in hand")
    wait_until(lambda: "2 workers" in check()[1], what="its heartbeat has both workers")
    assert check() == (0, "OK 1 stream, 1 group, 1 pool, 2 workers: nothing is wrong\n")

    pool.terminate(signal.SIGKILL)
    pool.wait()

    assert check() == (1, f"PROBLEM {PLACE}: pool c1 is gone and has left 2 entries pending\n")
    assert SECRET not in check("--json")[1]


def test_as_json_it_is_one_document(client: redis.Redis, healthy: str) -> None:
    """Streams as ever, with rates, and under ``findings`` what is wrong; the status is the same."""
    client.xadd(private(healthy, "dead"), {"a": "b"})

    status, printed = check("--json")

    document = json.loads(printed)
    assert status == 1
    assert document["findings"] == [
        {"kind": "dead_letters", "topic": TOPIC, "group": "group", "text": "1 dead letter"}
        | {"pool": None, "consumer": None}
    ]
    (stream,) = document["streams"]
    assert (stream["stream"], stream["added_per_second"]) == (healthy, 0.0)
    assert stream["groups"][0].items() >= {"seconds_to_cap": None, "seconds_to_done": None}.items()


def test_what_cannot_be_known_is_status_3(healthy: str, prefix: str) -> None:
    """A server that cannot be asked, and a name of which there is nothing, are neither good nor bad."""
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL="redis://:hush@127.0.0.1:1/"):
        assert check() == (
            3,
            "UNKNOWN Redis cannot be reached: Connection refused (redis://***@127.0.0.1:1/)\n",
        )
        status, printed = check("--json")
    assert status == 3
    assert json.loads(printed)["error"] == "Redis cannot be reached: Connection refused (redis://***@127.0.0.1:1/)"
    assert check("-t", "other") == (3, f"UNKNOWN there is no stream {prefix}-other\n")
    with override_settings(EVENT_BUS_TOPIC_PREFIX="nobody"):
        assert check() == (3, "UNKNOWN there is no stream whose name begins with nobody-\n")


def test_the_process_has_the_status_and_nothing_on_standard_error() -> None:
    """As a monitoring system sees it: 1 with a problem, 3 when Redis is down."""
    with EmbeddedServer() as server:
        server.client().xgroup_create("dev-user-login", "group", 0, mkstream=True)
        server.client().xadd(private("dev-user-login", "dead"), {"a": "b"})
        wrong = manage("event_bus_status", "--check", "--check-seconds", "0.1", url=server.url)
        url = server.url
    down = manage("event_bus_status", "--check", url=url)

    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (1, f"PROBLEM {PLACE}: 1 dead letter\n", "")
    assert (down.returncode, down.stderr) == (3, "")
    assert re.fullmatch(r"UNKNOWN Redis cannot be reached: .*\n", down.stdout)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--check", "--watch"), "--check and --watch exclude each other"),
        (("--watch", "0"), "--watch is '0': expected a number of seconds above 0"),
        (("--watch", "0.01"), "--watch is '0.01': expected 0.1 seconds or more"),
        (("--watch", "often"), "--watch is 'often': expected a number of seconds"),
        (("--check-seconds", "nan"), "--check-seconds is 'nan': expected a number of seconds"),
        (("--stuck-seconds", "-1"), "--stuck-seconds is '-1': expected a number of seconds"),
        (("--dead-letters", "1.5"), "--dead-letters is '1.5': expected a whole number from 0"),
        (("--losses-hours", "day"), "--losses-hours is 'day': expected a number of hours, 0 or more"),
    ],
)
def test_an_option_that_cannot_work_is_status_2(arguments: tuple[str, ...], expected: str) -> None:
    """One line names the option, its value and what would be right."""
    with pytest.raises(CommandError) as error:
        call_command("event_bus_status", *arguments, stdout=io.StringIO())

    assert error.value.returncode == 2
    assert str(error.value).startswith(expected)
