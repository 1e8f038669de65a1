"""
Receivers that do what an event tells them, and leave a line in a file for each event that they handled.

The username of SESSION_LOGIN_COMPLETED is the order: words like ``raise``, ``exit:3``, ``kill``, ``sleep:0.5``,
``hang``, ``query:default``; anything else is just handled. The line is written after that; what begins is in a second
file.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connections
from openedx_events.learning.signals import SESSION_LOGIN_COMPLETED

SECRET = "ada@example.org"


def _raise(_: str) -> None:
    raise ValueError(f"cannot handle {SECRET}")


def _exit(status: str) -> None:
    os._exit(int(status))


def _leave(status: str) -> None:
    raise SystemExit(int(status))


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _sleep(seconds: str) -> None:
    time.sleep(float(seconds))


def _hang(_: str) -> None:
    while True:
        time.sleep(0.01)


def _query(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def _drop(alias: str) -> None:
    connections[alias].connection.close()


def _fail(times: str) -> None:
    """Fail so many times in all, in whatever process."""
    path = os.environ["TEST_RECORD"] + ".failures"
    _write(path, ".")
    if Path(path).stat().st_size <= int(times):
        _raise("")


def _hang_in_c(_: str) -> None:
    """Never come back from C code."""
    sum(itertools.repeat(0))


def _swallow(_: str) -> None:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


def _segfault(_: str) -> None:
    ctypes.string_at(0)


def _kill_pool(_: str) -> None:
    """Kill the supervisor, and so the whole pool, as the end of a container does."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


ORDERS: dict[str, Callable[[str], None]] = {
    "raise": _raise,
    "exit": _exit,
    "leave": _leave,
    "kill": _kill,
    "sleep": _sleep,
    "hang": _hang,
    "fail": _fail,
    "hang_in_c": _hang_in_c,
    "swallow": _swallow,
    "segfault": _segfault,
    "kill_pool": _kill_pool,
    "query": _query,
    "drop": _drop,
}


def _write(path: str, line: str) -> None:
    # One write of a short line to a file opened for appending is atomic: processes may share the file.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def connect(record: str) -> None:
    """Connect the receiver; ``record`` is the path of the file."""

    def receive(signal: Any, metadata: Any, user: Any, **_: Any) -> None:
        # SIGKILL may cut a write: a line begins by itself, and its end shows that it is whole.
        line = f"\n{metadata.id} {os.getpid()} {user.id} {time.time():.6f} ."
        _write(f"{record}.begun", line)
        order, _, argument = user.pii.username.partition(":")
        if order in ORDERS:
            ORDERS[order](argument)
        _write(record, line)

    SESSION_LOGIN_COMPLETED.connect(receive, weak=False)
