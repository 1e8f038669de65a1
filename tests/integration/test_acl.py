"""Each role under the rights of docs/acl.rst, and under no others."""

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings

from devtools.embedded import HOST, EmbeddedServer
from edx_event_bus_redis import OutgoingEvent
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.errors import AccessRefused
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.producer import RedisEventProducer
from tests.support.clusters import cluster
from tests.support.commands import ROOT
from tests.support.consuming import ConsumerProcess
from tests.support.events import SIGNAL, TOPIC, add_logins, login_data
from tests.support.waiting import wait_until

pytestmark = pytest.mark.server

PREFIX = "dev"
STREAM = f"{PREFIX}-{TOPIC}"

_LINE = re.compile(r"^ +ACL SETUSER (bus-\S+) (.+)$", re.MULTILINE)

# What tells how a role does, or is done by whoever sets the test up.
_NOT_OF_A_ROLE = {"config|resetstat", "flushall", "info", "acl|log"}

# Needs no right.
_FREE = {"auth"}


def rights(role: str) -> list[str]:
    """Return the rules of a role in the documentation."""
    lines = _LINE.findall((ROOT / "docs" / "acl.rst").read_text())
    return [rule for name, rules in lines if name == role for rule in rules.split()]


def commands(role: str) -> set[str]:
    """Return the commands that a role may run."""
    return {rule.removeprefix("+") for rule in rights(role) if rule.startswith("+")}


