"""``manage.py event_bus_dead_letters``: shows what a consumer group could not handle, and disposes of it."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from openedx_events.tooling import load_all_signals
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edx_event_bus_redis.internal.amounts import amount
from edx_event_bus_redis.internal.dead_letters import DeadLetters, details, event_headers, summary
from edx_event_bus_redis.internal.errors import EventGone, EventTooLarge
from edx_event_bus_redis.internal.letter import DeadLetter
from edx_event_bus_redis.internal.message import is_id, join_id, split_id
from edx_event_bus_redis.internal.names import private_keys, stream_key
from edx_event_bus_redis.internal.settings import load_group_settings
from edx_event_bus_redis.management.command_line import connected, loaded, shown
from edx_event_bus_redis.management.missing import missing
from edx_event_bus_redis.management.progress_report import reported

# Of a dead letter that is shown as text. Events may be megabytes.
_MOST_FIELDS, _MOST_LINES, _MOST_CHARACTERS = 100, 1000, 5000

# Rows of the table that are printed at once.
_ROWS = 200

# Characters. The id of an event is never broken; its type is, where there are fewer than for the longest of them.
_TIME_WIDTH, _UUID_WIDTH, _TYPE_WIDTH, _CAUSE_WIDTH = 19, 36, 75, 12
_FRAME_WIDTH = 8


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
        self._settings = loaded(lambda: load_group_settings(options["topic"], options["group_id"]))
        self._stream = stream_key(self._settings.topic, self._settings.topic_prefix)
        self._unknown: list[str] = []
        self._refused: list[str] = []
        self._done = ""
        keys = f"{shown(self._stream)} and {private_keys(shown(self._stream))}*"
        with connected(self._settings.server, lambda: self._done, keys=keys) as clients:
            self._letters = DeadLetters(
                clients.of(self._stream), self._stream, self._settings.group, self._settings.max_event_bytes
            )
            if not self._letters.are_of_a_known_group():
                raise CommandError(missing(clients, self._settings))
            self._act(action, None if everything or action == "list" else ids, options)
        if self._unknown:
            raise CommandError(f"{self._where()} has no such dead letters: {', '.join(self._unknown)}")
        if self._refused:
            others = f" ({_counted(len(self._refused))} in all)" if len(self._refused) > 1 else ""
            raise CommandError(f"cannot be replayed and stays a dead letter: {self._refused[0]}{others}")

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
        with reported(self.stderr, "replaying", len(chosen)) as report:
            for number, letter_id in enumerate(chosen, start=1):
                letter = self._letters.get(letter_id)
                try:
                    done = letter is not None and self._letters.replay(letter)
                except (EventTooLarge, EventGone) as error:
                    self._refused.append(f"{letter_id.decode()}, {error}")
                else:
                    replayed, gone = replayed + done, gone + (not done)
                    self._done = f" ({replayed} of {len(chosen)} were replayed)"
                report(number)
        if as_json:
            self.stdout.write(json.dumps({"replayed": replayed, "gone": gone, "refused": len(self._refused)}))
        else:
            already = f"; {gone} were gone already" if gone else ""
            self.stdout.write(f"replayed {_counted(replayed)} to {self._where()}{already}")

    def _discard(self, ids: list[bytes], *, sure: bool, as_json: bool) -> None:
        if ids and not sure and not self._confirmed(len(ids)):
            self.stdout.write(json.dumps({"discarded": 0}) if as_json else "nothing was discarded")
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


def _letter_id(text: str) -> bytes:
    if text.isascii() and is_id(text.encode()):
        # Without leading zeros, as Redis writes it.
        return join_id(*split_id(text.encode()))
    raise CommandError(f"{text!r} is no id of a dead letter: expected one like 1679676448892-0")


def _counted(count: int) -> str:
    return amount(count, "dead letter")


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
    deliveries = amount(letter.deliveries, "delivery", "deliveries")
    since = letter.moment.replace("T", " ")[:19]
    cells = ((letter.id.decode(), since), (event_type or "-", event_id or "-"), (letter.cause, deliveries))
    return [Text("\n".join(map(shown, cell))) for cell in cells]


def _lines(letter: DeadLetter) -> Iterator[str]:
    about = details(letter)
    yield f"dead letter {about['id']}"
    for key in ("entry_id", "event_id", "event_type", "cause", "deliveries", "consumer", "worker_exit", "time"):
        if about[key] not in {"", None}:
            yield f"  {key.replace('_', ' ')}: {shown(str(about[key]))}"
    if letter.exception:
        yield f"  exception: {shown(letter.exception)}: {shown(letter.message)}"
    if letter.traceback:
        yield "  traceback:"
        yield from (f"    {shown(line)}" for line in letter.traceback.splitlines())
    if letter.history:
        yield "  history:"
        yield from (f"    {json.dumps(previous)}" for previous in about["history"])
    yield "  fields:" if not letter.size else "  short fields, which is all that was kept:"
    pairs = list(zip(letter.fields[::2], letter.fields[1::2], strict=True))
    for name, value in pairs[:_MOST_FIELDS]:
        yield f"    {_raw(name)}: {_raw(value)}"
    if len(pairs) > _MOST_FIELDS:
        yield f"    and {len(pairs) - _MOST_FIELDS} more, which --json shows"
    if about["event_data"] is not None:
        lines = json.dumps(about["event_data"], indent=2).splitlines()
        yield "  event data:"
        yield from (f"    {_cut(line)}" for line in lines[:_MOST_LINES])
        if len(lines) > _MOST_LINES:
            yield f"    and {len(lines) - _MOST_LINES} more lines, which --json shows"


def _raw(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _cut(repr(value))
    return _cut(text if text.isprintable() else repr(value))


def _cut(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]}… ({len(text)} characters, which --json shows)"
