"""The command ``event_bus_dead_letters``, through the real command line."""

import io
import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import override_settings

from edx_event_bus_redis.internal.letter import DeadLetter, encode_facts, parse_letter, restored, stored
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.names import group_key
from edx_event_bus_redis.internal.private import GroupStore
from tests.support.commands import manage, start
from tests.support.dead_letters import dead_letters
from tests.support.events import SIGNAL, TOPIC, add_logins, login_fields
from tests.support.receivers import SECRET
from tests.support.waiting import wait_until

KEYS = [
    *("id", "entry_id", "event_id", "event_type", "cause", "deliveries", "consumer", "worker_exit"),
    *("exception", "message", "traceback", "time", "history", "too_large"),
]

Bury = Callable[..., list[str]]


@pytest.fixture
def bury(client: redis.Redis, stream_name: str) -> Bury:
    """Make dead letters that look as a consumer makes them, and return their ids."""

    def make(*many_fields: list[bytes], group: str = "group", **facts: Any) -> list[str]:
        key = group_key(stream_name, "dead", group)
        facts = {"cause": "receivers failed", "deliveries": 1, "consumer": "c1"} | facts
        pipeline = client.pipeline(transaction=False)
        for number, fields in enumerate(many_fields):
            entry = Entry(b"5-%d" % number, fields)
            pipeline.execute_command("XADD", key, "*", *fields, *encode_facts(entry, **facts))
        return [entry_id.decode() for entry_id in pipeline.execute()]

    return make


def here(*arguments: str, group: str = "group") -> str:
    """Run the command in this process and return what it printed."""
    out = io.StringIO()
    call_command("event_bus_dead_letters", arguments[0], "-t", TOPIC, "-g", group, *arguments[1:], stdout=out)
    return out.getvalue()


def refusal(*arguments: str) -> str:
    """Run the command, which is to fail, and return what it says."""
    with pytest.raises(CommandError) as error:
        here(*arguments)
    assert error.value.returncode == 1
    return str(error.value)


def listed(group: str = "group") -> list[dict[str, Any]]:
    return json.loads(here("list", "--json", group=group))


def command(*arguments: str) -> list[str]:
    return ["event_bus_dead_letters", *arguments, "-t", TOPIC, "-g", "group"]


def begin(url: str, prefix: str, *arguments: str, **streams: int) -> subprocess.Popen[bytes]:
    """Start the command with streams that may be terminals."""
    environment = {"TERM": "xterm", "COLUMNS": "200"}
    return start(*command(*arguments), url=url, prefix=prefix, environment=environment, starts=True, **streams)


