"""
``manage.py`` in a process that is forked from one which has loaded Django and this package.

A new interpreter works for 0.7 s before a command begins. Only a test of starting has to wait for that.
"""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

# Its server is started with the first process, and ends with this one. It has no thread, and no connection.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


class ForkedProcess:
    """
    ``manage.py`` with these arguments; has what is used of ``subprocess.Popen``.

    Arguments:
        arguments: of the command line, behind ``manage.py``.
        environment: variables that the process has, besides TZ, which is Django's.
        settings: Django settings, over those of ``tests.settings``. Those which Django reads while it loads, such as
            INSTALLED_APPS, come too late.
        stdout: file to whose name standard output is appended.
        stderr: the same for standard error.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        settings: Mapping[str, Any],
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> None:
        output = (stdout.name, stderr.name)
        self._process = CONTEXT.Process(target=_manage, args=(arguments, environment, settings, output))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, below 0 for a signal; None while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit status, None while the process runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status; raises TimeoutExpired after so many seconds."""
        self._process.join(timeout)
        if self.returncode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("manage.py", timeout)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _manage(
    arguments: Sequence[str], environment: Mapping[str, str], settings: Mapping[str, Any], output: tuple[str, str]
) -> None:
    from django.conf import settings as django_settings  # noqa: PLC0415 -- loaded where this runs, not before
    from django.core.management import execute_from_command_line  # noqa: PLC0415 -- as above

    from tests.support.apps import prepare_process  # noqa: PLC0415 -- as above

    for descriptor, name in enumerate(output, 1):
        with Path(name).open("ab") as file:
            os.dup2(file.fileno(), descriptor)
    faulthandler.enable()
    # One that Django has set, and only then.
    environment = {**{name: os.environ[name] for name in os.environ.keys() & {"TZ"}}, **environment}
    os.environ.clear()
    os.environ.update(environment)
    for name, value in settings.items():
        setattr(django_settings, name, value)
    prepare_process()
    sys.argv = ["manage.py", *arguments]
    execute_from_command_line(sys.argv)
