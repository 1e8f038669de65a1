"""The command ``event_bus_status``: what Redis knows of streams, groups, consumers and pools."""

import io
import json
import re
import signal
import time
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.private import GroupStore
from tests.support.commands import manage
from tests.support.events import TOPIC, add_logins
from tests.support.heartbeats import heartbeat, private
from tests.support.receivers import SECRET
from tests.support.waiting import wait_until

STREAM_KEYS = ["topic", "stream", "length", "first_id", "last_id", "max_len", "groups", "added", "keep_unacked"]
GROUP_KEYS = [
    *("group", "lag", "pending", "lost", "lost_by_reason", "dead_letters", "retries_waiting"),
    *("oldest_pending_seconds", "oldest_unread_seconds", "last_delivered_id", "consumers", "pools"),
    *("finished", "lost_lately", "last_loss_seconds"),
]
CONSUMER_KEYS = ["name", "pending", "idle_seconds", "pool", "state"]
POOL_KEYS = ["pool", "alive", "host", "pid", "version", "since", "workers", "state", "monitor", "options", "stopped"]

pytestmark = [pytest.mark.usefixtures("bus_settings"), pytest.mark.server]


def here(*arguments: str) -> str:
    """Run the command in this process and return what it printed."""
    out = io.StringIO()
    call_command("event_bus_status", *arguments, stdout=out)
    return out.getvalue()


