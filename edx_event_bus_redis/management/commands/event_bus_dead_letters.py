"""``manage.py event_bus_dead_letters``: shows what a consumer group could not handle, and disposes of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from openedx_events.tooling import load_all_signals
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edx_event_bus_redis.internal import connection_url
from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.dead_letters import DeadLetters, details, event_headers, summary
from edx_event_bus_redis.internal.errors import AccessRefused, ConfigurationError, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.letter import DeadLetter
from edx_event_bus_redis.internal.message import join_id, split_id
from edx_event_bus_redis.internal.names import stream_key
from edx_event_bus_redis.internal.settings import GroupSettings, load_group_settings

# Seconds that connecting, and that one reply of up to a thousand dead letters, may take.
_CONNECT_TIMEOUT = 5.0
_REPLY_TIMEOUT = 30.0

# Dead letters from which on replaying takes long enough for a progress bar.
_MANY = 100

# Rows of the table that are printed at once.
_ROWS = 200

# Characters. The id of an event is never broken; its type is, where there are fewer than for the longest of them.
_TIME_WIDTH, _UUID_WIDTH, _TYPE_WIDTH, _CAUSE_WIDTH = 19, 36, 75, 12
_FRAME_WIDTH = 8

_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_LETTER_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_LARGEST_ID_PART = 2**64 - 1


class Command(BaseCommand):
    """Lists, shows, replays or discards the dead letters of a group."""

    help = (
        "List, show, replay or discard the dead letters of a consumer group: events that it could not handle. "
        "Example: manage.py event_bus_dead_letters replay -t user-login -g user-activity-service --all"
    )

    # A setting that cannot work is named here in one line, where the checks would make several.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("action", choices=["list", "show", "replay", "discard"], help="what to do")
        parser.add_argument("ids", nargs="*", metavar="id", help="ids of dead letters, the first column of the list")
        parser.add_argument("-t", "--topic", required=True, help="topic, without the prefix")
        parser.add_argument("-g", "--group_id", required=True, help="consumer group")
        parser.add_argument("--all", action="store_true", help="all dead letters that there are now")
        parser.add_argument("--json", action="store_true", help="print JSON; of list and show a list")
        parser.add_argument("--yes", action="store_true", help="discard without asking")
        # Before Python 3.12, options between the action and the ids would make argparse refuse the ids.
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is asked, and end with one line if it cannot be done."""
        action, everything = options["action"], options["all"]
        if action == "list" and options["ids"]:
            raise CommandError("list takes no ids: it lists all; show takes ids")
        if action != "list" and bool(options["ids"]) == everything:
            wrong = "ids and --all exclude each other" if everything else f"{action} what?"
            raise CommandError(f"{wrong}: expected ids of dead letters (event_bus_dead_letters list) or --all")
        ids = list(dict.fromkeys(map(_letter_id, options["ids"])))
        try:
            self._settings = load_group_settings(options["topic"], options["group_id"])
            client = make_client(self._settings.url, timeout=_REPLY_TIMEOUT, connect_timeout=_CONNECT_TIMEOUT)
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        self._stream = stream_key(self._settings.topic, self._settings.topic_prefix)
        self._letters = DeadLetters(client, self._stream, self._settings.group)
        self._unknown: list[str] = []
        self._done = ""
        try:
            with contextlib.closing(client):
                self._act(action, None if everything or action == "list" else ids, options)
        except ServerError as error:
            raise CommandError(f"{_described(error, self._settings)}{self._done}") from None
        except BrokenPipeError:
            # Whoever reads, like head, has had enough. Python would complain of what it cannot flush at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            raise CommandError(f"interrupted{self._done}", returncode=_EXIT_INTERRUPTED) from None
        if self._unknown:
            raise CommandError(f"{self._where()} has no such dead letters: {', '.join(self._unknown)}")

    def _act(self, action: str, ids: list[bytes] | None, options: dict[str, Any]) -> None:
        """``ids``: None for all."""
        if action == "list":
            self._list(as_json=options["json"])
        elif action == "show":
            self._show(self._chosen(ids), as_json=options["json"])
        elif action == "replay":
            self._replay(ids, as_json=options["json"])
        else:
            self._discard([letter.id for letter in self._chosen(ids)], sure=options["yes"], as_json=options["json"])

    def _chosen(self, ids: list[bytes] | None) -> Iterator[DeadLetter]:
        """Yield the dead letters, and keep the ids of which there are none."""
        if ids is None:
            yield from self._letters.all()
            return
        for letter_id in ids:
            letter = self._letters.get(letter_id)
            if letter is None:
                self._unknown.append(letter_id.decode())
            else:
                yield letter

    def _where(self) -> str:
        return f"group {self._settings.group} of stream {self._stream}"

    # What the actions do.

    def _list(self, *, as_json: bool) -> None:
        if as_json:
            self._write_json(map(summary, self._letters.all()))
            return
        console = Console(file=cast("IO[str]", self.stdout), highlight=False)
        letters, count = self._letters.all(), 0
        # Thousands of rows take rich seconds: what is ready is shown.
        while rows := [_row(letter) for letter in itertools.islice(letters, _ROWS)]:
            console.print(_table(rows, console.width, show_header=count == 0))
            count += len(rows)
        self.stdout.write(f"{_counted(count)} of {self._where()}")

    def _show(self, letters: Iterable[DeadLetter], *, as_json: bool) -> None:
        load_all_signals()
        if as_json:
            self._write_json(map(details, letters))
            return
        for letter in letters:
            self.stdout.write("\n".join(_lines(letter)) + "\n")

    def _replay(self, ids: list[bytes] | None, *, as_json: bool) -> None:
        replayed = gone = 0
        # Only ids are kept of all, and each is read when its turn comes: the payloads of 10,000 may be large.
        chosen = [letter.id for letter in self._chosen(ids)]
        with self._progress(len(chosen)) as advance:
            for letter_id in chosen:
                letter = self._letters.get(letter_id)
                if letter is not None and self._letters.replay(letter):
                    replayed += 1
                    self._done = f" ({replayed} of {len(chosen)} were replayed)"
                else:
                    gone += 1
                advance()
        if as_json:
            self.stdout.write(json.dumps({"replayed": replayed, "gone": gone}))
        else:
            already = f"; {gone} were gone already" if gone else ""
            self.stdout.write(f"replayed {_counted(replayed)} to {self._where()}{already}")

    def _discard(self, ids: list[bytes], *, sure: bool, as_json: bool) -> None:
        if ids and not sure and not self._confirmed(len(ids)):
            self.stdout.write("nothing was discarded")
            return
        discarded = self._letters.discard(ids)
        if as_json:
            self.stdout.write(json.dumps({"discarded": discarded}))
        else:
            self.stdout.write(f"discarded {_counted(discarded)} of {self._where()}")

    def _confirmed(self, count: int) -> bool:
        question = f"discard {_counted(count)} of {self._where()} for good"
        if not sys.stdin.isatty():
            raise CommandError(f"{question}? There is no terminal to ask on: give --yes")
        self.stderr.write(f"{question}? [y/N] ", self.style.WARNING, ending="")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    # How it is printed.

    def _write_json(self, items: Iterable[dict[str, Any]]) -> None:
        """Write a JSON list, one item in a line, each as it comes."""
        opening = "["
        for item in items:
            self.stdout.write(f"{opening}{json.dumps(item)}", ending="")
            opening = ",\n "
        self.stdout.write("[]" if opening == "[" else "]")

    @contextlib.contextmanager
    def _progress(self, total: int) -> Iterator[Callable[[], None]]:
        if total < _MANY or not self.stderr.isatty():
            yield lambda: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("replaying", total=total)
            yield lambda: progress.advance(task)


