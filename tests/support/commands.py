"""``manage.py`` with the settings of a test: forked from a process that has loaded Django, or in a new interpreter."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.forked import ForkedProcess

ROOT = Path(__file__).parent.parent.parent

# Settings that Django, or an application, reads while it loads.
_READ_BY_DJANGO = {"DATABASES", "INSTALLED_APPS"}

# Variables that lead to another server, or make output look otherwise.
_NOT_INHERITED = re.compile(r"EVENT_BUS_.*|COLUMNS|LINES|NO_COLOR|FORCE_COLOR")


def manage(
    *arguments: str,
    url: str | None = "redis://127.0.0.1:1/",
    prefix: str = "dev",
    starts: bool = False,
    **settings: Any,
) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` to its end, which has to come within a minute; see ``start`` for the arguments."""
    with tempfile.NamedTemporaryFile() as stdout, tempfile.NamedTemporaryFile() as stderr:
        process = start(
            *arguments, url=url, prefix=prefix, settings=settings, starts=starts, stdout=stdout, stderr=stderr
        )
        try:
            status = process.wait(60)
        finally:
            process.kill()
            process.wait()
        printed, complained = (Path(file.name).read_text() for file in (stdout, stderr))
        return subprocess.CompletedProcess(arguments, status, printed, complained)


def start(
    *arguments: str,
    url: str | None,
    prefix: str,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    starts: bool = False,
    interpreter: Sequence[str] = (sys.executable,),
    **streams: Any,
) -> subprocess.Popen[Any] | ForkedProcess:
    """
    Start ``manage.py``, with nothing on standard input.

    Arguments:
        arguments: of the command line, behind ``manage.py``.
        url: of the server.
        prefix: ``EVENT_BUS_TOPIC_PREFIX``.
        settings: more Django settings.
        environment: more of it.
        starts: whether a new interpreter runs it from its first line on. Without, it is forked from one that has loaded
            Django, unless another interpreter, or a setting that Django reads while it loads, is wanted.
        interpreter: a command that runs the interpreter, if not this one.
        streams: as for ``subprocess.Popen``; without ``starts`` they are ``stdout`` and ``stderr``, files with names.
    """
    inherited = {name: value for name, value in os.environ.items() if not _NOT_INHERITED.fullmatch(name)}
    environment = {**inherited, **(environment or {})}
    settings = {"EVENT_BUS_REDIS_CONNECTION_URL": url, "EVENT_BUS_TOPIC_PREFIX": prefix, **(settings or {})}
    if not starts and [*interpreter] == [sys.executable] and _READ_BY_DJANGO.isdisjoint(settings):
        return ForkedProcess(arguments, environment=environment, settings=settings, **streams)
    environment |= {"DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_SETTINGS": json.dumps(settings)}
    return subprocess.Popen(
        [*interpreter, "manage.py", *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONFAULTHANDLER": "1"},
        **{"stdin": subprocess.DEVNULL, **streams},
    )
