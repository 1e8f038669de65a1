"""Virtual environments for the packages that are tried as their users have them: installed, and nothing around."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

# A first installation downloads about 40 packages; a minute is plenty for a mirror nearby, not for a slow line.
INSTALLATION_SECONDS = 500

_LINES_OF_FAILURE = 25


def plain_environment() -> dict[str, str]:
    """Return the variables of this process without those that choose what a process imports and which bus it uses."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EVENT_BUS_", "PYTHON", "DJANGO_"))
        and name not in ("VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    }


@contextlib.contextmanager
def made_once(directory: Path) -> Iterator[bool]:
    """
    Hold a directory for the making, among processes; tell whether it is still to be made.

    It counts as made when the block has ended without an error. What a former try left behind is removed first.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    made = directory.with_name(f"{directory.name}.made")
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        # Released when the file is closed, also by the end of a process that was killed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():
            yield False
            return
        shutil.rmtree(directory, ignore_errors=True)
        yield True
        made.touch()


def make_environment(directory: Path) -> Path:
    """Make an empty virtual environment for this Python; return its interpreter."""
    _run([sys.executable, "-m", "venv", str(directory)], "a virtual environment could not be made")
    return interpreter_of(directory)


def interpreter_of(directory: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return directory / "bin" / "python"


def pip(python: Path, *arguments: str | Path, failure: str) -> None:
    """Run a virtual environment's pip; fail the test with ``failure`` and the end of its output if it fails."""
    options = ("--no-input", "--disable-pip-version-check", "--quiet")
    _run([str(python), "-m", "pip", *options, *map(str, arguments)], failure)


def _run(command: Sequence[str], failure: str) -> None:
    try:
        done = subprocess.run(
            command,
            env=plain_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALLATION_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{failure}: not done within {INSTALLATION_SECONDS} s", pytrace=False)
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-_LINES_OF_FAILURE:])
        pytest.fail(f"{failure} (status {done.returncode}):\n{end}", pytrace=False)
