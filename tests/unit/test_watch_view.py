"""How a watch arranges what it sees, at every size of a terminal."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from edx_event_bus_redis.internal.findings import Limits, findings
from edx_event_bus_redis.internal.progress import Look
from edx_event_bus_redis.internal.status import StreamStatus
from edx_event_bus_redis.management.picture import Picture, Trouble
from edx_event_bus_redis.management.watch_view import arranged
from tests.support.looks import NOW, consumer, group, look, pool, stream, two_looks, worker

LONG = "a-name-that-is-much-longer-than-any-column-could-ever-be-" * 3
BUSY = {"state": "busy", "entry": "1795558657359-18", "seconds": 125.0}
MUCH_TROUBLE = stream(
    group(
        lag=990,
        lost=1_234_567,
        lost_lately={"trimmed": 7},
        last_loss_seconds=5.0,
        dead_letters=31,
        pools=[
            pool(worker(**BUSY), worker(1, **{**BUSY, "seconds": 700.0}, again=True), worker(2)),
            pool(pool="c0", alive=False),
        ],
        consumers=[consumer("c0.0", pool="c0", pending=12, state="gone"), consumer("x", pending=1, idle_seconds=5e3)],
    ),
    group(group="other", lag=3, pools=[]),
    group(group="left", last_delivered_id=None, lag=None, finished=None, dead_letters=1, pools=[]),
)
SIXTY = stream(group(pools=[pool(*map(worker, range(59)), worker(59, **{**BUSY, "seconds": 700.0}))]))
THIRTY = stream(*(group(group=f"group-{number:02}", dead_letters=number // 27) for number in range(30)))
SCENES = {
    "nothing": [],
    "one healthy pool": [stream(group())],
    "much trouble": [MUCH_TROUBLE, stream(topic="gone", stream="dev-gone", length=None, added=None)],
    "long names": [stream(group(group=LONG, pools=[pool(worker(), pool=LONG, host=LONG)]), stream=LONG)],
    "wide names": [stream(group(group="組" * 60, pools=[pool(worker(), pool="群" * 60)]), stream="流" * 60)],
    "sixty workers": [SIXTY],
    "thirty groups": [THIRTY],
}


def drawn(
    streams: Sequence[StreamStatus],
    width: int = 80,
    height: int | None = 24,
    *,
    before: Look | None = None,
    trouble: Trouble | None = None,
    now: float = NOW,
) -> list[str]:
    """The lines of a picture, without colours."""
    seen = look(*streams)
    picture = Picture(now, 2.0, seen, before, findings(before, seen, Limits()), trouble)
    console = Console(width=width, height=height or 100, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(arranged(picture, "Event bus on redis://host:6379/0", "there is no stream", width, height))
    return captured.get().splitlines()


def line_of(lines: list[str], beginning: str) -> str:
    (line,) = [line for line in lines if line.startswith(beginning)]
    return line


@pytest.mark.parametrize("streams", SCENES.values(), ids=SCENES.keys())
@pytest.mark.parametrize("size", [(80, 24), (140, 40), (100, 12), (200, 60), (40, 10), (20, 3), (80, None)])
def test_no_picture_is_larger_than_its_terminal(streams: list[StreamStatus], size: tuple[int, int | None]) -> None:
    """Whatever there is, it fits, also where a terminal is too small for anything."""
    width, height = size

    lines = drawn(streams, width, height)

    assert lines
    assert max(map(cell_len, lines)) <= width
    assert height is None or len(lines) <= height


def test_what_is_wrong_is_said_in_words_and_marked() -> None:
    """Above all, each thing in a sentence; and a mark before the group and the worker."""
    lines = drawn([MUCH_TROUBLE], 140, 40)

    assert lines[1].endswith(". 8 things are wrong:")
    assert lines[2] == "! topic/group: 7 events lost in the last 24 h: 7 trimmed"
    assert "! topic/group: worker c1.1 has had entry 1795558657359-18 in hand for 12 min" in lines
    assert line_of(lines, "! group ")
    assert line_of(lines, "! c1.1 ")
    assert line_of(lines, "  c1.0 ")
    assert line_of(lines, "! c0.0: gone, 12 pending")
    assert line_of(lines, "! left ").rstrip().endswith("gone")


def test_nothing_wrong_is_said_too() -> None:
    """One line tells at a glance that all is well, and how much there is."""
    assert drawn([stream(group())])[1] == "1 stream, 1 group, 1 pool, 1 worker. Nothing is wrong."
    assert drawn([])[1] == "There is no stream."


def test_what_is_cut_off_is_counted_and_what_is_wrong_is_not_cut_off() -> None:
    """Of sixty workers the one in trouble is shown though it is the last, and so is the group among thirty."""
    lines = drawn([SIXTY])
    assert line_of(lines, "! c1.59 ")
    shown = [line for line in lines if line.startswith(("  c1.", "! c1."))]
    assert f"… {60 - len(shown)} workers not shown" in lines[-1]
    assert len(lines) == 24

    lines = drawn([THIRTY])
    assert all(line_of(lines, f"! group-{number}") for number in (27, 28, 29))
    assert any("groups not shown" in line for line in lines)


def test_pools_that_have_ended_are_behind_those_that_live() -> None:
    """However many there are, they push nobody off; who stopped is told from who is gone without a word."""
    ended = [pool(pool=f"a{number:02}", alive=False, stopped=number != 7) for number in range(20)]
    streams = [stream(group(pools=[*ended, pool(*map(worker, range(4)), pool="b")]))]

    lines = drawn(streams)

    living = lines.index(line_of(lines, "Pool b, "))
    assert [line.split()[0] for line in lines[living + 1 : living + 5]] == ["b.0", "b.1", "b.2", "b.3"]
    assert lines[living + 5 : living + 7] == ["Pool a07, topic/group: gone", "Pool a00, topic/group: stopped"]
    assert lines[-1].startswith("… 10 pools not shown: ")
    assert not [line for line in lines[:living] if line.startswith("Pool ")]


def test_a_pool_that_has_ended_and_left_something_is_among_those_that_live() -> None:
    """It is in trouble: neither other pools that have ended nor workers that are well take its place."""
    left = consumer("a0.0", pool="a0", pending=3, state="left")
    ended = [pool(pool=f"a{number}", alive=False, stopped=True) for number in range(9)]
    streams = [stream(group(pending=3, pools=[*ended, pool(*map(worker, range(30)), pool="b")], consumers=[left]))]

    lines = drawn(streams)

    assert lines[2] == "! topic/group: pool a0 has stopped and has left 3 entries pending"
    assert line_of(lines, "! a0.0: left, 3 pending")
    assert line_of(lines, "Pool a0, ") == "Pool a0, topic/group: stopped"
    assert lines.index(line_of(lines, "Pool a0, ")) < lines.index(line_of(lines, "Pool b, "))
    assert "8 pools" in lines[-1]


def test_what_is_wrong_takes_the_place_of_what_is_not() -> None:
    """Workers in trouble are shown rather than groups that are well, and what does not fit is said to be in trouble."""
    in_trouble = [worker(number, **{**BUSY, "seconds": 700.0}) for number in range(8)]
    many = [group(group=f"group-{number:02}", pools=[]) for number in range(30)]

    lines = drawn([stream(*many, group(group="z", pools=[pool(*in_trouble)]))], 80, 30)
    assert len([line for line in lines if line.startswith("! c1.")]) == 8

    lines = drawn([stream(*many, group(group="z", pools=[pool(*in_trouble)]))], 80, 20)
    shown = [line for line in lines if line.startswith("! c1.")]
    assert len(shown) == 3
    assert lines[-1].startswith("… 5 workers not shown, of which 5 in trouble: ")


def test_nothing_is_cut_off_without_a_word() -> None:
    """Where not even the beginning fits, the last line says how much more there is."""
    trouble = Trouble("Redis cannot be reached: " + "no answer " * 30, NOW - 30)

    lines = drawn([MUCH_TROUBLE], 40, 8, trouble=trouble)

    assert re.fullmatch(r"… and \d+ more lines: a larger terminal s…", lines[-1])


def test_findings_leave_room_for_the_rest() -> None:
    """Many findings are cut too, and the line that says so names what prints all of them."""
    streams = [stream(*(group(group=f"group-{number}", dead_letters=1) for number in range(20)))]

    lines = drawn(streams)

    assert [line for line in lines if line.startswith("! topic/")] == [
        f"! topic/group-{number}: 1 dead letter" for number in (0, 1, 10, 11, 12, 13)
    ]
    assert "… and 14 more; --check prints all of them" in lines
    assert any(line.startswith("! group-") for line in lines)


def test_nothing_moves_between_two_pictures() -> None:
    """Columns are where they were, whatever the numbers have become."""
    small = drawn([stream(group(pools=[pool(worker())]))])
    long_entry = {**BUSY, "entry": "9" * 20 + "-" + "9" * 20}
    large_worker = worker(handled=999_999, rate=12_345.6, memory=5 * 2**30, cpu=100.0, restarts=12, **long_entry)
    large = drawn(
        [stream(group(lag=123_456, pending=99_999, lost=99_999_999, pools=[pool(large_worker)]), max_len=10**6)]
    )

    assert len(small) == len(large)
    for beginning in ("Group ", "Worker "):
        assert line_of(small, beginning) == line_of(large, beginning)
    for lines in (small, large):
        for beginning, row in (("Group ", "  group "), ("Worker ", "  c1.0 ")):
            end = line_of(lines, beginning).rindex(" ") + 1
            assert line_of(lines, row)[end - 1] == " " != line_of(lines, row)[end]


def test_rates_and_what_comes_of_them_are_shown() -> None:
    """What is added and handled per second, and the time until the cap or the end of the backlog."""
    before, after = two_looks({"lag": 100}, {"lag": 350, "finished": 350}, added=500)

    lines = drawn(after.streams, before=before)

    assert line_of(lines, "dev-topic: ") == "dev-topic: 900 of about 1,000 entries, 100.0 added/s"
    assert line_of(lines, "  group ").split() == ["group", "50.0", "350", "0", "0", "0", "cap", "in", "13", "s"]


@pytest.mark.parametrize(
    ("before", "after", "outlook"),
    [
        ({"lag": 400}, {"lag": 300}, "done in 15 s"),
        ({"lag": 400}, {"lag": 0}, "all is read"),
        ({"lag": 1000}, {"lag": 1000, "lost": 5}, "losing events"),
        ({"lag": 1000}, {"lag": 1000}, "at the cap"),
        ({"lag": 300}, {"lag": 300, "finished": 150}, "keeps level"),
        ({"lag": 300}, {"lag": 300}, "stands still"),
        ({"lag": None}, {"lag": None}, "-"),
    ],
)
def test_the_outlook_is_told_in_words(before: dict[str, Any], after: dict[str, Any], outlook: str) -> None:
    """Of each group, what is going to become of its backlog."""
    first, last = two_looks(before, after)

    (line,) = [line for line in drawn(last.streams, before=first) if line.startswith(("  group ", "! group "))]

    assert line.endswith(f" {outlook}")


def test_what_is_not_known_is_a_dash() -> None:
    """A pool of an older version, and the first look of all, have no numbers made up for them."""
    old = pool({"shard": 0, "state": "idle", "handled": 5, "failed": 0}, since=None, host=None)

    lines = drawn([stream(group(pools=[old]))])

    assert line_of(lines, "  c1.0 ").split() == ["c1.0", "idle", *"------"]
    assert line_of(lines, "  group ").split() == ["group", "-", "0", "0", "0", "0", "all", "is", "read"]


def test_a_worker_is_shown_with_all_that_its_pool_tells() -> None:
    """State, entry in hand and its age, rate, memory, processor, deaths and what the last one was."""
    busy = worker(**BUSY, again=True, restarts=3, last_death="SIGKILL", failed=2)

    lines = drawn([stream(group(pools=[pool(busy)]))], 140, 40)

    assert line_of(lines, "  c1.0 ").split() == (
        ["c1.0", "retrying", "1795558657359-18", "2", "min", "12.5", "50", "2", "123", "MiB", "7", "%", "3,", "SIGKILL"]
    )
    assert line_of(lines, "Pool c1, ") == "Pool c1, topic/group: 1 worker, 12.5 events/s, up 2 h, host web-1, pid 12"


def test_a_server_that_is_away_is_told_above_what_was_seen() -> None:
    """Since when, why, and of when the rest is, which is no word that all is well now."""
    trouble = Trouble("Redis cannot be reached: Connection refused (redis://host:6379/0)", NOW - 30)

    lines = drawn([stream(group())], 140, trouble=trouble, now=NOW + 5)

    assert lines[1].startswith(f"{trouble.text}, for 35 s. What follows was seen at ")
    assert "Nothing was wrong then." in lines[2]
    assert line_of(lines, "  group ")


def test_names_cannot_control_the_terminal() -> None:
    """What others have chosen is shown as text."""
    evil = "\x1b[2J[red]\n"
    streams = [stream(group(group=evil, dead_letters=1, pools=[pool(worker(last_death=evil, restarts=1), pool=evil)]))]

    lines = drawn(streams, 140, 40)

    assert "\x1b" not in "".join(lines)
    assert any("'\\x1b[2J[red]\\n'" in line for line in lines)
    assert len(lines) == len(drawn([stream(group(dead_letters=1, pools=[pool(worker(restarts=1))]))], 140, 40))
