"""Where a watch shows what it sees: full screen on a terminal, one after the other elsewhere, or in lines of JSON."""

from __future__ import annotations

import json
from types import TracebackType
from typing import IO, Protocol, Self

from rich.console import Console
from rich.live import Live

from edx_event_bus_redis.management.picture import Picture
from edx_event_bus_redis.management.status_json import error_as_json, looks_as_json
from edx_event_bus_redis.management.watch_view import arranged


class Screen(Protocol):
    """Shows pictures, between entering and leaving it as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, picture: Picture) -> None:
        """Show a picture in place of the one before, or after it."""

    def glance(self) -> None:
        """Be given the opportunity, several times a second, to follow a change of the terminal's size."""


def screen_for(out: IO[str], title: str, nothing: str) -> Screen:
    """
    Return a screen for people.

    Arguments:
        out: where to write.
        title: what is watched.
        nothing: what to say if there are no streams.
    """
    console = Console(file=out, highlight=False)
    if out.isatty() and not console.is_dumb_terminal:
        return FullScreen(console, title, nothing)
    # Whatever the environment says of colours: they are for terminals.
    return Pages(Console(file=out, highlight=False, force_terminal=False), title, nothing)


class FullScreen:
    """
    The whole terminal, which has what it had before when this is over.

    Arguments: as of ``screen_for``; ``console`` writes to a terminal.
    """

    def __init__(self, console: Console, title: str, nothing: str) -> None:
        self._console = console
        self._title = title
        self._nothing = nothing
        self._size = console.size
        self._picture: Picture | None = None
        self._live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        try:
            self._live.start()
        except BaseException:
            # A signal that comes right now must not leave the terminal without its cursor.
            self._live.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, picture: Picture) -> None:
        """Draw the picture over the one before."""
        self._picture, self._size = picture, self._console.size
        width, height = self._size
        self._live.update(arranged(picture, self._title, self._nothing, width, height), refresh=True)

    def glance(self) -> None:
        """Draw anew if the terminal has another size."""
        if self._picture is not None and self._console.size != self._size:
            self.show(self._picture)


class _Written:
    """A screen that writes one thing after the other: there is nothing to put back, and nothing to draw anew."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def glance(self) -> None:
        """Nothing changes what was written."""


class Pages(_Written):
    """One picture after the other, for a file or a pipe. Arguments as of ``screen_for``."""

    def __init__(self, console: Console, title: str, nothing: str) -> None:
        self._console = console
        self._title = title
        self._nothing = nothing

    def show(self, picture: Picture) -> None:
        """Write the whole picture, however high it is."""
        self._console.print(arranged(picture, self._title, self._nothing, self._console.width, None))
        self._console.print()
        self._console.file.flush()


class JsonLines(_Written):
    """One JSON object in each line."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def show(self, picture: Picture) -> None:
        """Write what was seen, or under ``error`` why nothing was."""
        if picture.trouble is not None or picture.look is None:
            document = error_as_json(picture.trouble.text if picture.trouble else None)
        else:
            document = looks_as_json(picture.before, picture.look, picture.findings)
        self._out.write(f"{json.dumps(document)}\n")
        self._out.flush()