def streams(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(here("--json", *arguments))["streams"]
    return found


def the_group(name: str = "group") -> dict[str, Any]:
    (stream,) = streams("-t", TOPIC)
    (group,) = [group for group in stream["groups"] if group["group"] == name]
    return group


def fill(client: redis.Redis, stream: str, count: int) -> list[bytes]:
    pipeline = client.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd(stream, {"a": "b"})
    return pipeline.execute()


def worker(shard: int, **fields: Any) -> dict[str, Any]:
    idle = {"shard": shard, "pid": 20 + shard, "state": "idle", "entry": None, "again": False, "seconds": 0.0}
    return {**idle, "handled": 7, "failed": 1, "errors": 0, **fields}


# What there is.


def test_where_there_is_nothing_the_list_is_empty(client: redis.Redis, prefix: str, stream_name: str) -> None:
    """A prefix or a topic of which there is nothing is no error, and asking makes nothing."""
    assert streams() == streams("-t", TOPIC) == []
    assert here("-t", TOPIC) == f"there is no stream {stream_name}\n"
    assert here() == f"there is no stream whose name begins with {prefix}-\n"
    assert list(client.scan_iter(f"*{stream_name}*")) == []


def test_everything_has_its_key(client: redis.Redis, stream_name: str) -> None:
    """The JSON object has the documented keys in their order, and the stream's length, ends and cap."""
    first, *_, last = fill(client, stream_name, 5)
    client.xgroup_create(stream_name, "group", 0)
    client.xreadgroup("group", "c1.0", {stream_name: ">"}, count=2)
    heartbeat(client, stream_name, "c1", workers=1, state=json.dumps([worker(0)]))

    with override_settings(EVENT_BUS_REDIS_STREAM_MAX_LEN=500):
        (stream,) = streams()

    assert list(stream) == STREAM_KEYS
    assert (stream["topic"], stream["stream"], stream["length"]) == (TOPIC, stream_name, 5)
    assert (stream["first_id"], stream["last_id"], stream["max_len"]) == (first.decode(), last.decode(), 500)
    (group,) = stream["groups"]
    assert list(group) == GROUP_KEYS
    assert [list(each) for each in group["consumers"]] == [CONSUMER_KEYS]
    assert [list(each) for each in group["pools"]] == [POOL_KEYS]


def test_all_streams_of_the_prefix_are_shown_and_no_others(client: redis.Redis, prefix: str) -> None:
    """Without -t every stream of the prefix is there, whatever its characters, and none that is private to a group."""
    odd = f"{prefix}*[a?]\\"
    names = [f"{odd}-b", f"{odd}-a", f"{prefix}xa?\\-c", f"{prefix}-d", private(f"{odd}-a", "again")]
    try:
        for name in names:
            client.xadd(name, {"a": "b"})
        client.set(f"{odd}-text", "x")

        with override_settings(EVENT_BUS_TOPIC_PREFIX=odd):
            assert [(each["topic"], each["stream"]) for each in streams()] == [("a", f"{odd}-a"), ("b", f"{odd}-b")]
            assert [each["topic"] for each in streams("-t", "b")] == ["b"]
        with override_settings(EVENT_BUS_TOPIC_PREFIX=None):
            shown = {each["topic"] for each in streams()}
            assert shown.issuperset(names[:-1])
            assert not any(name.startswith("{") for name in shown)
    finally:
        client.delete(*names, f"{odd}-text")


@pytest.mark.parametrize("arguments", [(), ("-t", TOPIC)])
def test_what_outlives_its_stream_is_shown(client: redis.Redis, stream_name: str, arguments: tuple[str, ...]) -> None:
    """Dead letters and losses of a group whose stream is gone are there."""
    client.xadd(private(stream_name, "dead"), {"a": "b"})
    client.xadd(private(stream_name, "lost", "o:ther"), {"reason": "trimmed", "count": 3, "total": 3})

    (stream,) = streams(*arguments)

    assert (stream["stream"], stream["length"], stream["first_id"]) == (stream_name, None, None)
    assert [(each["group"], each["dead_letters"], each["lost"]) for each in stream["groups"]] == [
        ("group", 1, 0),
        ("o:ther", 0, 3),
    ]
    assert [(each["lag"], each["last_delivered_id"]) for each in stream["groups"]] == [(None, None)] * 2
    assert f"Stream {stream_name} does not exist" in here(*arguments)


def test_a_group_that_is_gone_is_shown_with_what_it_left(client: redis.Redis, stream_name: str) -> None:
    """The dead letters of a group that was destroyed are there beside the groups of the stream."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    client.xadd(private(stream_name, "dead", "gone"), {"a": "b"})

    assert (the_group()["lag"], the_group()["last_delivered_id"]) == (0, "0-0")
    assert (the_group("gone")["lag"], the_group("gone")["dead_letters"]) == (None, 1)
    assert "It is gone from the stream" in here()


# What a group has not read.


def test_an_empty_stream_has_no_lag(client: redis.Redis, stream_name: str) -> None:
    """Nothing was ever added: nothing is unread, and nothing has an age."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)

    group = the_group()

    assert (group["lag"], group["pending"], group["consumers"]) == (0, 0, [])
    assert (group["oldest_unread_seconds"], group["oldest_pending_seconds"]) == (None, None)


def test_a_group_that_nobody_reads_has_everything_to_read(client: redis.Redis, stream_name: str) -> None:
    """Without a consumer the lag is the stream's length, and stays right when entries are added."""
    fill(client, stream_name, 30)
    client.xgroup_create(stream_name, "group", 0)
    assert the_group()["lag"] == 30
    fill(client, stream_name, 12)

    assert the_group()["lag"] == 42
    client.xgroup_setid(stream_name, "group", "$")
    assert the_group()["lag"] == 0


def test_lag_is_right_after_a_trim(client: redis.Redis, stream_name: str) -> None:
    """Entries that were trimmed unread are not to be read any more, also when the group has read on over the gap."""
    fill(client, stream_name, 300)
    client.xgroup_create(stream_name, "group", 0)
    client.xreadgroup("group", "c", {stream_name: ">"}, count=5)
    client.xtrim(stream_name, maxlen=100, approximate=False)
    assert the_group()["lag"] == 100

    client.xreadgroup("group", "c", {stream_name: ">"}, count=10)

    assert the_group()["lag"] == 90


def test_lag_is_right_after_deletions(client: redis.Redis, stream_name: str) -> None:
    """Redis knows no lag when an entry ahead of the cursor was deleted; then they are counted, however many."""
    ids = fill(client, stream_name, 3500)
    client.xgroup_create(stream_name, "group", 0)
    client.xreadgroup("group", "c", {stream_name: ">"}, count=5)
    client.xdel(stream_name, *ids[100:110], ids[2], ids[-1])
    assert the_group()["lag"] == 3484

    client.xdel(stream_name, *ids[5:])

    assert (the_group()["lag"], the_group()["oldest_unread_seconds"]) == (0, None)


def test_a_lag_that_cannot_be_known_is_null(client: redis.Redis, stream_name: str) -> None:
    """More than can be counted, and a deletion on the way: unknown, and never a number that may be wrong."""
    ids = fill(client, stream_name, 102_000)
    client.xgroup_create(stream_name, "group", 0)
    client.xreadgroup("group", "c", {stream_name: ">"}, count=5)
    client.xdel(stream_name, ids[100])

    assert the_group()["lag"] is None
    assert the_group()["oldest_unread_seconds"] >= 0
    assert re.search(r"^group +\? ", here("-t", TOPIC), re.MULTILINE)


def test_ages_are_by_the_servers_clock(client: redis.Redis, stream_name: str) -> None:
    """The oldest pending and the oldest unread entry have the age that their ids tell."""
    now = client.time()[0]
    for age in (500, 400, 300):
        client.xadd(stream_name, {"a": "b"}, id=f"{(now - age) * 1000}-0")
    client.xgroup_create(stream_name, "group", 0)
    client.xreadgroup("group", "c", {stream_name: ">"}, count=2)
    client.xack(stream_name, "group", f"{(now - 500) * 1000}-0")

    group = the_group()

    assert 400 <= group["oldest_pending_seconds"] < 490
    assert 300 <= group["oldest_unread_seconds"] < 390


# What a group has beside the stream.


def test_losses_dead_letters_and_retries_are_counted(client: redis.Redis, stream_name: str) -> None:
    """The totals are those of the newest record of the ledger, and each group has its own."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    client.xgroup_create(stream_name, "other", 0)
    ledger = private(stream_name, "lost")
    client.xadd(ledger, {"reason": "trimmed", "count": 4, "total": 4, "total_trimmed": 4})
    client.xadd(ledger, {"reason": "skipped", "count": 2, "total": 6, "total_trimmed": 4, "total_skipped": 2})
    fill(client, private(stream_name, "dead"), 3)
    fill(client, private(stream_name, "again"), 2)
    client.zadd(private(stream_name, "later"), {"x": 1, "y": 2, "z": 3})

    group = the_group()

    assert (group["lost"], group["dead_letters"], group["retries_waiting"]) == (6, 3, 5)
    assert group["lost_by_reason"] == {
        "trimmed": 4,
        "deleted": 0,
        "skipped": 2,
        "group_gone": 0,
        "forgotten": 0,
        "dropped_dead_letters": 0,
    }
    assert (the_group("other")["lost"], the_group("other")["dead_letters"]) == (0, 0)
    assert "Lost events: 4 trimmed, 2 skipped." in here()


def test_losses_of_late_are_told_apart(client: redis.Redis, stream_name: str) -> None:
    """What was lost within a time is the difference of two records, also where the ledger begins later."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    ledger, now = private(stream_name, "lost"), client.time()[0] * 1000

    def lose(seconds_ago: int, reason: str, count: int, **totals: int) -> None:
        fields = {"reason": reason, "count": count, "total": sum(totals.values())}
        fields |= {f"total_{name}": total for name, total in totals.items()}
        client.xadd(ledger, fields, id=f"{now - seconds_ago * 1000}-0")

    assert (the_group()["lost_lately"], the_group()["last_loss_seconds"]) == ({}, None)
    lose(90_000, "trimmed", 4, trimmed=4)
    assert the_group()["lost_lately"] == {}
    assert 90_000 <= the_group()["last_loss_seconds"] < 90_100
    lose(80_000, "skipped", 2, trimmed=4, skipped=2)
    lose(3600, "trimmed", 10, trimmed=14, skipped=2)
    assert the_group()["lost_lately"] == {"trimmed": 10, "skipped": 2}

    client.xtrim(ledger, maxlen=1, approximate=False)

    assert (the_group()["lost_lately"], the_group()["lost"]) == ({"trimmed": 10}, 16)
    assert 3600 <= the_group()["last_loss_seconds"] < 3700


def test_what_a_group_is_done_with_is_counted(client: redis.Redis, stream_name: str) -> None:
    """Entries that were read and are not pending, and all that were ever added, are what rates are made of."""
    fill(client, stream_name, 5)
    if "entries-added" not in client.xinfo_stream(stream_name):
        pytest.skip("before Redis 7 the server does not count them")
    client.xgroup_create(stream_name, "group", 0)
    ((_, read),) = client.xreadgroup("group", "c", {stream_name: ">"}, count=3)
    assert the_group()["finished"] == 0

    client.xack(stream_name, "group", read[0][0], read[1][0])

    assert the_group()["finished"] == 2
    client.xtrim(stream_name, maxlen=1, approximate=False)
    assert streams()[0]["added"] == 5


def test_a_pool_on_another_host_is_shown_as_its_heartbeat_has_it(client: redis.Redis, stream_name: str) -> None:
    """Each worker's state is there, consumers have those of their pool, and no token is told."""
    fill(client, stream_name, 5)
    client.xgroup_create(stream_name, "group", 0)
    for name in ("c1.0", "c1.5", "c2.0", "c3"):
        client.xreadgroup("group", name, {stream_name: ">"}, count=1)
    state = [worker(0, state="busy", entry="5-0", seconds=1.5), worker(1, state="starting")]
    heartbeat(client, stream_name, "c1", workers=2, state=json.dumps(state))
    client.hset(private(stream_name, "pools"), "c2", "gone")

    group = the_group()

    alive, gone = group["pools"]
    assert (alive["pool"], alive["alive"], alive["host"], alive["pid"]) == ("c1", True, "web-1", 12)
    assert (alive["version"], alive["workers"], alive["state"]) == ("2.0.0", 2, state)
    assert abs(time.time() - 7200 - alive["since"]) < 60
    assert gone == {"pool": "c2", "alive": False} | dict.fromkeys(POOL_KEYS[2:]) | {
        "state": [],
        "options": {},
        "stopped": False,
    }
    assert [(each["name"], each["pending"], each["pool"], each["state"]) for each in group["consumers"]] == [
        ("c1.0", 1, "c1", "busy"),
        ("c1.5", 1, "c1", "gone"),
        ("c2.0", 1, "c2", "gone"),
        ("c3", 1, None, None),
    ]
    assert "sesame" not in here() + here("--json")


def test_a_lease_is_enough_to_be_seen(client: redis.Redis, stream_name: str) -> None:
    """A pool that others have forgotten, or whose heartbeat is damaged, is still shown."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    client.xreadgroup("group", "c1.0", {stream_name: ">"})
    heartbeat(client, stream_name, "c1", state="[{", pid="many")
    client.delete(private(stream_name, "pools"))
    client.xgroup_createconsumer(stream_name, "group", "c1.0")

    group = the_group()

    assert [(each["pool"], each["alive"], each["pid"], each["state"]) for each in group["pools"]] == [
        ("c1", True, None, [])
    ]
    assert [(each["pool"], each["state"]) for each in group["consumers"]] == [("c1", None)]
    assert "Pool c1: host web-1" in here()


def test_a_real_pool_is_shown_and_its_end_too(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """The workers of a running pool are there with what they do; when it was killed it is gone, at once on its host."""
    pool = consume(workers=2, check_backlog=True).wait_running(2)
    add_logins(client, stream_name, 4, "sleep:1")
    pids = pool.worker_pids()

    def all_busy() -> dict[str, Any] | None:
        group = the_group()
        states = group["pools"][0]["state"] if group["pools"] else []
        return group if [each["state"] for each in states] == ["busy"] * 2 else None

    group = wait_until(all_busy, what="both workers are busy")

    (shown,) = group["pools"]
    assert (shown["alive"], shown["pid"], shown["workers"]) == (True, pool.process.pid, 2)
    assert {each["shard"]: each["pid"] for each in shown["state"]} == pids
    assert {(each["name"], each["pool"], each["state"]) for each in group["consumers"]} == {
        ("c1.0", "c1", "busy"),
        ("c1.1", "c1", "busy"),
    }
    assert SECRET not in here() + here("--json")
    pool.terminate(signal.SIGKILL)
    pool.wait()
    group = the_group()
    assert [(each["pool"], each["alive"]) for each in group["pools"]] == [("c1", False)]
    assert {each["state"] for each in group["consumers"]} == {"gone"}
    assert group["pending"] > 0


def test_a_pool_that_stopped_is_told_from_one_that_is_gone(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """It has ended in good order, and so have its workers, until it is started again."""
    pool = consume(workers=1).wait_running(1)
    wait_until(lambda: client.hget(private(stream_name, "pool") + ":c1", "state"), what="the first heartbeat")
    assert pool.stop() == 0

    group = the_group()

    assert [(each["pool"], each["alive"], each["stopped"]) for each in group["pools"]] == [("c1", False, True)]
    assert group["consumers"] == []
    assert "Pool c1 has stopped." in here()
    consume(workers=1, consumer_name="c2").wait_running(1)
    wait_until(lambda: [each["pool"] for each in the_group()["pools"]] == ["c2"], what="it is forgotten")


def test_a_consumer_that_left_is_told_from_one_that_is_silent(client: redis.Redis, stream_name: str) -> None:
    """A consumer that was stopped, and has left something, has left; of one of other software nothing is known."""
    add_logins(client, stream_name, 1)
    client.xgroup_create(stream_name, "group", id="0")
    client.xreadgroup("group", "c1", {stream_name: ">"})
    GroupStore(client, stream_name, "group", "c1").leave()
    client.xgroup_createconsumer(stream_name, "group", "other")

    states = {each["name"]: each["state"] for each in the_group()["consumers"]}

    assert states == {"c1": "left", "other": None}


# How it is printed.


def test_the_tables_fit_80_columns(client: redis.Redis, stream_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 80 columns every number is in one piece, and nothing that others have chosen controls the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    fill(client, stream_name, 1234)
    long = "course-discovery-service-refresh"
    client.xgroup_create(stream_name, "group", 0)
    client.xgroup_create(stream_name, long, 0)
    client.xgroup_create(stream_name, "\x1b[2J[red]", 0)
    client.xreadgroup("group", "discovery-7d9f8b6c4-x2x9z.0", {stream_name: ">"}, count=1)
    client.xadd(private(stream_name, "lost", long), {"total": 1_234_567, "total_trimmed": 1_234_567})
    state = [worker(0, state="busy", entry="1795558657359-18", seconds=125.0, handled=12_345)]
    heartbeat(client, stream_name, "discovery-7d9f8b6c4-x2x9z", workers=1, state=json.dumps(state))

    lines = [line.rstrip() for line in here().splitlines()]

    assert max(map(len, lines)) <= 80
    assert lines[0] == f"Stream {stream_name}: 1,234 of about 10,000 entries"
    assert any(re.fullmatch(r"group +1,233 +1 +0 +0 +0 +\S+ s +\S+ s", line) for line in lines)
    assert any("1,234" in line and "1,234,567" in line for line in lines)
    assert "Pool discovery-7d9f8b6c4-x2x9z: host web-1, pid 12, 1 worker, up 2 h, version" in lines
    assert any(re.fullmatch(r"….0 +busy +1 +\S+ s +12,345 +1 +0 +1795558657359-18 +2 min", line) for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "'\\x1b[2J[red]'" in "".join(lines)


def test_deaths_are_told_below_the_workers(client: redis.Redis, stream_name: str) -> None:
    """A shard whose workers died has a line with how often and what of; one whose workers live has none."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    state = [worker(0, restarts=0, last_death=None), worker(1, restarts=7, last_death="SIGKILL"), worker(2)]
    heartbeat(client, stream_name, "c1", workers=3, state=json.dumps(state))

    assert [line for line in here().splitlines() if "died" in line] == [
        "Worker c1.1 died 7 times, the last time of: SIGKILL"
    ]


def test_names_that_are_no_text_are_shown(client: redis.Redis, stream_name: str) -> None:
    """A group and a consumer of other software may have any bytes for a name."""
    client.xadd(stream_name, {"a": "b"})
    client.execute_command("XGROUP", "CREATE", stream_name, b"\xff", "0")
    client.execute_command("XREADGROUP", "GROUP", b"\xff", b"\xfe", "STREAMS", stream_name, ">")

    group = the_group("\\xff")

    assert (group["pending"], group["lag"], len(group["consumers"])) == (1, 0, 1)
    assert "\\xff" in here()


def test_no_payload_is_shown(client: redis.Redis, stream_name: str) -> None:
    """Neither form has anything of what events hold."""
    add_logins(client, stream_name, 1)
    add_logins(client, private(stream_name, "dead"), 1)
    client.xgroup_create(stream_name, "group", 0)

    assert SECRET not in here() + here("--json")


# What goes wrong.


def test_a_key_that_is_no_stream_is_named(client: redis.Redis, stream_name: str) -> None:
    """Something else under the name of a topic, or of what is private to a group, ends with one line that names it."""
    client.set(stream_name, "x")
    with pytest.raises(
        CommandError, match=rf"^Redis cannot do it: key {stream_name} is a string, not a stream \(.*\)$"
    ):
        here("-t", TOPIC)
    client.delete(stream_name)
    client.xgroup_create(stream_name, "group", 0, mkstream=True)
    client.set(private(stream_name, "dead"), "x")

    with pytest.raises(CommandError, match=re.escape(f"({{{stream_name}}}:…:group) is of another type: WRONGTYPE")):
        here()


@pytest.mark.parametrize(
    ("settings", "arguments", "status", "expected"),
    [
        ({"EVENT_BUS_REDIS_CONNECTION_URL": None}, (), 2, "setting EVENT_BUS_REDIS_CONNECTION_URL is missing"),
        ({"EVENT_BUS_REDIS_CONNECTION_URL": "localhost"}, (), 2, "setting EVENT_BUS_REDIS_CONNECTION_URL"),
        ({"EVENT_BUS_REDIS_STREAM_MAX_LEN": 0}, (), 2, "setting EVENT_BUS_REDIS_STREAM_MAX_LEN is 0"),
        ({}, ("-t", ""), 2, "--topic is ''"),
        ({"EVENT_BUS_REDIS_CONNECTION_URL": "redis://:hush@127.0.0.1:1/"}, (), 1, "Redis cannot be reached: "),
    ],
)
def test_what_cannot_work_is_told(
    settings: dict[str, Any], arguments: tuple[str, ...], status: int, expected: str
) -> None:
    """A bad setting ends with status 2, a server that is down with 1; both with one line, without a password."""
    with override_settings(**settings), pytest.raises(CommandError) as error:
        here(*arguments)

    assert error.value.returncode == status
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
    assert "hush" not in str(error.value)


def test_the_process_ends_with_one_line() -> None:
    """The command line says in one line that the server is down, or wants another password, and ends with status 1."""
    with EmbeddedServer(password="secret") as server:
        done = manage("event_bus_status", "--json", url=server.url)
        assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"streams": []}, "")
        refused = manage("event_bus_status", "--json", url=server.url.replace("secret", "hush"), starts=True)
        url = server.url
    down = manage("event_bus_status", "--json", url=url)

    assert (refused.returncode, refused.stdout, down.returncode, down.stdout) == (1, "", 1, "")
    assert re.fullmatch(r"CommandError: Redis refuses access: [^\n]* \(redis://\*\*\*@127[^\n]*\)\n", refused.stderr)
    assert re.fullmatch(r"CommandError: Redis cannot be reached: [^\n]* \(redis://\*\*\*@127[^\n]*\)\n", down.stderr)
