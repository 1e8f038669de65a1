"""How a run of the demo is shown: live on a terminal, in plain lines elsewhere, and in tables at its end."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from devtools.demo.run import Run, Worker

WIDTH = 80

_BAR_WIDTH = 30

# Columns before a fact.
_INDENT = 12

# The characters of a log line that are quoted.
_QUOTED = 3 * WIDTH

# Without a terminal, a line each time that this share of the events was handled.
_PLAIN_STEPS = 5


class Screen:
    """
    Tells what happens. As a context manager it leaves the terminal as it was.

    Arguments:
        console: to write to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        # Refreshed by the demo's own loop: a thread would make the demo's start of processes less simple.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def announce(self, title: str) -> None:
        """Say what is about to happen."""
        self._console.print(Text(f"\n{title}\n", style="bold"))

    def introduce(self, facts: Mapping[str, str]) -> None:
        """Say who takes part."""
        for name, fact in facts.items():
            first, *more = textwrap.wrap(fact, self._console.width - _INDENT, break_on_hyphens=False)
            self._console.print(Text.assemble((f"  {name:<{_INDENT - 2}}", "dim"), first))
            for line in more:
                self._console.print(" " * _INDENT + line, markup=False)
        self._console.print()

    def tell(self, sentence: str, style: str = "") -> None:
        """Say what has happened, and when."""
        seconds = time.monotonic() - self._began
        self._console.print(Text.assemble((f"{seconds:7.2f} s  ", "dim"), (sentence, style)))

    def show(self, run: Run) -> None:
        """Show how far the run is."""
        if self._console.is_interactive:
            self._live.start()
            self._live.update(_progress(run), refresh=True)
            return
        step = run.handled * _PLAIN_STEPS // run.wanted
        if step > self._step:
            self._step = step
            self.tell(f"{len(run.sent):,} events sent, {run.handled:,} handled")

    def conclude(self, run: Run, missing: Sequence[str]) -> None:
        """Show the end of the run, and what was missing."""
        self._live.stop()
        self._console.print(Group(Text(), _workers(run), Text(), _totals(run), Text()))
        if missing:
            for sentence in missing:
                self._console.print(Text(f"Failed: {sentence}", style="bold red"))
        else:
            seconds = time.monotonic() - self._began
            self._console.print(Text(f"  Every event was handled. All of it took {seconds:.1f} s.", style="bold green"))
        self._console.print()

    def quote(self, title: str, lines: Sequence[str]) -> None:
        """Show the end of a log."""
        if lines:
            self._console.print(Text(title, style="bold"))
            for line in lines:
                self._console.print(Text(textwrap.shorten(line, _QUOTED, placeholder=" ...")))


def _progress(run: Run) -> RenderableType:
    grid = Table.grid(padding=(0, 2), pad_edge=False)
    grid.add_column(width=8)
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(justify="right", width=6)
    grid.add_column(no_wrap=True)
    grid.add_row("sent", _bar(len(run.sent), run.wanted, "blue"), f"{len(run.sent):,}")
    grid.add_row("handled", _bar(run.handled, run.wanted, "green"), f"{run.handled:,}")
    grid.add_row()
    # Each has a share of about the same size, which one of them fills in the end.
    share = max(run.wanted // len(run.workers), *(worker.handled for worker in run.workers))
    for shard, worker in enumerate(run.workers):
        grid.add_row(f"worker {shard}", _bar(worker.handled, share, "cyan"), f"{worker.handled:,}", _pids(worker, run))
    return Padding(grid, (1, 0, 0, 2))


def _bar(completed: int, total: int, style: str) -> ProgressBar:
    return ProgressBar(total=total, completed=completed, complete_style=style, finished_style=style)


def _pids(worker: Worker, run: Run) -> Text:
    killed = run.kill.pid if run.kill is not None else None
    text = Text("pid ", style="dim")
    for index, pid in enumerate(worker.pids):
        text.append(", then " if index else "")
        text.append(f"{pid} killed" if pid == killed else str(pid), style="bold red" if pid == killed else "")
    return text


def _workers(run: Run) -> RenderableType:
    table = Table(box=None, padding=(0, 4, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("shard")
    table.add_column("handled", justify="right")
    table.add_column("processes")
    for shard, worker in enumerate(run.workers):
        table.add_row(f"{shard}", f"{worker.handled:,}", _pids(worker, run))
    return Padding(table, (0, 0, 0, 2))


def _totals(run: Run) -> RenderableType:
    grid = Table.grid(padding=(0, 4, 0, 0), pad_edge=False)
    grid.add_column()
    grid.add_column(justify="right", min_width=7)
    grid.add_column(style="dim")
    rows: list[tuple[str, int | None, bool, str]] = [
        ("sent", len(run.sent), len(run.sent) == run.wanted, "events, through send_event()"),
        ("handled", run.handled, run.handled >= len(run.sent), "different events"),
        ("changed", len(run.changed), not run.changed, "arrived with other data than they were sent with"),
        ("repeated", run.repeated, True, "handled more than once"),
        ("restarts", run.restarts, run.restarts > 0, "workers that were replaced"),
        ("pending", run.pending, run.pending == 0, "entries that nobody has acknowledged"),
        ("exit status", run.exit_status, run.exit_status == 0, "of the consumer, after SIGTERM"),
    ]
    for name, value, good, meaning in rows:
        shown = Text("unknown" if value is None else f"{value:,}", style="green" if good else "bold red")
        grid.add_row(name, shown, meaning)
    return Padding(grid, (0, 0, 0, 2))
