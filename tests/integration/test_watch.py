"""``event_bus_status --watch``: on a terminal, in a pipe, as JSON, and while Redis comes and goes."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import pytest
import redis

from devtools.server import EmbeddedServer
from tests.support.commands import start
from tests.support.events import TOPIC, add_logins
from tests.support.heartbeats import heartbeat, private, workers
from tests.support.receivers import SECRET
from tests.support.waiting import wait_until

# What a terminal is told: to show another screen in place of the usual one, and the cursor, and to go back.
OTHER_SCREEN, NO_CURSOR, CURSOR, USUAL_SCREEN = b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[?25h", b"\x1b[?1049l"
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-7][0-9;]*m")


class Watching:
    """The command in a process of its own, on a terminal of a size or in a pipe."""

    def __init__(
        self, url: str, prefix: str, *arguments: str, size: tuple[int, int] | None = None, **environment: str
    ) -> None:
        if size is None:
            self._end, side = os.pipe()
        else:
            self._end, side = pty.openpty()
            self._resize(side, size)
        self.written = b""
        self.process = start(
            "event_bus_status",
            *arguments,
            url=url,
            prefix=prefix,
            environment={"TERM": "xterm", **environment},
            starts=True,
            stdin=subprocess.DEVNULL if size is None else side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._end)

    def read(self) -> bytes:
        """All that was written so far."""
        # On Linux a terminal whose other side is closed is an error.
        try:
            while select.select([self._end], [], [], 0)[0] and (chunk := os.read(self._end, 65536)):
                self.written += chunk
        except OSError:
            pass
        return self.written

    def wait_for(self, text: bytes, *, after: int = 0) -> int:
        """Wait until this was written behind a position, and return the position behind it."""
        wait_until(lambda: text in self.read()[after:], what=f"{text!r} in {self.written!r}")
        return self.written.index(text, after) + len(text)

    def documents(self) -> list[dict[str, Any]]:
        """The lines of JSON that were written so far."""
        return [json.loads(line) for line in self.read().decode().split("\n")[:-1]]

    def wait_document(self, wanted: Callable[[dict[str, Any]], bool], *, after: int = 0) -> int:
        """Wait for a document behind a number of them, and return its number."""

        def found() -> int | None:
            numbers = (number for number, each in enumerate(self.documents()) if number > after and wanted(each))
            return next(numbers, None)

        number = wait_until(found, what="a document")
        assert number is not None
        return number

    def resize(self, size: tuple[int, int]) -> None:
        """Give the terminal another size."""
        self._resize(self._end, size)

    def _resize(self, terminal: int, size: tuple[int, int]) -> None:
        columns, lines = size
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status; everything that was written is read."""
        self.process.send_signal(number)
        # A terminal that nobody reads holds up whoever writes.
        wait_until(lambda: self.read() and self.process.poll() is not None, what="its end")
        self.read()
        return self.process.wait()


@pytest.fixture
def watch(url: str, prefix: str) -> Iterator[Callable[..., Watching]]:
    """Start a watch of the test's prefix."""
    with ExitStack() as stack:

        def start(*arguments: str, url: str = url, prefix: str = prefix, **more: Any) -> Watching:
            return stack.enter_context(Watching(url, prefix, *arguments, **more))

        yield start


@pytest.fixture
def bus(client: redis.Redis, stream_name: str) -> str:
    """A stream with a group and a pool; returns its name."""
    client.xadd(stream_name, {"a": "b"})
    client.xgroup_create(stream_name, "group", "$")
    heartbeat(client, stream_name, "c1", **workers({"rate": 12.5, "restarts": 2, "last_death": "SIGKILL"}))
    return stream_name


# On a terminal.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    watch: Callable[..., Watching], bus: str, number: signal.Signals
) -> None:
    """Status 0; the usual screen and the cursor are back, last of all, and nothing was written beside the screen."""
    watching = watch("--watch", "0.2", size=(80, 24))
    watching.wait_for(b"Nothing is wrong")

    assert watching.end(number) == 0

    written = watching.written
    assert written.startswith(OTHER_SCREEN)
    assert NO_CURSOR in written
    assert written.endswith(CURSOR + USUAL_SCREEN)
    assert b"Traceback" not in written


