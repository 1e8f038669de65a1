"""
The consuming service of the demo: receivers that take a few milliseconds, as a database transaction would, and leave
word of what they do.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
import zlib
from collections.abc import Mapping
from typing import Any

import multiprocess
from django.apps import AppConfig
from openedx_events.data import EventsMetadata
from openedx_events.tooling import OpenEdxPublicSignal

from devtools.demo.events import KINDS
from devtools.demo.surroundings import Surroundings

# Seconds that a receiver takes.
SHORTEST, LONGEST = 0.002, 0.005

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def digest(event_data: Mapping[str, Any]) -> int:
    """Return a number that is another one if anything in the data is another."""
    return zlib.crc32(repr(sorted(event_data.items())).encode())


class DemoReceivers(AppConfig):
    """Connects the receivers in the consumer's process, and there only."""

    name = "devtools.demo.receivers"

    def ready(self) -> None:
        """Connect the receivers."""
        given = Surroundings.from_environment()
        if given.consumes:
            _die_with(given.demo)
            for each, _ in KINDS:
                each.connect(_Receiver(str(given.record)), weak=False)


class _Receiver:
    def __init__(self, record: str) -> None:
        self._record = record

    def __call__(self, signal: OpenEdxPublicSignal, metadata: EventsMetadata, **arguments: Any) -> None:
        event_data = {key: arguments[key] for key in signal.init_data}
        self._write(f"begun {metadata.id} {os.getpid()}")
        time.sleep(random.uniform(SHORTEST, LONGEST))
        # A worker's process has the name that it has in its consumer group.
        name = multiprocess.current_process().name
        self._write(f"handled {metadata.id} {os.getpid()} {name} {digest(event_data)}")

    def _write(self, line: str) -> None:
        # One write of a short line to a file opened for appending is atomic, and it stays when the process is killed.
        descriptor = os.open(self._record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)


def _die_with(parent: int) -> None:
    """Have the kernel end the consumer, and so its workers, when the demo itself is killed and can clean up no more."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before.
    if os.getppid() != parent:
        os._exit(1)
