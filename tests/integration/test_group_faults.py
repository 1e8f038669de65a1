"""Somebody deletes what the consumer works with: the stream, the group, its own name in the group."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from devtools.server import EmbeddedServer
from tests.support.consuming import ConsumerProcess
from tests.support.events import add_logins
from tests.support.troubles import BOTH, NAMES, fault_is_said_once, nothing_pending, said
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]


@BOTH
def test_a_destroyed_group_is_made_anew_where_it_was(
    consume: Callable[..., ConsumerProcess], client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """XGROUP DESTROY of an idle group repeats nothing and skips nothing; each consumer says it once."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    ids = add_logins(client, stream_name, 20)
    consumer.wait_handled(20)
    nothing_pending(client, stream_name)
    client.xgroup_destroy(stream_name, "group")

    ids += add_logins(client, stream_name, 20)

    consumer.wait_handled(40)
    nothing_pending(client, stream_name)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
    assert consumer.log.count("was gone; made anew") == 1
    assert all("GroupMissing" in error for error in fault_is_said_once(consumer, *said(consumer.log)))


@BOTH
def test_a_group_that_is_destroyed_under_load_loses_nothing(
    consume: Callable[..., ConsumerProcess], client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """What was read is handled although it is pending nowhere any more, what was not read is read from there on."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    ids = add_logins(client, stream_name, 300, "sleep:0.005")
    for enough in (50, 150):
        consumer.wait_handled(enough)
        client.xgroup_destroy(stream_name, "group")

    consumer.wait_handled(300)

    assert {each.event_id for each in consumer.handled()} == set(ids)
    wait_until(lambda: client.xinfo_groups(stream_name), what="the group is there")
    nothing_pending(client, stream_name)
    assert consumer.stop() == 0


@BOTH
def test_a_consumer_whose_name_is_deleted_goes_on(
    consume: Callable[..., ConsumerProcess], client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """XGROUP DELCONSUMER of a live consumer's name costs nothing that it had read, and is no fault."""
    consumer = consume(workers=workers).wait_running(workers or 1)
    ids = add_logins(client, stream_name, 200, "sleep:0.005")
    consumer.wait_handled(20)
    for name in NAMES[workers]:
        client.xgroup_delconsumer(stream_name, "group", name)
    consumer.wait_handled(200)
    nothing_pending(client, stream_name)
    for name in NAMES[workers]:
        client.xgroup_delconsumer(stream_name, "group", name)

    ids += add_logins(client, stream_name, 20)

    consumer.wait_handled(220)
    nothing_pending(client, stream_name)
    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
    assert said(consumer.log) == {}
    assert consumer.stop() == 0


def test_a_failing_event_that_somebody_has_acknowledged_is_not_said_to_be_retried(
    consume: Callable[..., ConsumerProcess], client: redis.Redis, stream_name: str, tmp_path: Path
) -> None:
    """An entry that somebody has taken off the pending entries list is not put aside, and the log does not say so."""
    go = tmp_path / "go"
    consumer = consume(max_retries=1).wait_running()
    add_logins(client, stream_name, 1, f"wait:{go},raise")
    wait_until(consumer.begun, what="it has begun")
    client.xack(stream_name, "group", client.xrange(stream_name)[-1][0])

    go.touch()

    consumer.wait_handled(len(add_logins(client, stream_name, 3)))
    assert "is tried again" not in consumer.log
    assert "was not pending for it any more" in consumer.log


@BOTH
def test_a_flush_is_said_once(
    consume_here: Callable[..., ConsumerProcess], own_server: EmbeddedServer, stream_name: str, workers: int | None
) -> None:
    """FLUSHALL again and again: one line each about it, and each time the group is made anew once."""
    consumer = consume_here(workers=workers)
    client = own_server.client()
    ids: list[str] = []
    for _ in range(2):
        ids += add_logins(client, stream_name, 5)
        consumer.wait_handled(len(ids))
        client.flushall()
        wait_until(lambda: client.exists(stream_name), what="the group is made anew")
    ids += add_logins(client, stream_name, 5)

    consumer.wait_handled(15)

    assert sorted(each.event_id for each in consumer.handled()) == sorted(ids)
    assert consumer.log.count("was gone; made anew") == 2
