"""
What a service manager such as systemd is told of this process, by the protocol of sd_notify(3).

It names a datagram socket in ``NOTIFY_SOCKET`` and takes lines like ``READY=1`` there. A process that has no such
socket tells nobody, so all of this may be called anywhere. A service manager that does not listen is no reason to stop:
messages are sent without waiting, and one that cannot be sent is left out.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Mapping

# sd_watchdog_enabled(3) recommends half of the time that it gives.
_WATCHDOG_SHARE = 0.5

# Seconds by which a stop may be longer than planned until it is called one that hangs.
_STOP_MARGIN = 10.0


class ServiceManager:
    """
    The service manager of this process, if it has one.

    Arguments:
        environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self._interval = _WATCHDOG_SHARE * _watchdog_seconds(environment) if self._socket else math.inf
        self._due = -math.inf if self._interval < math.inf else math.inf

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is over; ``status`` is shown to who asks for the service's state."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Say in a line how it is."""
        self._tell(f"STATUS={status}")

    def reloading(self, status: str) -> None:
        """Say that a reload has begun. ``ready`` says that it is over."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={_microseconds(time.monotonic())}", f"STATUS={status}")

    def stopping(self, seconds: float, status: str) -> None:
        """Say that the process is stopping, and for how many seconds it may take until that is to be called hanging."""
        extension = f"EXTEND_TIMEOUT_USEC={_microseconds(seconds + _STOP_MARGIN)}"
        self._tell("STOPPING=1", extension, f"STATUS={status}")

    def keep_time(self) -> None:
        """Say that the process lives, if that is due. Who is silent for too long is killed and started again."""
        now = time.monotonic()
        if self._due <= now:
            self._due = now + self._interval
            self._tell("WATCHDOG=1")

    def next_time(self) -> float:
        """Return the time, of the monotonic clock, at which a sign of life is due; infinity if none is wanted."""
        return self._due

    def _tell(self, *lines: str) -> None:
        if self._socket is None:
            return
        # It may be restarting, or not read: the next message says how it is then.
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), self._address)


def _address(name: str) -> str:
    # Of the abstract kind, which begin with a null byte, systemd writes the first byte as @.
    return "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else ""


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Seconds after which a sign of life is missed, infinity if none is."""
    for_whom = environment.get("WATCHDOG_PID", "")
    if for_whom and for_whom != str(os.getpid()):
        return math.inf
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) > 0 else math.inf


def _microseconds(seconds: float) -> int:
    # The protocol has 64 bits for it, the largest of which means for ever.
    return round(min(seconds * 1e6, 2**64 - 1))
