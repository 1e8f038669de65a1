"""Failing events are tried again, without holding up others, and then are dead letters."""

import time
from typing import Any

import pytest
import redis

from tests.support.dead_letters import dead_letters
from tests.support.events import add_logins, login_fields
from tests.support.receivers import SECRET
from tests.support.waiting import wait_until

pytestmark = pytest.mark.server


@pytest.mark.parametrize("workers", [None, 2])
def test_an_event_is_tried_again_while_others_go_on(
    consume: Any, client: redis.Redis, stream_name: str, workers: int | None
) -> None:
    """With max_retries an event that fails twice is handled at its third call; others are not delayed by it."""
    consumer = consume(workers=workers, max_retries=3).wait_running(workers or 1)
    (failing,) = add_logins(client, stream_name, 1, "fail:2")
    others = add_logins(client, stream_name, 200)

    handled = consumer.wait_handled(201)

    assert [each.event_id for each in handled][-1] == failing
    assert {each.event_id for each in handled} == {failing, *others}
    begun = [each.at for each in consumer.begun() if each.event_id == failing]
    assert len(begun) == 3
    # 1 s and 2 s, less a tenth.
    assert begun[1] - begun[0] >= 0.9
    assert begun[2] - begun[1] >= 1.8
    assert consumer.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0
    assert client.xlen(f"{{{stream_name}}}:again:group") == 0
    assert dead_letters(client, stream_name) == []


def test_retries_survive_a_restart_and_a_trimmed_stream(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """An event that waits for its retry is handled by the next start, by any worker, even if the stream is gone."""
    consumer = consume(max_retries=1).wait_running()
    (failing,) = add_logins(client, stream_name, 1, "fail:1")
    wait_until(lambda: "is tried again in" in consumer.log, what="the retry is set")
    assert consumer.stop() == 0
    client.xtrim(stream_name, maxlen=0)

    again = consume(max_retries=1, consumer_name="c2", workers=2)

    assert [each.event_id for each in again.wait_handled(1)] == [failing]


def test_the_count_of_retries_survives_restarts(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Retries are counted over restarts: the last one makes a dead letter."""
    consumer = consume(max_retries=1).wait_running()
    (failing,) = add_logins(client, stream_name, 1, "raise")
    wait_until(lambda: "is tried again in" in consumer.log, what="the retry is set")
    assert consumer.stop() == 0

    consume(max_retries=1)

    (letter,) = wait_until(lambda: dead_letters(client, stream_name), what="a dead letter")
    assert letter["dead_deliveries"] == "2"
    assert letter["dead_cause"] == "receivers failed 2 times"
    assert letter["id"] == failing


def test_a_dead_letter_has_all_that_is_known(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Without retries a failing event is a dead letter at once: original fields and id, cause, exception, traceback."""
    consumer = consume().wait_running()
    fields = login_fields(7, "raise")
    entry_id = client.execute_command("XADD", stream_name, "*", *fields)

    (letter,) = wait_until(lambda: dead_letters(client, stream_name), what="a dead letter")

    assert list(letter.raw.items())[:8] == list(zip(fields[::2], fields[1::2], strict=True))
    assert letter["dead_entry_id"] == entry_id.decode()
    assert letter["dead_cause"] == "receivers failed"
    assert letter["dead_deliveries"] == "1"
    assert letter["dead_consumer"] == "c1"
    assert letter["dead_exception"] == "builtins.ValueError"
    assert letter["dead_message"] == f"cannot handle {SECRET}"
    assert "in _raise" in letter["dead_traceback"]
    assert abs(float(letter["dead_time"]) - time.time()) < 60
    assert len(consumer.begun()) == 1
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_what_cannot_be_decoded_is_a_dead_letter(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Undecodable entries and unknown types become dead letters with their raw fields, whatever max_retries is."""
    consume(max_retries=5).wait_running()
    damaged = login_fields()
    damaged[-1] = b"\xff\xff"
    unknown = login_fields()
    unknown[1] = b"org.openedx.no.such.type.v1"
    for fields in ([b"a", b"b"], damaged, unknown):
        client.execute_command("XADD", stream_name, "*", *fields)

    letters = wait_until(
        lambda: found if len(found := dead_letters(client, stream_name)) == 3 else None, what="three dead letters"
    )

    assert letters[0].raw[b"a"] == b"b"
    assert letters[1].raw[b"event_data"] == b"\xff\xff"
    assert "field 'event_data' is missing" in letters[0]["dead_cause"]
    assert "is not known to this service" in letters[2]["dead_cause"]


def test_a_strange_entry_in_the_groups_own_stream_is_no_wall(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """What somebody else has put there becomes a dead letter, and consuming goes on."""
    client.xadd(f"{{{stream_name}}}:again:group", {"a": "b"})
    consumer = consume(workers=1).wait_running()

    (letter,) = wait_until(lambda: dead_letters(client, stream_name), what="a dead letter")

    assert letter.raw[b"a"] == b"b"
    consumer.wait_handled(len(add_logins(client, stream_name, 1)))
    assert "died" not in consumer.log


@pytest.mark.parametrize(
    "strange",
    [b"\xc1 is no MessagePack", b"\x93\xa1a\xa1b\xa1c", b"\x90", b"\x81\xa1a\xa1b", b"\x92\xc0\xa1b", b"\x07"],
    ids=["no MessagePack", "an odd number", "nothing", "a map", "no text", "a number"],
)
def test_a_strange_retry_is_no_wall(consume: Any, client: redis.Redis, stream_name: str, strange: bytes) -> None:
    """What somebody else has put among the retries becomes a dead letter, and the retries behind it are tried again."""
    client.zadd(f"{{{stream_name}}}:later:group", {strange: 0})
    consumer = consume(workers=1, max_retries=1).wait_running()
    (failing,) = add_logins(client, stream_name, 1, "fail:1")

    assert [each.event_id for each in consumer.wait_handled(1)] == [failing]
    (letter,) = wait_until(lambda: dead_letters(client, stream_name), what="a dead letter")
    assert letter.raw[b"unknown"] == strange


def test_dead_letters_are_capped(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN bounds what a group keeps, approximately."""
    consume(settings={"EVENT_BUS_REDIS_DEAD_LETTERS_MAX_LEN": 10}).wait_running()
    for _ in range(350):
        client.execute_command("XADD", stream_name, "*", "a", "b")

    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    wait_until(lambda: client.xinfo_groups(stream_name)[0]["entries-read"] == 350, what="all read")

    assert 0 < len(dead_letters(client, stream_name)) <= 200
