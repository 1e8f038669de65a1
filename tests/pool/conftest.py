"""Pools and programs that leave no process behind, however a test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.pool.running import PoolProcess, Program


@pytest.fixture
def start_pool(tmp_path: Path) -> Iterator[Callable[..., PoolProcess]]:
    """Start a supervisor in a process of its own; see PoolProcess for the arguments."""
    with ExitStack() as stack:

        def start(*arguments: Any, **settings: Any) -> PoolProcess:
            return stack.enter_context(PoolProcess(tmp_path, *arguments, **settings))

        yield start


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Run a function of a test module in a process of its own."""
    with ExitStack() as stack:

        def start(function: Callable[[], Any], **arguments: Any) -> Program:
            name = f"{function.__module__}:{function.__name__}"
            return stack.enter_context(Program(tmp_path, "run_function", name, arguments=arguments))

        yield start
