"""How far a command has got that does many things one by one: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Seconds between two lines where there is no terminal, or one that cannot erase a bar (TERM=dumb).
_INTERVAL = 10.0


@contextlib.contextmanager
def reported(
    stderr: OutputWrapper, title: str, total: int, interval: float = _INTERVAL
) -> Iterator[Callable[[int], None]]:
    """
    Yield what is to be told after each thing how many are done. Of a single one nothing is shown.

    Everything goes to stderr, so that what the command prints can be used by others. The bar is gone at the end.

    Arguments:
        stderr: of the command.
        title: of the bar and of each line.
        total: how many there are.
        interval: seconds between two lines.
    """
    console = Console(stderr=True)
    if total > 1 and stderr.isatty() and not console.is_dumb_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda count: progress.update(task, completed=count)
        return
    due = time.monotonic() + interval

    def report(count: int) -> None:
        nonlocal due
        if total > 1 and time.monotonic() >= due:
            due = time.monotonic() + interval
            stderr.write(f"{title}: {count:,} of {total:,}")

    yield report
