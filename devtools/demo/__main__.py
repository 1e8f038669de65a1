"""Plays the demo; see the package for what it does."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import django
import redis
from rich.console import Console

from devtools.demo.consumer import Consumer, frozen
from devtools.demo.events import KINDS, Campus
from devtools.demo.receivers import digest
from devtools.demo.run import Kill, Run, Tail, Worker, short, shortcomings
from devtools.demo.screen import WIDTH, Screen
from devtools.demo.surroundings import GROUP, Surroundings
from devtools.server import URL_VARIABLE, EmbeddedServer, ServerError
from edx_event_bus_redis.internal.connection_url import connection_options, redacted
from edx_event_bus_redis.internal.errors import ConfigurationError

EVENTS = 2_000
WORKERS = 4

# Events in a second: less than the pool can handle, and slow enough to watch.
RATE = 500

# Seconds.
START_TIMEOUT = 60.0
STALL_TIMEOUT = 20.0
REDIS_TIMEOUT = 5.0
FRAME = 0.03

LOG_TAIL_LINES = 20


class DemoError(Exception):
    """The demo cannot go on. The message is for the user."""


class Demo:
    """
    One run.

    Arguments:
        given: surroundings of the consumer.
        consumer: that handles the events.
        screen: where to tell about it.
    """

    def __init__(self, given: Surroundings, consumer: Consumer, screen: Screen) -> None:
        self.run = Run(EVENTS, [Worker() for _ in range(WORKERS)])
        self._consumer = consumer
        self._screen = screen
        self._record, self._log = Tail(given.record), Tail(given.log)
        self._campus = Campus()
        for each, _ in KINDS:
            each.connect(self._note_sent)

    def play(self) -> None:
        """Do everything from the start of the workers to the end of the consumer. Raises DemoError."""
        self._screen.tell(f"starting the consumer, pid {self._consumer.pid}")
        self._wait_for_workers()
        self._screen.tell(f"{WORKERS} workers run; sending {RATE} events a second, of {len(KINDS)} kinds")
        self._send_and_watch()
        if self._consumer.exit_status is None:
            self._screen.tell("stopping the consumer with SIGTERM")
            self.run.exit_status = self._consumer.stop()
        else:
            self._screen.tell("the consumer has ended on its own", "red")
            self.run.exit_status = self._consumer.exit_status
        self._look()

    def _wait_for_workers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self.run.running < WORKERS:
            self._look()
            if self._consumer.exit_status is not None:
                raise DemoError(f"the consumer ended with status {self._consumer.exit_status}")
            if time.monotonic() > deadline:
                raise DemoError(f"{self.run.running} of {WORKERS} workers ran after {START_TIMEOUT:.0f} seconds")
            time.sleep(FRAME)

    def _send_and_watch(self) -> None:
        began = progressed = time.monotonic()
        handled = 0
        while not self.run.is_complete and self._consumer.exit_status is None:
            frame_ends = time.monotonic() + FRAME
            self._send(min(EVENTS, int((time.monotonic() - began) * RATE)), frame_ends)
            self._look()
            if self.run.kill is None and self.run.handled >= EVENTS // 2:
                self._kill_a_worker()
            self._screen.show(self.run)
            if self.run.handled > handled:
                handled, progressed = self.run.handled, time.monotonic()
            elif time.monotonic() - progressed > STALL_TIMEOUT:
                self._screen.tell(f"nothing was handled for {STALL_TIMEOUT:.0f} seconds", "red")
                return
            time.sleep(max(0.0, frame_ends - time.monotonic()))

    def _send(self, due: int, until: float) -> None:
        """Send the events that are due, but leave the rest for later at that time: the picture stays live."""
        while len(self.run.sent) < due and time.monotonic() < until:
            each, event_data = self._campus.event(len(self.run.sent))
            each.send_event(**event_data)

    def _note_sent(self, signal: Any, metadata: Any, **arguments: Any) -> None:
        """Receive a signal in the process that sends it, as the producer does."""
        self.run.sent[str(metadata.id)] = digest({key: arguments[key] for key in signal.init_data})

    def _look(self) -> None:
        """Take note of what the consumer's processes have written."""
        for line in self._log.new_lines():
            self._tell(self.run.learn_from_log(line))
        for line in self._record.new_lines():
            self._tell(self.run.learn_from_receiver(line))

    def _tell(self, news: str | None) -> None:
        if news is not None:
            self._screen.tell(news, "yellow")

    def _kill_a_worker(self) -> None:
        """Kill a worker that is in the middle of an event; if there is none right now, leave it to the next try."""
        for shard, worker in enumerate(self.run.workers):
            pid = worker.pids[-1]
            if pid not in self.run.in_hand:
                continue
            with frozen(pid, self._consumer.pid) as is_frozen:
                # It may have finished the event meanwhile; now that it is frozen it cannot.
                self._look()
                event_id = self.run.in_hand.get(pid)
                if is_frozen and event_id is not None:
                    self.run.kill = Kill(shard, pid, event_id)
                    os.kill(pid, signal.SIGKILL)
                    self._screen.tell(f"SIGKILL to worker {shard}, pid {pid}, in event {short(event_id)}", "bold red")
                    return