def test_a_terminal_is_filled_and_not_scrolled(watch: Callable[..., Watching], bus: str) -> None:
    """Each picture begins at the top, has as many lines as the terminal and none that is longer than it is wide."""
    watching = watch("--watch", "0.2", size=(80, 24))
    first = watching.wait_for(b"SIGKILL")
    watching.wait_for(b"SIGKILL", after=first)
    watching.end(signal.SIGINT)

    pictures = [re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", each) for each in watching.written.split(b"\x1b[H")]
    whole = [each.split(b"\r\n") for each in pictures if b"SIGKILL" in each]
    assert len(whole) >= 2
    assert {len(lines) for lines in whole} == {24}
    assert {len(line.decode()) for lines in whole for line in lines} == {80}


def test_another_size_of_the_terminal_is_followed_at_once(watch: Callable[..., Watching], bus: str) -> None:
    """It is drawn anew long before the next look, in the new width."""
    watching = watch("--watch", "300", size=(80, 24))
    seen = watching.wait_for(b"SIGKILL")

    watching.resize((130, 40))

    watching.wait_for(b"Pending for", after=seen)


def test_colours_can_be_switched_off(watch: Callable[..., Watching], client: redis.Redis, bus: str) -> None:
    """With NO_COLOR there is none, and what is wrong is still said and marked."""
    client.xadd(private(bus, "dead"), {"a": "b"})
    coloured, plain = watch("--watch", size=(80, 24)), watch("--watch", size=(80, 24), NO_COLOR="1")

    for watching in (coloured, plain):
        watching.wait_for(f"! {TOPIC}/group: 1 dead letter".encode())
        watching.wait_for(b"! group ")

    assert COLOUR.search(coloured.read())
    assert not COLOUR.search(plain.read())


def test_redis_going_away_is_said_and_its_return_too(
    watch: Callable[..., Watching], own_server: EmbeddedServer
) -> None:
    """What was seen stays while the server is away, without its password; it goes on when it is back."""
    client = own_server.client()
    client.config_set("requirepass", "hush")
    client.execute_command("AUTH", "hush")
    client.xadd("dev-topic", {"a": "b"})
    url = own_server.url.replace("redis://", "redis://:hush@")
    watching = watch("--watch", "0.2", url=url, prefix="dev", size=(140, 24))
    seen = watching.wait_for(b"dev-topic: 1 of about")
    own_server.kill()

    gone = watching.wait_for(b"Redis cannot be reached: ", after=seen)
    watching.wait_for(b"What follows was seen at", after=gone)
    watching.wait_for(b"dev-topic: 1 of about", after=gone)
    own_server.password = None
    own_server.restart()
    back = len(watching.read())

    watching.wait_for(b"Redis refuses access: ", after=back)
    own_server.client().config_set("requirepass", "hush")
    back = len(watching.read())
    watching.wait_for(b"Nothing is wrong.", after=back)
    assert watching.end(signal.SIGINT) == 0
    assert b"hush" not in watching.written


def test_a_server_that_hangs_is_told(watch: Callable[..., Watching], own_server: EmbeddedServer) -> None:
    """A reply that does not come is not waited for for ever."""
    watching = watch("--watch", "0.2", url=own_server.url, prefix="dev", size=(80, 24))
    seen = watching.wait_for(b"There is no stream")
    own_server.freeze()

    gone = watching.wait_for(b"Redis does not answer in time: ", after=seen)

    own_server.thaw()
    watching.wait_for(b"\x1b[1mEvent bus", after=gone)
    assert watching.end(signal.SIGTERM) == 0


def test_a_server_that_hangs_does_not_hold_up_the_end(
    watch: Callable[..., Watching], own_server: EmbeddedServer
) -> None:
    """A signal ends it at once, though it waits for a reply that may take ten minutes."""
    own_server.freeze()
    watching = watch("--watch", url=f"{own_server.url}?socket_timeout=600", prefix="dev", size=(80, 24))
    watching.wait_for(NO_CURSOR)

    assert watching.end(signal.SIGTERM) == 0
    assert watching.written.endswith(CURSOR + USUAL_SCREEN)


# Elsewhere.


def test_in_a_pipe_it_is_one_page_after_the_other(watch: Callable[..., Watching], bus: str) -> None:
    """Whole pages of plain text, without anything that is for terminals, also if colours are asked for."""
    watching = watch("--watch", "0.2", COLUMNS="100", FORCE_COLOR="1")
    first = watching.wait_for(b"2, SIGKILL")

    watching.wait_for(b"2, SIGKILL", after=first)

    assert watching.end(signal.SIGINT) == 0
    assert b"\x1b" not in watching.written
    assert watching.written.count(b"Event bus on redis://") >= 2


def test_whoever_reads_may_go(watch: Callable[..., Watching], bus: str) -> None:
    """A reader such as head that has had enough ends it, without a traceback."""
    watching = watch("--watch", "0.2")
    watching.wait_for(b"Nothing is wrong")
    written = os.dup(watching._end)
    os.close(watching._end)
    watching._end = os.open(os.devnull, os.O_RDONLY)
    os.close(written)

    assert watching.process.wait(30) == 1


def test_as_json_each_look_is_a_line(
    watch: Callable[..., Watching], consume: Any, client: redis.Redis, stream_name: str
) -> None:
    """With rates from the second on, which are those of a pool at work; no payload is in it."""
    pool = consume(workers=1, check_backlog=True).wait_running(1)
    watching = watch("--watch", "0.2", "--json")
    number = watching.wait_document(lambda each: bool(each["streams"][0]["groups"][0]["pools"]))
    add_logins(client, stream_name, 300)
    pool.wait_handled(300)

    def is_at_work(document: dict[str, Any]) -> bool:
        (stream,) = document["streams"]
        return bool(stream["added_per_second"] and stream["groups"][0]["handled_per_second"])

    watching.wait_document(is_at_work, after=number)
    assert watching.end(signal.SIGTERM) == 0
    documents = watching.documents()
    assert documents[0]["streams"][0]["groups"][0]["handled_per_second"] is None
    assert all(each["findings"] == [] for each in documents)
    assert [each["time"] for each in documents] == sorted(each["time"] for each in documents)
    assert SECRET.encode() not in watching.written


def test_as_json_a_server_that_is_away_is_a_line_too(
    watch: Callable[..., Watching], own_server: EmbeddedServer
) -> None:
    """Under ``error`` it says what is wrong, again and again until the server is back."""
    own_server.client().xadd("dev-topic", {"a": "b"})
    watching = watch("--watch", "0.1", "--json", url=own_server.url, prefix="dev")
    number = watching.wait_document(lambda each: "streams" in each)
    own_server.kill()
    number = watching.wait_document(lambda each: "cannot be reached" in each.get("error", ""), after=number)
    own_server.restart()

    number = watching.wait_document(lambda each: "streams" in each, after=number)

    # What was before the server went away is nothing to compare with.
    assert watching.documents()[number]["streams"][0]["added_per_second"] is None
    assert watching.end(signal.SIGINT) == 0
