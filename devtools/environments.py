"""
Virtual environments for the packages that are tried as their users have them: installed, and nothing around.

The acceptance tests and the benchmark use them, so that both try the same published package.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path

# The newest release of the published package, and the newest for this Python.
NEWEST_PUBLISHED = "1.1.2"
PUBLISHED = NEWEST_PUBLISHED if sys.version_info >= (3, 12) else "0.6.1"

# A first installation downloads about 40 packages; a minute is plenty for a mirror nearby, not for a slow line.
INSTALLATION_SECONDS = 500

_LINES_OF_FAILURE = 25


class InstallationError(RuntimeError):
    """A virtual environment could not be made, or nothing be installed into it."""


def published_environment(parent: Path) -> Path:
    """
    Return a virtual environment with the published package, made in a directory unless it is there.

    What both packages depend on has the versions of this process's environment, so that the packages make the only
    difference; the environment's name tells all of them.

    Raises:
        InstallationError: it could not be made.
    """
    requirements = [f"edx-event-bus-redis=={PUBLISHED}", "walrus==0.9.8", "hiredis"]
    return environment_with(
        parent,
        f"published-{PUBLISHED}",
        requirements,
        constraints=versions_here(),
        failure=f"edx-event-bus-redis {PUBLISHED} could not be installed from the package index",
    )


def environment_with(
    parent: Path, name: str, requirements: Sequence[str], *, constraints: Sequence[str] = (), failure: str
) -> Path:
    """
    Return a virtual environment with requirements, made in a directory unless it is there.

    Arguments:
        parent: directory to make it in.
        name: first part of its own directory's name.
        requirements: to install.
        constraints: versions of what else comes along.
        failure: what to say if that is not possible.

    Raises:
        InstallationError: it could not be made.
    """
    key = sha256("\n".join([sys.version, sys.base_prefix, *requirements, *constraints]).encode()).hexdigest()[:16]
    directory = parent / f"{name}-{key}"
    with made_once(directory) as to_be_made:
        if to_be_made:
            python = make_environment(directory)
            file = directory / "constraints.txt"
            file.write_text("\n".join(constraints))
            pip(python, "install", "--constraint", file, *requirements, failure=failure)
    return directory


def versions_here() -> list[str]:
    """Return what is installed in this process's environment besides this package, as requirements."""
    return sorted(
        f"{each.metadata['Name']}=={each.version}"
        for each in distributions()
        if each.metadata["Name"].lower().replace("_", "-") != "edx-event-bus-redis"
    )


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
    """Run a virtual environment's pip; raise InstallationError with ``failure`` and the end of its output."""
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
        raise InstallationError(f"{failure}: not done within {INSTALLATION_SECONDS} s") from None
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-_LINES_OF_FAILURE:])
        raise InstallationError(f"{failure} (status {done.returncode}):\n{end}")
