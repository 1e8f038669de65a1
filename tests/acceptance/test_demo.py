"""The demo, as ``make demo`` runs it."""

import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from devtools.demo.run import Kill, Run, Tail, Worker, shortcomings
from devtools.demo.screen import Screen
from devtools.server import URL_VARIABLE, EmbeddedServer
from tests.support.pages import text_of
from tests.support.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def demo(directory: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo, with its temporary files in the directory."""
    with (directory / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "devtools.demo"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(made(directory / "temporary")), "COLUMNS": "80", **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def output(directory: Path) -> str:
    return (directory / "output").read_text()


def nothing_is_left(directory: Path, *, but_files: bool = False) -> None:
    """Hold that no process lives on that the output names, no server of this demo, and no file."""
    pids = {int(pid) for pid in re.findall(r"pid (\d+)", output(directory))}
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), timeout=10, what="no process is left")
    wait_until(lambda: not servers(directory), timeout=10, what="no server is left")
    assert but_files or not list((directory / "temporary").iterdir())


def servers(directory: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in argument for argument in process.info["cmdline"] or ())
    ]


@pytest.mark.slow
def test_the_demo_handles_every_event_although_a_worker_is_killed(tmp_path: Path) -> None:
    """The demo ends with status 0, with 2,000 events handled and a worker replaced, in 80 columns; nothing is left."""
    with demo(tmp_path) as process:
        assert process.wait(110) == 0, output(tmp_path)

    shown = output(tmp_path)
    assert "Every event was handled." in shown
    assert re.search(r"^  sent +2,000 ", shown, re.MULTILINE)
    assert re.search(r"^  handled +2,000 ", shown, re.MULTILINE)
    assert re.search(r"^  pending +0 ", shown, re.MULTILINE)
    assert re.search(r"SIGKILL to worker (\d).*\n(.*\n)*.*worker \1 died of SIGKILL, entry .*\n.*worker \1 repl", shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    nothing_is_left(tmp_path)
    # The lines of the README, in any order: two processes write them.
    ending = re.sub(r".*events sent, .*\n", "", shown[re.search(r"^.*SIGKILL to", shown, re.MULTILINE).start() :])
    documented = re.search(r"^.*SIGKILL to(.*\n)*?.*All of it took.*\n", text_of("README.rst"), re.MULTILINE)
    assert documented
    assert shape(ending) == shape(documented[0])


def shape(text: str) -> list[str]:
    """Return the lines that are not empty without what differs from one run to the next, sorted."""
    text = re.sub(r"\b([\da-f]{8}\b|\d[\d.,-]*)", "N", text.replace(" killed, then", ""))
    return sorted(" ".join(line.split()) for line in text.splitlines() if line.strip())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_nothing_behind(
    tmp_path: Path, own_server: EmbeddedServer, number: signal.Signals, status: int
) -> None:
    """Stopped by Control-C or by SIGTERM it leaves no process, no file, and no key on a server that is not its own."""
    with demo(tmp_path, **{URL_VARIABLE: own_server.url}) as process, own_server.client() as client:
        wait_until(lambda: "events sent" in output(tmp_path), timeout=60, what="events are sent")
        assert client.dbsize() >= 1

        process.send_signal(number)

        assert process.wait(30) == status
        assert client.dbsize() == 0
    nothing_is_left(tmp_path)


@pytest.mark.slow
def test_a_killed_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    """When the demo is killed, its server, its consumer and the workers die too."""
    with demo(tmp_path) as process:
        wait_until(lambda: "events sent" in output(tmp_path), timeout=60, what="events are sent")
        started = psutil.Process(process.pid).children(recursive=True)
        # Server, supervisor, monitor and four workers.
        assert len(started) == 7

        process.kill()

        _, alive = psutil.wait_procs(started, timeout=10)
        assert not alive
    nothing_is_left(tmp_path, but_files=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "said"),
    [("localhost:6379", "setting EVENT_BUS_REDIS_CONNECTION_URL"), ("redis://:hush@127.0.0.1:1/", "no server answers")],
)
def test_a_server_that_cannot_be_used_is_named(tmp_path: Path, url: str, said: str) -> None:
    """With a URL that cannot work the demo says so, without a traceback and without the password."""
    with demo(tmp_path, **{URL_VARIABLE: url}) as process:
        assert process.wait(60) == 1

    assert said in output(tmp_path)
    assert "Traceback" not in output(tmp_path)
    assert "hush" not in output(tmp_path)
    nothing_is_left(tmp_path)


def good_run() -> Run:
    """Return what is known of a run in which everything was as it should be."""
    kill = Kill(0, 10, "b", death="SIGKILL, entry 1-1 in hand", replacement=12, handled_by=12)
    return Run(
        wanted=3,
        workers=[Worker([10, 12], 2), Worker([11], 1)],
        sent={"a": 1, "b": 2, "c": 3},
        times_handled=Counter("abc"),
        restarts=1,
        kill=kill,
        pending=0,
        exit_status=0,
    )


def test_a_good_run_has_no_shortcomings() -> None:
    """The verdict on a run in which everything was as it should be is good; repetition does not spoil it."""
    run = good_run()
    assert shortcomings(run) == []
    run.times_handled["b"] += 1
    assert shortcomings(run) == []


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ({"times_handled": Counter("ac")}, "1 event was not handled: b"),
        ({"times_handled": Counter()}, "3 events were not handled: a, b, c"),
        ({"sent": {"a": 1}}, "1 events were sent instead of 3"),
        ({"changed": {"c"}}, "1 event was handled with other data than sent: c"),
        ({"kill": None}, "no worker was killed"),
        ({"kill": Kill(0, 10, "b", "SIGKILL, entry 1-1 in hand")}, "was not replaced"),
        ({"kill": Kill(0, 10, "b", "SIGKILL, nothing in hand", 12)}, "did not see which entry"),
        ({"kill": Kill(0, 10, "b", None, 12)}, "did not see which entry"),
        ({"pending": 2}, "2 entries are pending"),
        ({"pending": None}, "not known whether entries are pending"),
        ({"exit_status": 1}, "ended with status 1"),
        ({"exit_status": None}, "did not end"),
    ],
)
def test_whatever_is_missing_spoils_the_verdict(difference: dict[str, Any], said: str) -> None:
    """A run that lacks one event, or anything else that the demo promises, is not called good."""
    run = good_run()
    for name, value in difference.items():
        setattr(run, name, value)

    missing = shortcomings(run)

    assert said in " / ".join(missing)
    shown = io.StringIO()
    Screen(Console(file=shown, width=200)).conclude(run, missing)
    assert f"Failed: {missing[0]}" in shown.getvalue()
    assert "Every event was handled" not in shown.getvalue()


def test_a_run_is_put_together_from_what_its_processes_write(tmp_path: Path) -> None:
    """Lines of receivers and of the supervisor make up the run; a line that is not complete yet waits."""
    run = Run(wanted=2, workers=[Worker(), Worker()], sent={"a": 1, "b": 2})
    path = tmp_path / "record"
    record = Tail(path)
    assert record.new_lines() == []
    path.write_text("begun a 10\nhandled a 10 demo.0 1\nbegun b 1")
    for line in record.new_lines():
        run.learn_from_receiver(line)
    assert (run.handled, run.in_hand, run.is_complete) == (1, {}, False)
    with path.open("a") as file:
        file.write("0\n")
    for line in record.new_lines():
        run.learn_from_receiver(line)
    assert run.in_hand == {10: "b"}

    run.kill = Kill(0, 10, "b")
    run.learn_from_log("I x: Pool demo: started worker 0, pid 10")
    run.learn_from_log(
        "I x: Pool demo: worker 0, pid 10, died: SIGKILL; entry 7-0 in hand for 0.0 s; replacement in 0.0 s"
    )
    run.learn_from_log("I x: Pool demo: replaced worker 0, pid 12, was 10")
    assert not run.is_complete
    run.learn_from_receiver("handled b 12 demo.0 3")

    assert run.kill == Kill(0, 10, "b", "SIGKILL, entry 7-0 in hand", 12, 12)
    assert (run.is_complete, run.changed, run.restarts, run.workers[0].pids) == (True, {"b"}, 1, [10, 12])
