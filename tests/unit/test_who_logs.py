"""Every line of the log has its place in the catalogue."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edx_event_bus_redis
import pool

METHODS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"}

# These have the words: the catalogue, the lines of the published package, and those of openedx-events.
MAY = {"log_lines.py", "telemetry.py", "audit_log.py", "responses.py"}

MODULES = [
    path
    for package in (edx_event_bus_redis, pool)
    for path in sorted(Path(package.__path__[0]).rglob("*.py"))
    if path.name not in MAY
]


def logged_by_words(source: str) -> Iterator[int]:
    """Yield the numbers of the lines that call a method of a logger, or a function of the module ``logging``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            receiver = ast.unparse(node.func.value).lower()
            if receiver.endswith(("log", "logger", "logging")) or "getlogger" in receiver:
                yield node.lineno


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_logs_by_words(path: Path) -> None:
    """Whoever has something to say says it by a Line, which has a name and is documented."""
    assert list(logged_by_words(path.read_text())) == []


@pytest.mark.parametrize(
    "call",
    [
        "logger.error(text)",
        "self._logger.exception('x')",
        "logging.getLogger('x').warning(text)",
        "logging.log(10, text)",
        "log.info(f'{x} is late')",
        "log.info('%s is late', x)",
    ],
)
def test_logging_by_words_is_found(call: str) -> None:
    """However the logger is called; and saying something by a Line is none of it."""
    assert list(logged_by_words(f"\n{call}")) == [2]
    assert list(logged_by_words("log_lines.RETRY.log(logger, entry_id=b'1-0')")) == []
