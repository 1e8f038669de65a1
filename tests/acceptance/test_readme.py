"""What the README, and the page about trials on one machine, tell to type; ``make demo`` is in ``test_demo.py``."""

import os
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.embedded import FREE_PORTS, is_port_taken
from devtools.environments import plain_environment
from tests.acceptance.conftest import Wheel
from tests.support.pages import Terminal, blocks_of
from tests.support.waiting import wait_until

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

TRIALS = "docs/how-to/try-it-on-one-machine.rst"

MANAGE = """\
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""

SETTINGS = """\
SECRET_KEY = "-"
INSTALLED_APPS = []
OPENEDX_TELEMETRY = []
LOGGING = {
    "version": 1,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
"""


@pytest.fixture
def terminal(wheel: Wheel, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in a copy of the tree, with this environment and a free port; no Docker answers there."""
    stamp, docker = tmp_path / "installed", tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    # Newer than all that an installation depends on.
    stamp.touch()
    port = next(port for port in random.sample(FREE_PORTS, len(FREE_PORTS)) if not is_port_taken(port))
    environment = plain_environment() | {
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REDIS_PORT": str(port),
        "MAKEFLAGS": f"STAMP={stamp}",
    }
    with Terminal(wheel.tree, environment) as terminal:
        yield terminal
        terminal.type("make kill_all_consume_test_events; make redis-down")


def test_trials_on_one_machine(terminal: Terminal, tmp_path: Path) -> None:
    """Server, consumers and events of the page: each event is received, by one consumer and by the pool."""
    targets, produce = (block.text for block in blocks_of(TRIALS))
    left = set(re.findall(r"make (\S+)", targets))

    def make(target: str, behind: str = "") -> str:
        left.discard(target)
        printed, status = terminal.type(f"make {target} {behind}")
        assert status == 0, printed
        return printed

    def consume(target: str) -> Path:
        log = tmp_path / f"{target}.log"
        log.touch()
        make(target, f"> {log} 2>&1 &")
        wait_until(lambda: "Running consumer" in log.read_text(), timeout=60, what="a consumer runs")
        return log

    make("redis-up")
    one = consume("consume_test_event")
    make("produce_test_event")
    wait_until(lambda: one.read_text().count("processed successfully") == 1, what="the event is received")
    make("kill_all_consume_test_events")
    pool = consume("multiple_consumer_test_event")
    make("produce_test_event")
    printed, status = terminal.type(produce)
    assert status == 0, printed
    wait_until(lambda: pool.read_text().count("processed successfully") == 1001, timeout=60, what="all are received")
    assert "PONG" in make("redis-shell", "<<< PING")
    make("kill_all_consume_test_events")
    make("redis-down")

    assert left == set()


def test_the_readme_can_be_typed(wheel: Wheel, tmp_path: Path, url: str, prefix: str) -> None:
    """With the settings of the README, each of its consumers starts, handles an event, and stops when it is asked."""
    _, _, (_, settings), (_, consumers) = blocks_of("README.rst")
    settings = settings.replace("redis://:password@localhost:6379/", url).replace('"dev"', f'"{prefix}"')
    (tmp_path / "settings.py").write_text(SETTINGS + settings)
    (tmp_path / "manage.py").write_text(MANAGE)
    environment = plain_environment()
    environment["PATH"] = f"{wheel.environment / 'bin'}:{environment['PATH']}"
    commands = re.findall(r"^python .*\n(?: +.*\n)*", consumers, re.MULTILINE)
    _, produce = (block.text for block in blocks_of(TRIALS))
    produce = re.sub(r"\./manage\.py", "python manage.py", produce).replace("--count 1000 --rate 200", "")

    assert len(commands) == 2
    with Terminal(tmp_path, environment) as terminal:
        for number, command in enumerate(commands):
            log = tmp_path / f"{number}.log"
            log.touch()
            terminal.type(f"{command.rstrip()} > {log} 2>&1 &")
            wait_until(lambda log=log: log.read_text().count("Running consumer") == 4, what="four workers run")
            printed, status = terminal.type(produce)
            assert status == 0, printed
            wait_until(lambda log=log: "processed successfully" in log.read_text(), what="the event is handled")
            assert terminal.type("kill $! && wait $!")[1] == 0
