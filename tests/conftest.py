"""Servers, streams and consumers for tests."""

import os
import signal
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
import hypothesis
import psutil
import pytest
import redis
from django.test import override_settings

from devtools.server import EmbeddedServer

# The same examples in each run, so that a change is what makes a test fail; and no limit of time for one of them.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

# A shell that runs the tests in the background ignores SIGINT for them, and so for the processes that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Taken out of the environment before Django's settings read it: only the fixtures say where the server is.
EXTERNAL_URL = os.environ.pop("EVENT_BUS_REDIS_CONNECTION_URL", None)
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

# A test waits for most of its time. Four at once keep a processor busy.
TESTS_PER_PROCESSOR = 4

# Bytes of a test process with its servers and consumers.
MEMORY_PER_TEST = 512 * 1024 * 1024


def pytest_xdist_auto_num_workers() -> int:
    """Return how many tests run at once with ``pytest -n auto``: as many as processors and memory are enough for."""
    by_memory = psutil.virtual_memory().available // MEMORY_PER_TEST
    return max(1, min(TESTS_PER_PROCESSOR * len(os.sched_getaffinity(0)), by_memory))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take a test that is skipped for a failed one where all that tests need is there, as TESTS_SKIP_NOTHING says."""
    report = yield
    if report.skipped and "TESTS_SKIP_NOTHING" in os.environ:
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """A server that the tests of this worker share: an embedded one, or that of EVENT_BUS_REDIS_CONNECTION_URL."""
    if EXTERNAL_URL:
        yield EXTERNAL_URL
        return
    with EmbeddedServer() as server:
        yield server.url


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that the test may kill, freeze and restart; it keeps what it was told, in an append-only file."""
    with EmbeddedServer(config={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A topic prefix that no other test has."""
    return f"test{uuid.uuid4().hex[:12]}"


@pytest.fixture
def stream_name(prefix: str) -> str:
    """The key of the stream of ``tests.support.events.TOPIC`` under the test's prefix."""
    return f"{prefix}-user-login"


@pytest.fixture
def client(url: str, stream_name: str) -> Iterator[redis.Redis]:
    """A client of the shared server; what the test leaves under its stream's name is deleted."""
    with redis.Redis.from_url(url, socket_timeout=10) as client:
        yield client
        client.delete(stream_name, *client.scan_iter(f"{{{stream_name}}}*"))


@pytest.fixture
def bus_settings(url: str, prefix: str) -> Iterator[None]:
    """Settings of this process that name the shared server and the test's prefix."""
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL=url, EVENT_BUS_TOPIC_PREFIX=prefix):
        yield


@pytest.fixture
def consume(tmp_path: Path, url: str, prefix: str) -> Iterator[Callable[..., Any]]:
    """Start ``consume_events`` in a process of its own; see ConsumerProcess for the arguments."""
    from tests.support.consuming import ConsumerProcess  # noqa: PLC0415 -- needs Django

    with ExitStack() as stack:

        def start(**arguments: Any) -> ConsumerProcess:
            arguments = {"directory": tmp_path, "url": url, "prefix": prefix, "consumer_name": "c1"} | arguments
            return stack.enter_context(ConsumerProcess(**arguments))

        yield start
