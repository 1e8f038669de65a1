"""The tutorial, as somebody types it."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.environments import plain_environment
from devtools.server import EmbeddedServer
from tests.acceptance.conftest import Wheel
from tests.support.pages import Block, Terminal, blocks_of
from tests.support.waiting import wait_until

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

PAGE = "docs/tutorial.rst"
URL = "redis://:password@localhost:6379/"

# The test has a server, and an environment with the wheel. What these lines do is tested elsewhere.
DONE_ALREADY = re.compile(r"^(make .*|python3 -m venv .*|\. venv/.*|pip install .*|deactivate)\n", re.MULTILINE)


@pytest.fixture
def terminal(wheel: Wheel, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal whose home is the test's directory, in the checkout, with the wheel's environment."""
    environment = plain_environment()
    environment |= {"HOME": str(tmp_path), "PATH": f"{wheel.environment / 'bin'}:{environment['PATH']}"}
    with Terminal(wheel.tree, environment) as terminal:
        yield terminal


def typed(url: str) -> Iterator[tuple[str, str | None]]:
    """Return the commands of each block, and what is said that they print; None if nothing is."""
    blocks = [*blocks_of(PAGE), Block("bash", "")]
    assert {block.language for block in blocks} == {"bash", "text"}
    for block, after in itertools.pairwise(blocks):
        if block.language == "bash":
            commands = DONE_ALREADY.sub("", block.text).replace(URL, url)
            yield commands, after.text if after.language == "text" else None


def prints(printed: str, said: str) -> bool:
    """Return whether the lines that are said were printed, in their order; what has digits in it may have others."""
    lines = [r"\s+".join(map(as_pattern, line.split())) for line in said.splitlines()]
    return re.search(".*".join(lines), printed, re.DOTALL) is not None


def as_pattern(word: str) -> str:
    return r"\S+" if re.search(r"\d", word) else re.escape(word)


def test_the_tutorial_does_what_it_says(terminal: Terminal, own_server: EmbeddedServer) -> None:
    """Typed block by block, no command fails, and each that is said to print something prints it, soon."""
    for commands, said in typed(own_server.url):
        if said is None:
            printed, status = terminal.type(commands)
            assert status == 0, f"{commands}\n{printed}"
        else:
            wait_until_prints(terminal, commands, said)


def wait_until_prints(terminal: Terminal, commands: str, said: str) -> None:
    printed = ""

    def does() -> bool:
        nonlocal printed
        printed = terminal.type(commands)[0]
        return prints(printed, said)

    try:
        wait_until(does)
    except AssertionError:
        raise AssertionError(f"{commands}prints\n{printed}\ninstead of\n{said}") from None
