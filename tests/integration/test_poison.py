"""Events that kill their worker or hang: started so many times, then dead letters; others are never blamed."""

import re
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from devtools.server import EmbeddedServer
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.death import Death
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.reader import Batch, LeftBy
from edx_event_bus_redis.internal.suspects import Suspects
from tests.support.dead_letters import dead_letters
from tests.support.events import add_batch, add_logins
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.server, pytest.mark.one_version]


def buried(client: redis.Redis, stream_name: str, count: int = 1) -> Any:
    def enough() -> Any:
        found = dead_letters(client, stream_name)
        return found if len(found) >= count else None

    return wait_until(enough, timeout=60, what=f"{count} dead letters")


@pytest.mark.parametrize(
    ("order", "worker_exit"),
    [("kill", "SIGKILL"), ("exit:3", "exit status 3"), ("segfault", "SIGSEGV")],
)
def test_an_event_that_kills_is_started_so_many_times(
    consume: Any, client: redis.Redis, stream_name: str, order: str, worker_exit: str
) -> None:
    """It is started max_deliveries times, then a dead letter that says how its workers ended."""
    pool = consume(workers=2, max_deliveries=3).wait_running(2)
    before = add_logins(client, stream_name, 100)
    (poison,) = add_logins(client, stream_name, 1, order)
    after = add_logins(client, stream_name, 100)

    (letter,) = buried(client, stream_name)

    pool.wait_handled(200)
    assert letter["id"] == poison
    assert letter["dead_worker_exit"] == worker_exit
    assert letter["dead_deliveries"] == "3"
    assert worker_exit in letter["dead_cause"]
    for start in (2, 3):
        assert re.search(
            rf"is started again for group group, start {start} of 3: \w+ its worker: {worker_exit}", pool.log
        )
    assert len([each for each in pool.begun() if each.event_id == poison]) == 3
    assert {each.event_id for each in pool.handled()} == {*before, *after}
    # What the dead had handled and not acknowledged is handled again.
    wait_until(lambda: client.xpending(stream_name, "group")["pending"] == 0, what="nothing pending")
    assert pool.stop() == 0
    assert client.hgetall(f"{{{stream_name}}}:starts:group") == {}


