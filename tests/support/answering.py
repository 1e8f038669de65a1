"""The HTTP server of the monitor, alone in a process of its own."""

import logging
import signal
from pathlib import Path

from edx_event_bus_redis.internal.endpoints import Answer, Endpoints
from tests.support.forked import CONTEXT


class ServerProcess:
    """Answers until it is killed; ``limits`` are those of Endpoints."""

    def __init__(self, host: str, port: int, log_path: Path, **limits: float) -> None:
        self.port = port
        self._log_path = log_path
        log_path.touch()
        self._process = CONTEXT.Process(target=_answer, args=(host, port, log_path), kwargs=limits)
        self._process.start()
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _answer(host: str, port: int, log_path: Path, **limits: float) -> None:
    logging.basicConfig(level="INFO", filename=log_path, force=True)
    answers = {
        "/hello": lambda: Answer(200, "text/plain", b"hello"),
        "/large": lambda: Answer(200, "text/plain", b"x" * 20_000_000),
        "/fail": lambda: Answer(1 // 0, "text/plain", b""),
    }
    Endpoints(host, port, answers, "c1", **limits).start()
    signal.pause()
