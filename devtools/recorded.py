"""
Processes that outlive the command which started them, remembered in files so that they can be stopped later.

A process id alone is not enough: the number may belong to another program by then. The time at which the process
began is kept with it and compared before anything is done to it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil


@dataclass(frozen=True)
class RecordedProcess:
    """
    One process and what is good to know about it.

    Arguments:
        pid: process id.
        began: when the process began, in seconds since the epoch, as psutil tells it.
        about: more about it, for the one who reads the record.
    """

    pid: int
    began: float
    about: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pid: int, **about: str) -> RecordedProcess:
        """Return the record of the running process ``pid``."""
        return cls(pid, psutil.Process(pid).create_time(), about)

    @classmethod
    def read(cls, path: Path) -> RecordedProcess | None:
        """Return what :meth:`write` left at ``path``, or None when there is nothing readable."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Keep the record at ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def process(self) -> psutil.Process | None:
        """Return the process if it is still the same one and alive."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.began) > 1.0 or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process

    def terminate(self) -> None:
        """Ask the process to end, by SIGTERM; does nothing when it is gone."""
        process = self.process()
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()

    def is_gone_within(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the process to end; return whether it did."""
        process = self.process()
        if process is None:
            return True
        try:
            process.wait(max(timeout, 0.0))
        except psutil.TimeoutExpired:
            return False
        return True
