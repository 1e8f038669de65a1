"""
Receivers that do what an event tells them, and leave a line in a file for each event that they handled.

The username of SESSION_LOGIN_COMPLETED is the order: words like ``raise``, ``exit:3``, ``kill``, ``sleep:0.5``,
``hang``, ``query:default``; anything else is just handled. Several are obeyed one after the other:
``wait:/a/file,raise``. The line is written after that; what begins is in a second file.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import threading
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


def _interrupt(_: str) -> None:
    raise KeyboardInterrupt


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _sleep(seconds: str) -> None:
    time.sleep(float(seconds))


def _wait(path: str) -> None:
    """Wait until there is such a file."""
    while not Path(path).exists():
        time.sleep(0.005)


def _until_asked(path: str) -> None:
    """Wait until this process is asked to leave, and leave such a file then."""
    former = signal.getsignal(signal.SIGTERM)
    assert callable(former)
    asked = []

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        former(number, frame)

    signal.signal(signal.SIGTERM, ask)
    while not asked:
        time.sleep(0.005)
    signal.signal(signal.SIGTERM, former)
    Path(path).touch()


def _hang(_: str) -> None:
    while True:
        time.sleep(0.01)


def _hang_deep(depth: str) -> None:
    """Hang so many calls deep, beside another thread."""
    if depth == "0":
        threading.Thread(target=_hang, args=("",), daemon=True).start()
        _hang("")
    _hang_deep(str(int(depth) - 1))


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


def _fail_once(name: str) -> None:
    """Fail the first time that this name is given, in whatever process."""
    try:
        Path(f"{os.environ['TEST_RECORD']}.failed.{name}").touch(exist_ok=False)
    except FileExistsError:
        return
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


_leaked: list[bytearray] = []


def _leak(mebibytes: str) -> None:
    """Keep so much memory for as long as the process lives."""
    _leaked.append(_filled(int(mebibytes)))


def _hog(mebibytes: str) -> None:
    """Take so much memory every tenth of a second, without an end."""
    taken = []
    while True:
        taken.append(_filled(int(mebibytes)))
        time.sleep(0.1)


def _filled(mebibytes: int) -> bytearray:
    # Written, so that there is a page behind each address.
    return bytearray(b"x" * 1024) * (1024 * mebibytes)


def _kill_pool(_: str) -> None:
    """Kill the supervisor, and so the whole pool, as the end of a container does."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


ORDERS: dict[str, Callable[[str], None]] = {
    "raise": _raise,
    "exit": _exit,
    "leave": _leave,
    "interrupt": _interrupt,
    "kill": _kill,
    "sleep": _sleep,
    "wait": _wait,
    "until_asked": _until_asked,
    "hang": _hang,
    "hang_deep": _hang_deep,
    "fail": _fail,
    "fail_once": _fail_once,
    "hang_in_c": _hang_in_c,
    "swallow": _swallow,
    "segfault": _segfault,
    "kill_pool": _kill_pool,
    "leak": _leak,
    "hog": _hog,
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


class _Response:
    """What the receiver returns: leaves a line in a file when it is formatted."""

    def __init__(self, record: str) -> None:
        self._record = record

    def __repr__(self) -> str:
        _write(f"{self._record}.formatted", "formatted\n")
        return "handled"


def connect(record: str) -> None:
    """Connect the receiver; ``record`` is the path of the file."""

    def receive(signal: Any, metadata: Any, user: Any, **_: Any) -> _Response:
        # SIGKILL may cut a write: a line begins by itself, and its end shows that it is whole.
        line = f"\n{metadata.id} {os.getpid()} {user.id} {time.time():.6f} ."
        _write(f"{record}.begun", line)
        for word in user.pii.username.split(","):
            order, _, argument = word.partition(":")
            if order in ORDERS:
                ORDERS[order](argument)
        _write(record, line)
        return _Response(record)

    SESSION_LOGIN_COMPLETED.connect(receive, weak=False)