def test_many_events_that_kill_do_not_flood_the_log(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Of a death that is not said by itself the replacement says nothing either, but for the dead letter."""
    pool = consume(workers=2, max_deliveries=2).wait_running(2)
    add_batch(client, stream_name, ["kill", "ok"] * 16)

    buried(client, stream_name, 16)

    assert pool.stop() == 0
    said = len(re.findall(r"replaced worker \d", pool.log))
    deaths = len([each for each in pool.begun() if each.number % 2 == 0])
    assert 20 <= said < deaths
    assert pool.log.count("Running consumer for") == 2 + said
    assert 0 < pool.log.count("is started again") <= said
    assert pool.log.count("is a dead letter") == 16


def test_a_death_is_counted_though_the_replacement_dies_before_it_can_do_anything(
    consume: Any, own_server: EmbeddedServer, stream_name: str, tmp_path: Path
) -> None:
    """What its worker died of is known to the next but one, if the next one is killed while the server is away."""
    client, go = own_server.client(), tmp_path / "go"
    pool = consume(url=own_server.url, workers=1, max_deliveries=3).wait_running(1)
    (poison,) = add_logins(client, stream_name, 1, f"wait:{go},kill")
    wait_until(pool.begun, what="it has begun")
    own_server.freeze()
    go.touch()
    for times in (1, 2):
        wait_until(lambda times=times: pool.log.count("replaced worker 0") == times, what="a replacement")
        if times == 1:
            psutil.Process(pool.worker_pids()[0]).kill()
    own_server.thaw()

    (letter,) = buried(client, stream_name)

    assert (letter["id"], letter["dead_deliveries"]) == (poison, "3")
    assert len(pool.begun()) == 3


@pytest.mark.parametrize("most", [1, 2])
def test_max_deliveries_is_exact(consume: Any, client: redis.Redis, stream_name: str, most: int) -> None:
    """max_deliveries = 1 means one start."""
    pool = consume(workers=1, max_deliveries=most).wait_running(1)
    add_logins(client, stream_name, 1, "kill")

    buried(client, stream_name)

    assert len(pool.begun()) == most


@pytest.mark.parametrize("order", ["hang", "swallow", "hang_in_c"])
def test_a_hanging_event_is_ended_with_its_stack(
    consume: Any, client: redis.Redis, stream_name: str, order: str
) -> None:
    """Beyond handler_timeout the worker is killed, whatever it hangs in; the dead letter has time and Python stack."""
    pool = consume(workers=1, max_deliveries=2, handler_timeout=0.5).wait_running(1)
    (poison,) = add_logins(client, stream_name, 1, order)

    (letter,) = buried(client, stream_name)

    pool.wait_handled(len(add_logins(client, stream_name, 3)))
    assert letter["id"] == poison
    assert letter["dead_cause"].startswith("timed out after ")
    assert f"in _{order}" in letter["dead_traceback"]
    assert len([each for each in pool.begun() if each.event_id == poison]) == 2


def test_a_hanging_event_ends_a_consumer_without_workers(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Without workers nobody else can end it: the process leaves with status 1 and its stack, start after start."""
    arguments = {"max_deliveries": 2, "handler_timeout": 0.5, "check_backlog": True}
    add_logins(client, stream_name, 1, "hang_in_c")
    for _ in range(2):
        consumer = consume(**arguments)
        assert consumer.wait() == 1
        assert "in _hang_in_c" in consumer.log

    consumer = consume(**arguments)

    (letter,) = buried(client, stream_name)
    assert letter["dead_cause"] == "its process ended with it in hand, nobody knows how, at each of 2 starts"
    consumer.wait_handled(len(add_logins(client, stream_name, 1)))
    assert len(consumer.begun()) == 3


def test_a_slow_event_within_its_time_is_not_ended(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """handler_timeout is for one event: many that follow each other may take longer together."""
    pool = consume(workers=1, handler_timeout=1.5).wait_running(1)

    pool.wait_handled(len(add_logins(client, stream_name, 8, "sleep:0.3")))

    assert "died" not in pool.log


def test_of_a_deep_stack_the_innermost_calls_are_kept(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A dead letter names where the worker hung, however deep that is and whatever other threads it has."""
    consume(workers=1, max_deliveries=1, handler_timeout=0.5).wait_running(1)
    add_logins(client, stream_name, 1, "hang_deep:100")

    (letter,) = buried(client, stream_name)

    assert "in _hang\n" in letter["dead_traceback"]
    assert letter["dead_traceback"].startswith("Current thread")


@pytest.mark.parametrize("most", [1, 2, 3])
def test_an_event_that_kills_the_whole_pool_is_started_so_many_times(
    consume: Any, client: redis.Redis, stream_name: str, most: int
) -> None:
    """When the pool dies as a whole, start after start, the event in hand still gets exactly so many starts."""
    # What another worker has in hand each time that the pool is killed is started in vain as often: with one start
    # surely, with two now and then.
    workers = 1 if most < 3 else 2
    arguments = {"workers": workers, "max_deliveries": most, "check_backlog": True}
    pool = consume(**arguments).wait_running(workers)
    others = add_logins(client, stream_name, 30)
    (poison,) = add_logins(client, stream_name, 1, "kill_pool")
    others += add_logins(client, stream_name, 30)
    for _ in range(most):
        assert pool.wait(60) != 0
        pool = consume(**arguments)

    (letter,) = buried(client, stream_name)

    pool.wait_handled(60)
    assert letter["id"] == poison
    assert len([each for each in pool.begun() if each.event_id == poison]) == most
    assert {each.event_id for each in pool.handled()} == set(others)
    assert pool.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_entries_that_were_read_ahead_are_not_blamed(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """Events behind a poison one are pending again and again, and none of them becomes a dead letter."""
    pool = consume(workers=1, max_deliveries=4, check_backlog=True).wait_running(1)
    add_logins(client, stream_name, 50)
    pool.wait_handled(50)
    poisons = add_logins(client, stream_name, 2, "kill")
    innocent = add_logins(client, stream_name, 50)

    letters = buried(client, stream_name, 2)

    pool.wait_handled(100)
    assert {letter["id"] for letter in letters} == set(poisons)
    assert {each.event_id for each in pool.handled()} >= set(innocent)
    assert len(dead_letters(client, stream_name)) == 2


@pytest.mark.parametrize("left_by", LeftBy)
def test_a_suspect_stays_one_when_its_worker_dies_of_another(url: str, stream_name: str, left_by: LeftBy) -> None:
    """Of two suspects read together the first kills: the next worker counts the starts of the second as well."""
    client = make_client(url, timeout=5, connect_timeout=5)
    store, entries = (
        GroupStore(client, stream_name, "group"),
        [Entry(b"1-1", [b"a", b"b"]), Entry(b"1-2", [b"a", b"b"])],
    )
    first = Suspects(store, 3, None, replaces=False)
    first.look_at(Batch(entries, [], left_by=LeftBy.PREDECESSOR))
    assert first.begin(entries[0]) == 2

    second = Suspects(store, 3, Death(b"1-1", again=False, cause="", worker_exit="SIGKILL"), replaces=True)
    second.count_death()
    second.look_at(Batch(entries, [], left_by=left_by))

    assert all(map(second.is_suspect, entries))
    assert [second.begin(entry) for entry in entries] == [3, 2]
    client.delete(store.starts)


def test_a_death_is_counted_before_anything_else_is_begun(url: str, stream_name: str) -> None:
    """A worker died of an entry, and the next one of something else before it read that: the start still counts."""
    client = make_client(url, timeout=5, connect_timeout=5)
    store, entry = GroupStore(client, stream_name, "group"), Entry(b"1-1", [b"a", b"b"])
    death = Death(b"1-1", again=False, cause="", worker_exit="SIGKILL")
    second = Suspects(store, 1, death, replaces=True)
    second.count_death()
    second.look_at(Batch([Entry(b"1-0", [b"a", b"b"])], [], left_by=LeftBy.PREDECESSOR))

    third = Suspects(store, 1, Death(b"1-0", again=False, cause="", worker_exit="SIGKILL"), replaces=True)
    third.look_at(Batch([entry], [], left_by=LeftBy.PREDECESSOR))

    assert third.begin(entry) == -1
    client.delete(store.starts)


def test_a_likely_start_becomes_a_certain_one(url: str, stream_name: str) -> None:
    """An entry that was only marked, and then killed, has had one start that counts."""
    client = make_client(url, timeout=5, connect_timeout=5)
    store, entry = GroupStore(client, stream_name, "group"), Entry(b"1-1", [b"a", b"b"])
    Suspects(store, 2, None, replaces=False).look_at(Batch([entry], [], left_by=LeftBy.PREDECESSOR))
    Suspects(store, 2, Death(b"1-1", again=False, cause="", worker_exit="SIGKILL"), replaces=True).count_death()

    assert store.begin_suspect(entry, most=1, uncounted=1) == -1
    client.delete(store.starts)


UNKNOWN = "its process ended with it in hand, nobody knows how"


def test_a_dead_letter_names_a_death_that_another_pool_has_seen(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """The pool that makes it knows nothing of the death but what is kept in Redis: cause, exit and stack."""
    pool = consume(workers=1, max_deliveries=3, handler_timeout=0.5, shutdown_timeout=0.5).wait_running(1)
    add_logins(client, stream_name, 1, "hang")
    wait_until(lambda: len(pool.begun()) == 2, what="a death is counted")
    assert pool.stop() == 0

    consume(workers=1, max_deliveries=2, check_backlog=True)

    (letter,) = buried(client, stream_name)
    assert re.fullmatch(r"not done within .+ s when its worker had to leave, at each of 2 starts", letter["dead_cause"])
    assert letter["dead_worker_exit"].startswith("not done within")
    assert "in _hang\n" in letter["dead_traceback"]
    assert letter["dead_deliveries"] == "2"
    wait_until(lambda: not client.hgetall(f"{{{stream_name}}}:starts:group"), what="nothing is kept")


def test_a_dead_letter_does_not_take_a_later_death_for_known(
    consume: Any, client: redis.Redis, stream_name: str, tmp_path: Path
) -> None:
    """A worker dies of the event, and then the whole pool with the event in hand: the two are told apart."""
    go = tmp_path / "go"
    pool = consume(workers=1, max_deliveries=3).wait_running(1)
    (poison,) = add_logins(client, stream_name, 1, f"wait:{go},kill")
    wait_until(lambda: len(pool.begun()) == 1, what="it has begun")
    psutil.Process(pool.worker_pids()[0]).kill()
    wait_until(lambda: len(pool.begun()) == 2, what="it has begun again")
    pool.process.kill()
    pool.wait()

    consume(workers=1, max_deliveries=2, check_backlog=True)

    (letter,) = buried(client, stream_name)
    known = "killed its worker: SIGKILL"
    assert letter["dead_cause"] == f"{UNKNOWN}, at the last of 2 starts; of start 1 it is known: {known}"
    assert letter["dead_worker_exit"] == "unknown, SIGKILL at start 1"
    assert (letter["id"], letter["dead_traceback"]) == (poison, "")


@pytest.mark.parametrize(
    ("order", "cause"),
    [
        ("until_asked:{gone},kill", "killed its worker: SIGKILL"),
        ("until_asked:{gone},exit:0", "ended its worker: exit status 0"),
        ("hang", "not done within"),
    ],
)
def test_a_pool_that_stops_leaves_word_of_what_its_workers_died_of(
    consume: Any, client: redis.Redis, stream_name: str, tmp_path: Path, order: str, cause: str
) -> None:
    """Nobody is forked any more who could count the death; the next pool names it all the same."""
    pool = consume(workers=1, max_deliveries=1, shutdown_timeout=1.0).wait_running(1)
    add_logins(client, stream_name, 1, order.format(gone=tmp_path / "gone"))
    wait_until(pool.begun, what="it has begun")
    assert pool.stop() == 0

    consume(workers=1, max_deliveries=1, check_backlog=True)

    (letter,) = buried(client, stream_name)
    assert letter["dead_cause"].startswith(cause)
    assert letter["dead_cause"].endswith(", at its only start")
    assert len(pool.begun()) == 1


def test_a_worker_that_was_killed_because_somebody_insisted_is_not_said_to_have_died_of_its_event(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """The second signal kills at once; what is kept of the event is that it was not done by then."""
    pool = consume(workers=1, max_deliveries=1, shutdown_timeout=1000).wait_running(1)
    add_logins(client, stream_name, 1, "hang")
    wait_until(pool.begun, what="it has begun")
    pool.terminate()
    wait_until(lambda: "stopping (SIGTERM)" in pool.log, what="the stop has begun")
    pool.terminate(signal.SIGINT)
    assert pool.wait() == 0

    consume(workers=1, max_deliveries=1, check_backlog=True)

    (letter,) = buried(client, stream_name)
    assert letter["dead_cause"].startswith("not done within")


def test_a_pool_that_stops_while_redis_is_away_says_that_it_left_no_word(
    consume: Any, own_server: EmbeddedServer, stream_name: str, tmp_path: Path
) -> None:
    """It ends with status 0 all the same; the next start knows nothing of the death."""
    client, gone = own_server.client(), tmp_path / "gone"
    pool = consume(url=own_server.url, workers=1, max_deliveries=1).wait_running(1)
    add_logins(client, stream_name, 1, f"until_asked:{gone},kill")
    wait_until(pool.begun, what="it has begun")
    own_server.freeze()
    try:
        assert pool.stop() == 0
    finally:
        own_server.thaw()

    assert "how 1 entry of stream" in pool.log
    assert "ended its worker could not be kept for group group" in pool.log
    consume(url=own_server.url, workers=1, max_deliveries=1, check_backlog=True)
    (letter,) = buried(client, stream_name)
    assert letter["dead_cause"] == f"{UNKNOWN}, at its only start"
    assert letter["dead_worker_exit"] == "unknown"


def test_a_pool_whose_deaths_are_counted_does_not_connect_again(
    consume: Any, own_server: EmbeddedServer, stream_name: str
) -> None:
    """A replacement has handled something since: then a server that is away at the stop is no reason to complain."""
    client = own_server.client()
    pool = consume(url=own_server.url, workers=1, max_deliveries=1).wait_running(1)
    add_logins(client, stream_name, 1, "kill")
    # Not as soon as the server has it: the replacement knows it from the reply.
    wait_until(lambda: "is a dead letter of" in pool.log, what="the replacement has made it a dead letter")
    own_server.freeze()
    try:
        assert pool.stop() == 0
    finally:
        own_server.thaw()

    assert "could not be kept" not in pool.log


def a_pending_entry(client: redis.Redis, stream_name: str, consumer: str) -> Entry:
    """Return an entry that is pending for the consumer."""
    client.xgroup_create(stream_name, "group", "0", mkstream=True)
    entry_id = client.xadd(stream_name, {"a": "b"})
    client.xreadgroup("group", consumer, {stream_name: ">"})
    return Entry(entry_id, [b"a", b"b"])


def test_a_death_that_is_told_late_is_not_taken_for_that_of_a_later_start(url: str, stream_name: str) -> None:
    """Another consumer has taken the entry over and begun it when the death before that is counted."""
    client = make_client(url, timeout=5, connect_timeout=5)
    entry = a_pending_entry(client, stream_name, "c2.0")
    store = GroupStore(client, stream_name, "group", "c1.0")
    suspects = Suspects(store, 3, None, replaces=False)
    suspects.look_at(Batch([entry], [], left_by=LeftBy.PREDECESSOR))
    assert suspects.begin(entry) == 2

    store.count_death(Death(entry.id, again=False, cause="first", worker_exit="SIGKILL"))

    start, death = suspects.last_death_by(entry, 2) or (0, None)
    assert (start, death and death.cause) == (1, "first")
    # Nor does it take the place of a later one that is known.
    GroupStore(client, stream_name, "group", "c2.0").count_death(Death(entry.id, False, "second", "SIGSEGV"))
    store.count_death(Death(entry.id, again=False, cause="first", worker_exit="SIGKILL"))
    start, death = suspects.last_death_by(entry, 2) or (0, None)
    assert (start, death and death.cause) == (2, "second")
    assert suspects.begin(entry) == 3
    client.delete(store.starts)


@pytest.mark.parametrize(
    "kept", [b"2", b"", b"2 1", b"2 1 {", b"2 1 []", b'2 1 {"cause": 1, "worker_exit": "", "stack": ""}', b"2 x {}"]
)
def test_what_somebody_else_has_written_beside_a_count_is_no_death(url: str, stream_name: str, kept: bytes) -> None:
    """Then nothing is known of it, and the count holds as far as it is one."""
    client = make_client(url, timeout=5, connect_timeout=5)
    store, entry = GroupStore(client, stream_name, "group"), Entry(b"1-1", [b"a", b"b"])
    client.hset(store.starts, "0/1-1", kept)

    assert Suspects(store, 2, None, replaces=False).last_death_by(entry, 2) is None
    assert store.begin_suspect(entry, most=3, uncounted=1) == (3 if kept else 2)
    client.delete(store.starts)


def test_of_a_death_no_more_is_kept_than_the_innermost_calls(url: str, stream_name: str) -> None:
    """The stack of a deep recursion does not fill the server."""
    client = make_client(url, timeout=5, connect_timeout=5)
    entry = a_pending_entry(client, stream_name, "c1.0")
    store = GroupStore(client, stream_name, "group", "c1.0")
    stack = "Thread 1\n" + "x" * 10_000 + "\nCurrent thread 2\n" + "y" * 10_000

    store.count_death(Death(entry.id, again=False, cause="cause", worker_exit="SIGKILL", stack=stack))

    assert client.hstrlen(store.starts, b"0/" + entry.id) < 5000
    known = store.known_death(entry)
    assert known is not None
    assert known[1].stack.startswith("Current thread 2\ny")
    client.delete(store.starts)