@pytest.fixture
def run(url: str, prefix: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own, without a terminal."""
    return lambda *arguments, **how: manage(*command(*arguments), **{"url": url, "prefix": prefix} | how)


pytestmark = [pytest.mark.usefixtures("bus_settings"), pytest.mark.server]


def test_where_there_are_none_the_list_is_empty(client: redis.Redis, stream_name: str) -> None:
    """A group that never failed has no dead letters, which is no error, and asking makes nothing."""
    client.xgroup_create(stream_name, "group", 0, mkstream=True)

    assert here("list", "--json") == "[]\n"
    assert here("list") == f"0 dead letters of group group of stream {stream_name}\n"
    assert here("show", "--all", "--json") == "[]\n"
    assert "replayed 0 dead letters" in here("replay", "--all")
    assert "discarded 0 dead letters" in here("discard", "--all")
    assert list(client.scan_iter(f"*{stream_name}*")) == [stream_name.encode()]


EVERY_ACTION = pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("list", "--json"),
        ("show", "1-1"),
        ("show", "--all"),
        ("replay", "--all", "--json"),
        ("discard", "1-1"),
    ],
)


@EVERY_ACTION
def test_a_stream_that_does_not_exist_is_told(
    client: redis.Redis, prefix: str, stream_name: str, arguments: tuple[str, ...]
) -> None:
    """Nothing can be done with it: the command fails, says so, and names the topic that may have been meant."""
    said = f"there is no stream {stream_name}"
    assert refusal(*arguments) == said

    try:
        client.xadd(f"{prefix}-user-lgoin", {"a": "b"})
        assert refusal(*arguments) == f"{said}: did you mean user-lgoin?"
        client.rename(f"{prefix}-user-lgoin", f"{prefix}-x")
        assert refusal(*arguments) == f"{said}; topics that there are: x"
    finally:
        client.delete(f"{prefix}-user-lgoin", f"{prefix}-x")


@EVERY_ACTION
def test_a_group_that_does_not_exist_is_told(
    client: redis.Redis, stream_name: str, bury: Bury, arguments: tuple[str, ...]
) -> None:
    """The same of a group, whether those that there are have been left by their stream or not."""
    client.xadd(stream_name, {"a": "b"})
    said = f"stream {stream_name} has no group group"
    assert refusal(*arguments) == said

    for number in range(7):
        client.xgroup_create(stream_name, f"{number}", 0)
    assert refusal(*arguments) == f"{said}; groups that there are: 0, 1, 2, 3, 4 and 2 more"
    bury(login_fields(), group="gruop")
    assert refusal(*arguments) == f"{said}: did you mean gruop?"
    client.delete(stream_name)
    assert refusal(*arguments) == f"{said}: did you mean gruop?"


def test_a_group_that_is_gone_still_has_its_dead_letters(client: redis.Redis, stream_name: str, bury: Bury) -> None:
    """They are there with and without the stream, and it stays known when the last one is discarded."""
    (letter, _) = bury(login_fields(), login_fields())
    assert len(listed()) == 2

    client.xadd(stream_name, {"a": "b"})
    here("discard", letter, "--yes")
    assert len(listed()) == 1
    here("discard", "--all", "--yes")
    assert listed() == []


def test_the_list_has_all_but_the_payload(bury: Bury) -> None:
    """``list --json`` has a letter's identity, cause and time, the newest last, and no event data."""
    fields = login_fields(7)
    ids = bury(fields, [b"a", b"\xff"], cause="timed out", deliveries=3, worker_exit="SIGKILL", message=chr(0xDCFF))

    first, second = listed()

    assert list(first) == KEYS
    assert [first["id"], second["id"]] == ids
    assert (first["entry_id"], first["event_id"]) == ("5-0", fields[3].decode())
    assert (first["event_type"], first["cause"]) == (SIGNAL.event_type, "timed out")
    assert (first["deliveries"], first["worker_exit"], first["history"]) == (3, "SIGKILL", [])
    assert first["message"] == "\\udcff"
    moment = datetime.fromisoformat(first["time"])
    assert moment.utcoffset() is not None
    assert abs(moment.timestamp() - time.time()) < 60
    assert (second["event_id"], second["event_type"]) == (None, None)
    assert SECRET not in here("list", "--json") + here("list")


def test_the_table_fits_80_columns(bury: Bury, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 80 columns ids are in one piece, and nothing that an entry brings along controls the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    fields = login_fields()
    ids = bury(fields, [b"type", b"\x1b[2J[red]"], cause="receivers failed, also at 3 retries")

    table = here("list")

    assert max(map(len, table.splitlines())) <= 80
    assert all(part in table for part in (*ids, fields[3].decode(), "also at 3 retries", "1 delivery", "[red]"))
    assert "\x1b[2J" not in table


def test_show_has_everything(bury: Bury) -> None:
    """``show`` has the original fields and the event data, as JSON and to be read."""
    (known, damaged) = bury(login_fields(7), [b"a\n", b"\xffb"], traceback="in _raise")

    first, second = json.loads(here("show", damaged, known, "--json"))

    assert [first["id"], second["id"]] == [damaged, known]
    assert (first["fields"], first["event_data"]) == ({"a\n": "\\xffb"}, None)
    assert list(second) == [*KEYS, "fields", "event_data"]
    assert list(second["fields"])[:2] == ["type", "id"]
    assert second["event_data"]["user"]["pii"]["email"] == SECRET
    text = here("show", "--all")
    assert all(part in text for part in (known, damaged, SECRET, "in _raise", "'a\\n': b'\\xffb'"))


def test_ids_and_options_come_in_any_order(bury: Bury) -> None:
    """Ids may stand before, between and behind the options, whatever the version of Python."""
    one, two, three = bury(*[login_fields()] * 3)
    out = io.StringIO()

    call_command(
        "event_bus_dead_letters", "show", one, "-t", TOPIC, two, "--json", "-g", "group", three, one, stdout=out
    )

    assert [each["id"] for each in json.loads(out.getvalue())] == [one, two, three]


def test_a_replayed_event_reaches_only_its_group(
    consume: Any, client: redis.Redis, bury: Bury, stream_name: str, tmp_path: Path
) -> None:
    """``replay`` hands the event with its id to this group; a second group of the stream does not see it again."""
    other_directory = tmp_path / "other"
    other_directory.mkdir()
    consumer = consume().wait_running()
    other = consume(group="other", consumer_name="o1", directory=other_directory).wait_running()
    fields = login_fields(7, "ok")
    bury(login_fields(), group="other")
    (letter,) = bury(fields)

    assert here("replay", letter) == f"replayed 1 dead letter to group group of stream {stream_name}\n"

    (handled,) = consumer.wait_handled(1)
    assert handled.event_id == fields[3].decode()
    assert "5-0" in consumer.log
    # What is sent now is handled by both; the replayed event would have come before it.
    add_logins(client, stream_name, 1)
    other.wait_handled(1)
    assert other.stop() == consumer.stop() == 0
    assert len(other.begun()) == 1
    assert listed() == []
    assert len(listed("other")) == 1
    assert client.xlen(stream_name) == 1


def test_an_event_that_fails_again_has_its_history(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A replayed event that fails is a dead letter again, under its old id, and knows what it was one for before."""
    consume(max_retries=0).wait_running()
    add_logins(client, stream_name, 1, "raise")
    (first,) = wait_until(listed, what="a dead letter")
    letters = [first]

    for _ in range(2):
        assert "replayed 1" in here("replay", "--all")
        letters += wait_until(listed, what="a new one")

    known = ("cause", "deliveries", "consumer", "worker_exit", "exception", "time")
    assert len(letters) == 3
    assert {(each["entry_id"], each["event_id"]) for each in letters} == {(first["entry_id"], first["event_id"])}
    assert first["history"] == []
    assert letters[2]["history"] == [{key: each[key] for key in known} for each in letters[:2]]
    assert letters[2]["deliveries"] == 1


def test_an_event_that_kills_again_has_its_history(consume: Any, client: redis.Redis, stream_name: str) -> None:
    """A replayed event that kills its worker again is a dead letter again, with what the earlier ones died of."""
    pool = consume(workers=1, max_deliveries=2).wait_running(1)
    (event_id,) = add_logins(client, stream_name, 1, "kill")
    (first,) = wait_until(listed, timeout=60, what="a dead letter")

    assert "replayed 1" in here("replay", "--all")
    (second,) = wait_until(listed, timeout=60, what="a dead letter again")

    assert first["cause"] == second["cause"] == "killed its worker: SIGKILL, at each of 2 starts"
    assert first["worker_exit"] == second["worker_exit"] == "SIGKILL"
    assert first["history"] == []
    (earlier,) = second["history"]
    assert earlier["cause"] == first["cause"]
    assert (earlier["worker_exit"], earlier["deliveries"], earlier["time"]) == ("SIGKILL", 2, first["time"])
    assert (second["entry_id"], second["event_id"]) == (first["entry_id"], event_id)
    # All of its starts are counted anew after a replay.
    assert len(pool.begun()) == 4
    assert "replayed 1" in here("replay", "--all")
    (third,) = wait_until(listed, timeout=60, what="a dead letter once more")
    assert [each["time"] for each in third["history"]] == [first["time"], second["time"]]


def test_retries_keep_the_history(consume: Any, client: redis.Redis, bury: Bury, stream_name: str) -> None:
    """A replayed event has its retries again, and its history is still there behind them."""
    (letter,) = bury(login_fields(0, "raise"))
    consume(max_retries=1).wait_running()

    here("replay", letter)

    (again,) = wait_until(listed, what="a dead letter")
    assert again["deliveries"] == 2
    assert [each["cause"] for each in again["history"]] == ["receivers failed"]


def test_what_is_gone_or_unknown_is_told(
    run: Callable[..., Any], bury: Bury, client: redis.Redis, stream_name: str
) -> None:
    """Ids of which there is no dead letter are named, the exit status is 1, and the others are done all the same."""
    (letter, kept) = bury(login_fields(), login_fields())

    done = run("replay", "1-1", letter, "2-0002")

    assert (done.returncode, done.stdout) == (1, f"replayed 1 dead letter to group group of stream {stream_name}\n")
    expected = f"CommandError: group group of stream {stream_name} has no such dead letters: 1-1, 2-2\n"
    assert done.stderr == expected
    assert [each["id"] for each in listed()] == [kept]
    with pytest.raises(CommandError, match="has no such dead letters: 1-1"):
        here("show", "1-1", kept, "--json")
    with pytest.raises(CommandError, match="has no such dead letters: 1-1"):
        here("discard", "1-1", kept, "--yes")
    assert listed() == []


def test_a_dead_letter_is_replayed_once(bury: Bury, client: redis.Redis, stream_name: str) -> None:
    """Of two replays of one dead letter at the same time the second finds it gone."""
    bury(login_fields())
    store = GroupStore(client, stream_name, "group")
    (raw,) = client.xrange(store.dead)
    letter = parse_letter(Entry(raw[0], [part for pair in raw[1].items() for part in pair]))

    assert [store.replay(letter), store.replay(letter)] == [True, False]
    assert client.xlen(store.again) == 1


def test_many_are_read_in_pages(bury: Bury, client: redis.Redis) -> None:
    """All of more than one page are listed, replayed and discarded."""
    fields = login_fields()
    ids = bury(*[fields] * 2500)

    assert [each["id"] for each in listed()] == ids
    assert json.loads(here("replay", *ids[:100], "--json")) == {"replayed": 100, "gone": 0, "refused": 0}
    assert json.loads(here("replay", "--all", "--json")) == {"replayed": 2400, "gone": 0, "refused": 0}
    bury(*[fields] * 2500)
    assert json.loads(here("discard", "--all", "--yes", "--json")) == {"discarded": 2500}


@pytest.mark.parametrize("form", ["", "--json"])
def test_a_reader_may_leave(url: str, prefix: str, bury: Bury, form: str) -> None:
    """``list | head`` ends without a traceback."""
    bury(*[login_fields()] * 1500)
    arguments = ["list", *filter(None, [form])]
    process = begin(url, prefix, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 1


def test_discard_needs_a_terminal_or_yes(run: Callable[..., Any], bury: Bury, stream_name: str) -> None:
    """Without a terminal ``discard`` wants --yes, and then reports how many there were."""
    (letter, _) = bury(login_fields(), login_fields())

    refused = run("discard", "--all")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("CommandError: discard 2 dead letters of group group ")
    assert refused.stderr.endswith("give --yes\n")
    assert len(listed()) == 2
    assert here("discard", letter, "--yes") == f"discarded 1 dead letter of group group of stream {stream_name}\n"
    assert len(listed()) == 1


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"\n", 1), (b"\x04", 1)])
def test_discard_asks_on_a_terminal(url: str, prefix: str, bury: Bury, answer: bytes, left: int) -> None:
    """On a terminal ``discard`` asks, saying how many, and only a yes is one."""
    bury(login_fields())
    status, shown = on_a_terminal(url, prefix, answer, "discard", "--all")

    assert status == 0
    assert b"discard 1 dead letter of group group" in shown
    assert (b"nothing was discarded" in shown) == bool(left)
    assert len(listed()) == left


def test_a_program_is_told_of_a_no_as_well(url: str, prefix: str, bury: Bury) -> None:
    """With --json the answer to a discard that was declined is JSON."""
    bury(login_fields())

    status, shown = on_a_terminal(url, prefix, b"n\n", "discard", "--all", "--json")

    assert status == 0
    assert b'{"discarded": 0}' in shown


@pytest.mark.parametrize("count", [2, 1500])
def test_replays_have_a_progress_bar(url: str, prefix: str, bury: Bury, count: int) -> None:
    """On a terminal a bar shows how many of all are replayed; it is gone when the line says how many there were."""
    bury(*[login_fields()] * count)

    status, shown = on_a_terminal(url, prefix, b"", "replay", "--all")

    assert status == 0
    assert re.search(rb"replaying .*\d+/%d\b" % count, shown)
    # Erased before the last line, which stands where the bar did.
    assert re.search(rb"\x1b\[2Kreplayed %s dead letters to [^\x1b]*$" % f"{count:,}".encode(), shown)


def test_a_single_replay_has_no_bar(url: str, prefix: str, bury: Bury) -> None:
    """One line about one dead letter."""
    bury(login_fields())

    status, shown = on_a_terminal(url, prefix, b"", "replay", "--all")

    assert status == 0
    assert b"replaying" not in shown
    assert shown.startswith(b"replayed 1 dead letter to ")


def test_the_bar_leaves_json_alone(url: str, prefix: str, bury: Bury) -> None:
    """With --json a bar on the terminal is beside what is printed, which has nothing but the JSON."""
    bury(*[login_fields()] * 3)
    terminal, side = pty.openpty()
    process = begin(url, prefix, "replay", "--all", "--json", stdout=subprocess.PIPE, stderr=side)
    os.close(side)
    shown = all_of(terminal)

    printed, _ = process.communicate(timeout=30)
    assert json.loads(printed) == {"replayed": 3, "gone": 0, "refused": 0}
    assert re.search(rb"replaying .*\d+/3\b", shown)


def on_a_terminal(url: str, prefix: str, answer: bytes, *arguments: str) -> tuple[int, bytes]:
    terminal, side = pty.openpty()
    process = begin(url, prefix, *arguments, stdin=side, stdout=side, stderr=side)
    os.close(side)
    os.write(terminal, answer)
    shown = all_of(terminal)
    return process.wait(30), shown


def all_of(terminal: int) -> bytes:
    """Return what comes until the other side is closed, and close this one."""
    shown = b""
    # On Linux a terminal whose other side is closed is an error.
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:
        pass
    finally:
        os.close(terminal)
    return shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show",), "show what?: expected ids of dead letters (event_bus_dead_letters list) or --all"),
        (("replay",), "replay what?"),
        (("discard", "--yes"), "discard what?"),
        (("show", "1-1", "--all"), "ids and --all exclude each other"),
        (("list", "1-1"), "list takes no ids"),
        (("show", "now"), "'now' is no id of a dead letter: expected one like 1679676448892-0"),
        (("show", "5"), "'5' is no id"),
        (("show", "18446744073709551616-0"), "is no id"),
        (("list", "-t", ""), "--topic is ''"),
        (("list", "-g", "a\nb"), "--group_id is 'a\\nb'"),
        (("burn",), "argument action: invalid choice: 'burn'"),
    ],
)
def test_a_wrong_command_line_is_told(arguments: tuple[str, ...], expected: str) -> None:
    """What cannot work ends with one line that says what would, before Redis is asked."""
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL="redis://127.0.0.1:1/"), pytest.raises(CommandError) as error:
        here(*arguments)

    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "setting EVENT_BUS_REDIS_CONNECTION_URL is missing"),
        ("localhost", "setting EVENT_BUS_REDIS_CONNECTION_URL '(no scheme)' is not usable"),
        ("redis://:hush@127.0.0.1:1/", "Redis cannot be reached: "),
    ],
)
def test_a_server_that_is_not_there_is_told(url: str | None, expected: str) -> None:
    """A missing URL, a bad one and a server that is down end with one line without a password."""
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=url), pytest.raises(CommandError) as error:
        here("list")

    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
    assert "hush" not in str(error.value)


def test_the_process_ends_with_one_line(run: Callable[..., Any]) -> None:
    """No traceback and no warning surround the line, and the exit status is 1."""
    done = run("list", url="redis://:hush@127.0.0.1:1/", starts=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"CommandError: Redis cannot be reached: .* \(redis://\*\*\*@127\.0\.0\.1:1/\)\n", done.stderr)


@pytest.mark.parametrize("arguments", [("list",), ("replay", "--all"), ("discard", "1-1", "--yes")])
def test_a_key_of_another_type_is_told(client: redis.Redis, stream_name: str, arguments: tuple[str, ...]) -> None:
    """What is not a stream where dead letters should be ends with one line."""
    client.set(group_key(stream_name, "dead", "group"), "x")

    with pytest.raises(CommandError, match=r"^Redis cannot do it: WRONGTYPE [^\n]*$"):
        here(*arguments)


def test_an_entry_of_thousands_of_fields_does_not_stop_the_consumer(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """More fields than a script can handle become a dead letter too, and show has them all."""
    consumer = consume().wait_running()
    garbage = [b"%d" % number if number % 2 == 0 else b"\xff\x00" for number in range(20_000)]
    client.execute_command("XADD", stream_name, "*", *garbage)
    add_logins(client, stream_name, 1)

    consumer.wait_handled(1)

    (letter,) = json.loads(here("show", "--all", "--json"))
    assert letter["fields"] == {str(number): "\\xff\x00" for number in range(0, 20_000, 2)}
    assert consumer.stop() == 0
    assert client.xpending(stream_name, "group")["pending"] == 0


def test_an_event_of_thousands_of_fields_is_retried_and_replayed(
    consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """Retries and replays of an event with more fields than a script can handle lose none of them."""
    consumer = consume(max_retries=1).wait_running()
    fields = [*login_fields(0, "fail:3"), *[b"more"] * 20_000]
    client.execute_command("XADD", stream_name, "*", *fields)
    wait_until(listed, what="a dead letter")

    here("replay", "--all")

    (handled,) = consumer.wait_handled(1)
    assert handled.event_id == fields[3].decode()
    assert len(consumer.begun()) == 4
    assert dead_letters(client, stream_name) == []


@pytest.mark.parametrize(
    "fields", [[], [b"a", b"b"], [b"a", b"\xff\x00"] * 2001, [b"dead_packed", b"[]"], [b"dead_shortened_from", b"5"]]
)
def test_packing_loses_nothing(fields: list[bytes]) -> None:
    """What is unpacked is what was packed, also if it looks as if it had been packed before."""
    kept = stored(Entry(b"1-0", fields))

    assert restored(kept) == (fields, 0)
    assert len(kept) <= 4000


def test_a_stranger_among_dead_letters_is_shown(client: redis.Redis, stream_name: str) -> None:
    """An entry that somebody else put there has its fields and its time, and can be replayed."""
    client.xadd(group_key(stream_name, "dead", "group"), {"dead_time": "x"}, id="1700000000000-5")

    (letter,) = json.loads(here("show", "--all", "--json"))

    assert (letter["entry_id"], letter["cause"]) == ("1700000000000-5", "not known")
    assert (letter["time"], letter["fields"]) == ("2023-11-14T22:13:20+00:00", {"dead_time": "x"})
    assert "replayed 1" in here("replay", "--all")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dead_entry_id", "x"),
        ("dead_deliveries", "many"),
        ("dead_deliveries", "9" * 5000),
        ("dead_time", "nan"),
        ("dead_time", "1e30"),
        ("dead_history", "5"),
        ("dead_history", "[5]"),
        ("dead_history", "[" * 100_000),
        ("dead_packed", "[5, 6]"),
        ("dead_packed", '["a"]'),
        ("dead_packed", '["\u20ac", ""]'),
        ("dead_packed", "{"),
    ],
)
def test_a_damaged_dead_letter_stands_in_nobodys_way(
    bury: Bury, client: redis.Redis, stream_name: str, name: str, value: str
) -> None:
    """A letter with a value that was never written here is listed and shown with its fields, and can be discarded."""
    key, as_bytes = group_key(stream_name, "dead", "group"), value.encode()
    if name == "dead_packed":
        good_id, bad_id = bury([b"a", b"b"], [b"dead_packed", as_bytes])
    else:
        (good_id,) = bury([b"a", b"b"])
        ((_, fields),) = client.xrange(key)
        bad_id = client.xadd(key, {**fields, name.encode(): as_bytes}).decode()

    good, bad = listed()
    shown = json.loads(here("show", "--all", "--json"))

    assert (good["id"], good["cause"]) == (good_id, "receivers failed")
    assert (bad["id"], bad["cause"]) == (bad_id, "not known")
    assert shown[1]["fields"][name] == value
    assert "discarded 1" in here("discard", bad_id, "--yes")


def test_a_dead_letter_is_what_was_written() -> None:
    """Parsing gives what was encoded, field for field."""
    entry = Entry(b"7-0", [b"a", b"b"], b"3-1", 2, b'[{"cause": "x"}]')
    facts = {"cause": "c", "deliveries": 3, "consumer": "c1", "worker_exit": "SIGKILL"}
    facts |= {"exception": "e", "message": "m", "traceback": "t"}

    letter = parse_letter(Entry(b"9-0", [*(entry.fields or []), *encode_facts(entry, **facts)]))

    moment = letter.time
    assert letter == DeadLetter(
        id=b"9-0", fields=[b"a", b"b"], stored=2, size=0, entry_id=b"3-1", **facts, time=moment, history=entry.history
    )


def test_many_that_are_replayed_leave_nothing_behind(
    bury: Bury, consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """Fast ones are acknowledged many at a time, some while others are handled, and all are gone from Redis then."""
    consumer = consume(workers=1).wait_running()
    bury(*(login_fields(number, "sleep:0.0005") for number in range(300)))

    here("replay", "--all")

    consumer.wait_handled(300)
    wait_until(lambda: client.xlen(group_key(stream_name, "again", "group")) == 0, what="nothing is left")
    assert len(consumer.handled()) == 300