def _letter_id(text: str) -> bytes:
    if _LETTER_ID.fullmatch(text):
        milliseconds, sequence = split_id(text.encode())
        if max(milliseconds, sequence) <= _LARGEST_ID_PART:
            return join_id(milliseconds, sequence)
    raise CommandError(f"{text!r} is no id of a dead letter: expected one like 1679676448892-0")


def _described(error: ServerError, settings: GroupSettings) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    url = connection_url.redacted(settings.url)
    if isinstance(error, AccessRefused):
        return f"Redis refuses access: {text} ({url})"
    if isinstance(error, ServerUnavailable):
        return f"Redis cannot be reached: {text} ({url})"
    return f"Redis cannot do it: {text} ({url})"


def _counted(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


def _table(rows: Iterable[list[Text]], width: int, *, show_header: bool) -> Table:
    """Return rows as a table of columns that do not depend on the rows."""
    event_width = min(max(_UUID_WIDTH, (width - _TIME_WIDTH - _FRAME_WIDTH) // 2), _TYPE_WIDTH)
    cause_width = max(_CAUSE_WIDTH, width - _TIME_WIDTH - event_width - _FRAME_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, show_header=show_header)
    table.add_column("Dead letter,\nsince (UTC)", width=_TIME_WIDTH, overflow="fold")
    table.add_column("Event type,\nevent id", width=event_width, overflow="fold")
    table.add_column("Cause,\ndeliveries", width=cause_width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _row(letter: DeadLetter) -> list[Text]:
    event_type, event_id = event_headers(letter)
    deliveries = "1 delivery" if letter.deliveries == 1 else f"{letter.deliveries} deliveries"
    since = letter.moment.replace("T", " ")[:19]
    cells = ((letter.id.decode(), since), (event_type or "-", event_id or "-"), (letter.cause, deliveries))
    return [Text("\n".join(map(_shown, cell))) for cell in cells]


def _lines(letter: DeadLetter) -> Iterator[str]:
    about = details(letter)
    yield f"dead letter {about['id']}"
    for key in ("entry_id", "event_id", "event_type", "cause", "deliveries", "consumer", "worker_exit", "time"):
        if about[key] not in {"", None}:
            yield f"  {key.replace('_', ' ')}: {_shown(str(about[key]))}"
    if letter.exception:
        yield f"  exception: {_shown(letter.exception)}: {_shown(letter.message)}"
    if letter.traceback:
        yield "  traceback:"
        yield from (f"    {_shown(line)}" for line in letter.traceback.splitlines())
    if letter.history:
        yield "  history:"
        yield from (f"    {json.dumps(previous)}" for previous in about["history"])
    yield "  fields:"
    for name, value in zip(letter.fields[::2], letter.fields[1::2], strict=True):
        yield f"    {_raw(name)}: {_raw(value)}"
    if about["event_data"] is not None:
        yield "  event data:"
        yield from (f"    {line}" for line in json.dumps(about["event_data"], indent=2).splitlines())


def _raw(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return repr(value)
    return text if text.isprintable() else repr(value)


def _shown(text: str) -> str:
    """Return the text, as a literal if it has what would control a terminal."""
    return text if text.isprintable() else repr(text)
