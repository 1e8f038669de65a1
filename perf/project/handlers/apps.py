"""Connects the receiver that ``PERF_HANDLER`` in the environment names."""

import os
import time
from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from handlers.events import SIGNAL


class HandlersConfig(AppConfig):
    """The application."""

    name = "handlers"

    def ready(self) -> None:
        """Connect the receiver."""
        SIGNAL.connect(_receiver(*os.environ.get("PERF_HANDLER", "nothing").split(":", 1)), weak=False)


def _receiver(kind: str, argument: str = "") -> Callable[..., None]:
    def do_nothing(**_: Any) -> None:
        pass

    def wait(**_: Any) -> None:
        time.sleep(seconds)

    def stamp(metadata: Any, **_: Any) -> None:
        # The monotonic clock of Linux is one for all processes. One write to a file opened for appending is atomic.
        os.write(file, f"{metadata.id} {time.monotonic_ns()}\n".encode())

    if kind == "wait":
        seconds = float(argument)
        return wait
    if kind == "stamp":
        file = os.open(argument, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return stamp
    return do_nothing