def main() -> int:
    """Play the demo; return the exit status."""
    wide = Console(highlight=False)
    console = Console(highlight=False, width=min(wide.width, WIDTH))
    exit_on_signals()
    try:
        with ExitStack() as stack:
            return play(stack, console)
    except (DemoError, ServerError, ConfigurationError) as error:
        console.print(f"The demo cannot go on: {error}", style="bold red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything that was started is stopped.")
        return 128 + signal.SIGINT


def play(stack: ExitStack, console: Console) -> int:
    """Play the demo with what the stack cleans up; return the exit status."""
    screen = stack.enter_context(Screen(console))
    screen.announce(f"edx-event-bus-redis: {EVENTS:,} events, {WORKERS} workers, one SIGKILL")
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="event-bus-demo-")))
    url, server = choose_server(stack, directory)
    given = Surroundings(url, f"demo-{uuid.uuid4().hex[:8]}", str(directory), os.getpid())
    client = connect(stack, url, given.stream)
    set_up_django(given)

    consumer_given = replace(given, consumes=True)
    consumer = stack.enter_context(Consumer(consumer_given, WORKERS))
    screen.introduce(
        {
            "server": f"{version(client)} at {server}",
            "stream": given.stream,
            "consumer": shlex.join(["manage.py", *consumer.arguments]),
        }
    )
    demo = Demo(consumer_given, consumer, screen)
    try:
        demo.play()
        missing = judge(demo.run, client, given.stream)
    except DemoError as error:
        missing = [str(error)]
    screen.conclude(demo.run, missing)
    if missing:
        for log in (given.log, consumer_given.log):
            screen.quote(f"The end of {log.name}, without its lines about single events:", tail(log))
    return 1 if missing else 0


def choose_server(stack: ExitStack, directory: Path) -> tuple[str, str]:
    """Return the URL of the server, and how to name it. Raises ServerError and ConfigurationError."""
    url = os.environ.get(URL_VARIABLE)
    if url:
        connection_options(url)
        return url, f"{redacted(url)}, from {URL_VARIABLE}"
    server = stack.enter_context(EmbeddedServer(directory=directory / "server"))
    return server.url, f"{redacted(server.url)}, started for this demo"


def connect(stack: ExitStack, url: str, stream: str) -> redis.Redis:
    """Return a client; the stack deletes the stream, and closes it. Raises DemoError."""
    client = redis.Redis.from_url(url, socket_timeout=REDIS_TIMEOUT, socket_connect_timeout=REDIS_TIMEOUT)
    stack.callback(client.close)
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        raise DemoError(f"no server answers at {redacted(url)} ({error})") from None
    stack.callback(delete_keys, client, stream)
    return client


def delete_keys(client: redis.Redis, stream: str) -> None:
    """Delete the stream and the keys that go with it."""
    # A server that is gone has nothing left to clean up.
    with suppress(redis.RedisError, OSError):
        client.delete(stream, *client.scan_iter(match=f"{{{stream}}}:*", count=1000))


def version(client: redis.Redis) -> str:
    """Return name and version of the server."""
    facts: dict[str, Any] = client.info("server")
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts.get('redis_version', '?')}"


def set_up_django(given: Surroundings) -> None:
    """Make this process the one that sends."""
    os.environ.update(given.environment())
    django.setup()


def judge(run: Run, client: redis.Redis, stream: str) -> list[str]:
    """Ask the server for what only it knows, and return what went wrong."""
    with suppress(redis.RedisError, OSError):
        run.pending = client.xpending(stream, GROUP)["pending"]
    return shortcomings(run)


def tail(log: Path) -> list[str]:
    """Return the last lines of a log, without those that say of an event that it was received and handled."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if " INFO " not in line or ": Message " not in line][-LOG_TAIL_LINES:]


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the demo as Control-C does: by an exception, so that everything is cleaned up."""

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- the signature of a handler
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup it stays ignored.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)


if __name__ == "__main__":
    sys.exit(main())