class Limited:
    """A server on which the roles have the rights of the documentation, and nothing was run yet."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.client = server.client()
        for role in ("bus-producer", "bus-consumer", "bus-status", "bus-operator"):
            self.client.execute_command("ACL", "SETUSER", role, *rights(role))
        # So that little is trimmed at once.
        self.client.config_set("stream-node-max-entries", 1)

    def url(self, role: str) -> str:
        """Return the URL by which a role connects."""
        return f"redis://{role}:password@{HOST}:{self.server.port}/"

    def used(self) -> set[str]:
        """Return the commands that were run since the last reset."""
        return {name.removeprefix("cmdstat_") for name in self.client.info("commandstats")} - _NOT_OF_A_ROLE - _FREE

    def refused(self) -> list[Any]:
        """Return what anybody was refused."""
        log: list[Any] = self.client.execute_command("ACL LOG")
        return log


@pytest.fixture
def limited(own_server: EmbeddedServer) -> Limited:
    return Limited(own_server)


def leave_something(client: redis.Redis) -> None:
    """Have another consumer leave entries pending, of which one is deleted, and lose some that nobody has read."""
    client.xgroup_create(STREAM, "group", "0", mkstream=True)
    add_logins(client, STREAM, 3)
    client.xreadgroup("group", "old", {STREAM: ">"}, count=3)
    client.xdel(STREAM, client.xrange(STREAM, count=1)[0][0])
    add_logins(client, STREAM, 4)
    client.xtrim(STREAM, maxlen=3)


def fail_when_acknowledged(client: redis.Redis, pool: ConsumerProcess, go: Path) -> None:
    """Have an event fail that was acknowledged by somebody else while a worker had it in hand."""
    (event_id,) = add_logins(client, STREAM, 1, f"wait:{go},raise")
    wait_until(lambda: event_id in {each.event_id for each in pool.begun()}, what="it is in hand")
    client.xack(STREAM, "group", client.xrevrange(STREAM, count=1)[0][0])
    go.touch()
    wait_until(lambda: "was not pending" in pool.log, what="it is left alone")


def test_a_consumer_needs_just_its_rights(
    consume: Callable[..., ConsumerProcess], limited: Limited, tmp_path: Path
) -> None:
    """Start, retries, dead letters, take-over, losses, a flush, and both kinds of consumer: all allowed, all needed."""
    client = limited.client
    arguments = {"url": limited.url("bus-consumer"), "prefix": PREFIX, "check_backlog": True}
    arguments |= {"claim_msgs_older_than": 1000, "max_retries": 1, "max_deliveries": 2}
    leave_something(client)
    client.config_resetstat()
    pool = consume(**arguments, workers=2)
    add_logins(client, STREAM, 1, "sleep:2.5")
    for order in ("ok", "fail:1", "raise", "kill"):
        add_logins(client, STREAM, 1, order)
    # What the other left, what nobody had read, and those that are handled in the end.
    pool.wait_handled(5)
    wait_until(lambda: pool.log.count("dead letter") >= 2, what="two dead letters")
    fail_when_acknowledged(client, pool, tmp_path / "fail")
    client.flushall()
    wait_until(lambda: "made anew" in pool.log, what="the group is made anew")
    wait_until(lambda: client.exists(f"{{{STREAM}}}:pool:group:c1"), what="the pool has its name again")
    go = tmp_path / "go"
    add_logins(client, STREAM, 3, f"wait:{go}")
    wait_until(lambda: len([each for each in pool.begun() if each.event_id]) >= 9, what="both workers are busy")
    pool.process.kill()
    pool.wait()
    go.touch()

    successor = consume(**arguments | {"consumer_name": "c2"}, workers=1)

    successor.wait_handled(8)
    wait_until(lambda: len(client.xinfo_consumers(STREAM, "group")) == 1, what="the dead pool's names are removed")
    assert successor.stop() == 0
    add_logins(client, STREAM, 1)
    alone = consume(**{**arguments, "consumer_name": "c3", "check_backlog": False})
    assert alone.wait_running().stop() == 0
    assert limited.refused() == []
    assert limited.used() == commands("bus-consumer")


def test_a_producer_needs_just_its_rights(limited: Limited) -> None:
    """One event and many can be sent, and nothing else is asked for."""
    limited.client.config_resetstat()
    event = OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data())
    with override_settings(EVENT_BUS_TOPIC_PREFIX=PREFIX):
        producer = RedisEventProducer(limited.url("bus-producer"))
        producer.deliver(
            signal=SIGNAL,
            topic=TOPIC,
            event_key_field="",
            event_data=login_data(),
            event_metadata=event.event_metadata,
        )
        assert producer.send_many([event] * 3) == 3

    assert limited.refused() == []
    assert limited.used() == commands("bus-producer")


def test_a_producer_that_waits_for_replicas_needs_one_right_more(limited: Limited) -> None:
    """With +wait beside its rights nothing is refused."""
    limited.client.execute_command("ACL", "SETUSER", "bus-producer", "+wait")
    limited.client.config_resetstat()
    event = OutgoingEvent(signal=SIGNAL, topic=TOPIC, event_data=login_data())
    with override_settings(EVENT_BUS_TOPIC_PREFIX=PREFIX, EVENT_BUS_REDIS_PRODUCER_WAIT_REPLICAS=1):
        assert RedisEventProducer(limited.url("bus-producer")).send_many([event]) == 1

    assert limited.refused() == []
    assert limited.used() == {*commands("bus-producer"), "wait"}


def test_a_producer_is_told_what_it_may_not_do(limited: Limited) -> None:
    """A stream of another prefix is refused, in words that say that it is the key."""
    with override_settings(EVENT_BUS_TOPIC_PREFIX="other"), pytest.raises(AccessRefused) as caught:
        RedisEventProducer(limited.url("bus-producer")).deliver(
            signal=SIGNAL,
            topic=TOPIC,
            event_key_field="",
            event_data=login_data(),
            event_metadata=SIGNAL.generate_signal_metadata(),
        )

    assert f"other-{TOPIC}" in str(caught.value)


def make_dead_letters(consume: Callable[..., ConsumerProcess], limited: Limited, number: int) -> None:
    """Have a consumer fail at so many events, and leave."""
    add_logins(limited.client, STREAM, number, "raise")
    consumer = consume(url=limited.url("bus-consumer"), prefix=PREFIX, workers=1, check_backlog=True)
    wait_until(lambda: limited.client.xlen(f"{{{STREAM}}}:dead:group") == number, what="the dead letters")
    assert consumer.stop() == 0


def run(limited: Limited, role: str, command: str, *arguments: str, **options: Any) -> Any:
    """Run a command as a role, and return what its JSON says."""
    out = StringIO()
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=limited.url(role), EVENT_BUS_TOPIC_PREFIX=PREFIX):
        call_command(command, *arguments, json=True, stdout=out, **options)
    return json.loads(out.getvalue())


def test_the_status_needs_just_its_rights(consume: Callable[..., ConsumerProcess], limited: Limited) -> None:
    """The status of all streams and of one can be seen, and nothing can be changed."""
    make_dead_letters(consume, limited, 1)
    limited.client.zadd(f"{{{STREAM}}}:later:group", {b"waits": 2e12})
    limited.client.xadd(f"{{{STREAM}}}:again:group", {b"waits": b"too"})
    limited.client.execute_command("SCRIPT FLUSH")
    limited.client.config_resetstat()

    for options in ({}, {"topic": TOPIC}):
        (stream,) = run(limited, "bus-status", "event_bus_status", **options)["streams"]
        assert (stream["groups"][0]["dead_letters"], stream["groups"][0]["retries_waiting"]) == (1, 2)

    assert limited.refused() == []
    assert limited.used() == commands("bus-status")


def test_dead_letters_need_just_their_rights(consume: Callable[..., ConsumerProcess], limited: Limited) -> None:
    """Dead letters can be listed, shown, replayed and discarded, and nothing else is asked for."""
    make_dead_letters(consume, limited, 2)
    limited.client.execute_command("SCRIPT FLUSH")
    limited.client.config_resetstat()
    of_group = {"topic": TOPIC, "group_id": "group"}

    def dead_letters(*arguments: str, **options: Any) -> Any:
        return run(limited, "bus-operator", "event_bus_dead_letters", *arguments, **of_group, **options)

    first, second = (each["id"] for each in dead_letters("list"))
    assert len(dead_letters("show", first)) == 1
    dead_letters("replay", first)
    dead_letters("discard", second, yes=True)
    with pytest.raises(CommandError, match="did you mean group"):
        run(limited, "bus-operator", "event_bus_dead_letters", "list", topic=TOPIC, group_id="gruop")

    assert limited.refused() == []
    assert limited.used() == commands("bus-operator")


@pytest.mark.parametrize("without", ["+xinfo|groups", "+evalsha", "+zrangebyscore", "~{dev-*", "~dev-*"])
def test_a_right_that_is_missing_at_the_start_is_named(
    consume: Callable[..., ConsumerProcess], limited: Limited, without: str
) -> None:
    """A consumer leaves with status 2 and one line that has the command, also one of a script, or the keys."""
    limited.client.execute_command("ACL", "SETUSER", "bus-consumer", "reset")
    rules = [rule for rule in rights("bus-consumer") if rule != without]
    limited.client.execute_command("ACL", "SETUSER", "bus-consumer", *rules)
    consumer = consume(url=limited.url("bus-consumer"), prefix=PREFIX, workers=1)

    assert consumer.wait() == 2
    line = consumer.log.splitlines()[-1]
    assert line.startswith("edx-event-bus-redis: setting EVENT_BUS_REDIS_CONNECTION_URL: Redis refuses ")
    # Redis 7.0 does not name the command of a script.
    if "The user executing the script can't run" not in line:
        assert (without.removeprefix("+") if without.startswith("+") else f"{STREAM} and {{{STREAM}}}:*") in line


def test_who_may_not_ask_what_was_taken_over_settles_nothing(limited: Limited) -> None:
    """Without the right to know whether an event was taken over and finished, its failure is no second dead letter."""
    client = limited.client
    client.execute_command("ACL", "SETUSER", "bus-consumer", "-zscore")
    add_logins(client, STREAM, 1)
    client.xgroup_create(STREAM, "group", "0")
    ((_, ((entry_id, _),)),) = client.xreadgroup("group", "c1.0", {STREAM: ">"})
    client.xgroup_delconsumer(STREAM, "group", "c1.0")
    store = GroupStore(make_client(limited.url("bus-consumer"), timeout=5, connect_timeout=5), STREAM, "group", "c1.0")

    with pytest.raises(AccessRefused, match=r"zscore|The user executing the script"):
        store.bury(Entry(entry_id, [b"a", b"b"]), [], 100)

    assert not client.exists(store.dead)


def test_every_command_of_the_scripts_is_somebodys_right() -> None:
    """Whatever branch of a script it is in: the rights of consumers have it."""
    source = "".join(path.read_text() for path in (ROOT / "edx_event_bus_redis" / "internal").glob("*.py"))
    found = re.findall(r"redis\.p?call\('(\w+)'(?:, '([A-Z]+)')?", source)
    called = {"|".join(filter(None, names)) if names[0] in ("XINFO", "XGROUP") else names[0] for names in found}

    assert {"XGROUP|SETID", "ZSCORE"} <= called
    assert {name.lower() for name in called} <= commands("bus-consumer")


def test_an_operator_is_told_what_is_missing(limited: Limited) -> None:
    """A command ends with one line that has the command that Redis refuses."""
    limited.client.execute_command("ACL", "SETUSER", "bus-status", "-scan")
    with pytest.raises(CommandError, match="'scan'"):
        run(limited, "bus-status", "event_bus_status")


def test_a_cluster_needs_two_rights_more(consume: Callable[..., ConsumerProcess]) -> None:
    """In a cluster the rights of a consumer and those to find the nodes are enough."""
    with cluster() as nodes:
        for node in nodes.nodes:
            node.client().execute_command(
                "ACL", "SETUSER", "bus-consumer", *rights("bus-consumer"), "+cluster|slots", "+asking"
            )
        url = nodes.url.replace("redis+cluster://", "redis+cluster://bus-consumer:password@")
        consumer = consume(url=url, prefix=PREFIX, workers=1).wait_running()
        consumer.wait_handled(len(add_logins(nodes.first_owner(STREAM).client(), STREAM, 3)))
        assert consumer.stop() == 0
        assert [node.client().execute_command("ACL LOG") for node in nodes.nodes] == [[], [], []]
