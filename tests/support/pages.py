"""The documentation's pages as programs: their blocks of code, and a terminal that they are typed into."""

import re
import subprocess
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

ROOT = Path(__file__).parent.parent.parent

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?:   .*)?\n)+)", re.MULTILINE)
_ROW = re.compile(r"^   \* -.*\n(?:     .*\n)*", re.MULTILINE)


class Block(NamedTuple):
    """A block of code: its language, and its text without the indentation."""

    language: str
    text: str


def text_of(page: str) -> str:
    """Return a page, given by its path in the repository."""
    return (ROOT / page).read_text()


def blocks_of(page: str) -> Iterator[Block]:
    """Return the blocks of a page in their order."""
    for language, text in _BLOCK.findall(text_of(page)):
        yield Block(language, textwrap.dedent(text).strip("\n") + "\n")


def rows_of(page: str) -> Iterator[list[str]]:
    """Return the rows of a page's list tables, their heads among them, each cell in one line."""
    for row in _ROW.findall(text_of(page)):
        yield [" ".join(cell.split()) for cell in re.split(r"^     -", row[len("   * -") :], flags=re.MULTILINE)]


def literals_in(text: str) -> list[str]:
    """Return what is marked as literal in a text."""
    return re.findall(r"``(.+?)``", text)


class Terminal:
    """
    A shell that commands are typed into. As a context manager it leaves no process behind.

    Arguments:
        directory: to begin in.
        environment: its variables.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs in the background, and the shell."""
        assert self._shell.stdin is not None
        if self._shell.poll() is None:
            self._shell.stdin.write("kill -9 $(jobs -p)\n")
            self._shell.stdin.close()
        self._shell.wait(10)

    def type(self, commands: str) -> tuple[str, int]:
        """Have commands run, one after the other; return what they print, and the exit status of the last one."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        end = uuid.uuid4().hex
        self._shell.stdin.write(f"{commands}\necho {end} $?\n")
        self._shell.stdin.flush()
        printed = ""
        for line in self._shell.stdout:
            before, found, status = line.partition(end)
            printed += before
            if found:
                return printed, int(status)
        raise AssertionError(f"the shell has ended:\n{printed}")
