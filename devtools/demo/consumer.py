"""The consumer of the demo, and how one of its workers is held fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import psutil

from devtools import CHECKOUT
from devtools.demo.surroundings import GROUP, TOPIC, Surroundings

# Seconds.
STOP_TIMEOUT = 35.0  # a little more than the consumer's shutdown_timeout
FREEZE_TIMEOUT = 2.0
END_TIMEOUT = 5.0


class Consumer:
    """
    ``manage.py consume_events`` in a process of its own. As a context manager it leaves no process behind.

    Arguments:
        given: its surroundings.
        workers: number of workers in its pool.
    """

    def __init__(self, given: Surroundings, workers: int) -> None:
        extra = json.dumps({"consumer_name": "demo", "workers": workers})
        self.arguments = ["consume_events", "-t", TOPIC, "-g", GROUP, "--extra", extra]
        with given.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(CHECKOUT / "manage.py"), *self.arguments],
                cwd=CHECKOUT,
                env={**os.environ, **given.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Control-C in a terminal is for the demo, which then stops the consumer.
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        children = psutil.Process(self.pid).children() if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        # Workers die with their parent; this is to see them gone.
        psutil.wait_procs(children, timeout=END_TIMEOUT)

    @property
    def exit_status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def stop(self) -> int | None:
        """Ask the pool to stop and return the exit status, None if it does not stop in time."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(STOP_TIMEOUT)
        return None


@contextmanager
def frozen(pid: int, parent: int) -> Iterator[bool]:
    """Hold a child of that parent by SIGSTOP; yield whether it is held. It goes on afterwards, unless it was killed."""
    try:
        process = psutil.Process(pid)
        if process.ppid() != parent:
            yield False
            return
        process.suspend()
    except psutil.NoSuchProcess:
        yield False
        return
    try:
        yield _is_stopped(process)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _is_stopped(process: psutil.Process) -> bool:
    deadline = time.monotonic() + FREEZE_TIMEOUT
    with suppress(psutil.NoSuchProcess):
        while time.monotonic() < deadline:
            if process.status() == psutil.STATUS_STOPPED:
                return True
            time.sleep(0.001)
    return False
