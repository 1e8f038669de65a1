"""The packages, installed, and services that use them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

import edx_event_bus_redis
from tests.acceptance.environments import interpreter_of, made_once, make_environment, pip
from tests.acceptance.service import Service

ROOT = Path(__file__).parent.parent.parent

# The newest release of the published package for each Python.
PUBLISHED = "1.1.2" if sys.version_info >= (3, 12) else "0.6.1"


class Wheel(NamedTuple):
    """
    What the tree gives.

    Attributes:
        path: of the wheel.
        tree: the copy that it was built from.
        environment: a virtual environment with nothing but the wheel and what it depends on.
    """

    path: Path
    tree: Path
    environment: Path


@pytest.fixture(scope="session")
def published_environment(request: pytest.FixtureRequest) -> Path:
    """
    A virtual environment with the published package.

    It is kept in pytest's cache for the next run. What both packages depend on has the versions of this environment,
    so that the packages make the only difference.
    """
    others = sorted(
        f"{each.metadata['Name']}=={each.version}"
        for each in distributions()
        if each.metadata["Name"].lower().replace("_", "-") != "edx-event-bus-redis"
    )
    requirements = [f"edx-event-bus-redis=={PUBLISHED}", "walrus==0.9.8", "hiredis"]
    key = sha256("\n".join([sys.version, sys.base_prefix, *requirements, *others]).encode()).hexdigest()[:16]
    directory = request.config.cache.mkdir("environments") / f"published-{PUBLISHED}-{key}"
    with made_once(directory) as to_be_made:
        if to_be_made:
            python = make_environment(directory)
            constraints = directory / "constraints.txt"
            constraints.write_text("\n".join(others))
            pip(
                python,
                "install",
                "--constraint",
                constraints,
                *requirements,
                failure=f"edx-event-bus-redis {PUBLISHED} could not be installed from the package index",
            )
    return directory


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """The wheel of a plain copy of the tree, installed into an empty environment; made once in a run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    tree, wheels, environment = shared / "tree", shared / "wheels", shared / "environment"
    with made_once(environment) as to_be_made:
        if to_be_made:
            _copy_tree(tree)
            python = make_environment(environment)
            pip(python, "wheel", "--no-deps", "--wheel-dir", wheels, tree, failure="the wheel could not be built")
            (path,) = wheels.glob("*.whl")
            pip(python, "install", path, failure="the wheel could not be installed from the package index")
    (path,) = wheels.glob("*.whl")
    return Wheel(path, tree, environment)


def _copy_tree(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        # One that was deleted and not yet committed is listed, too.
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())


@pytest.fixture
def client(url: str, prefix: str) -> Iterator[redis.Redis]:
    """A client of the shared server; everything that the test leaves under its prefix is deleted."""
    with redis.Redis.from_url(url, socket_timeout=10) as client:
        yield client
        keys = [*client.scan_iter(f"{prefix}*"), *client.scan_iter(f"{{{prefix}*")]
        if keys:
            client.delete(*keys)


@pytest.fixture
def ours(tmp_path: Path, url: str, prefix: str, client: redis.Redis) -> Iterator[Service]:
    """A service that uses this package, from the tree."""
    version, python = edx_event_bus_redis.__version__, Path(sys.executable)
    directory = tmp_path / "ours"
    with Service(
        directory, python, version=version, location=ROOT, url=url, prefix=prefix, python_path=ROOT
    ) as service:
        yield service


@pytest.fixture
def theirs(
    published_environment: Path, tmp_path: Path, url: str, prefix: str, client: redis.Redis
) -> Iterator[Service]:
    """A service that uses the published package."""
    location, directory = published_environment, tmp_path / "theirs"
    python = interpreter_of(location)
    with Service(directory, python, version=PUBLISHED, location=location, url=url, prefix=prefix) as service:
        yield service


@pytest.fixture
def installed(wheel: Wheel, tmp_path: Path, url: str, prefix: str, client: redis.Redis) -> Iterator[Service]:
    """A service that uses this package, installed from its wheel."""
    version, directory = edx_event_bus_redis.__version__, tmp_path / "installed"
    python = interpreter_of(wheel.environment)
    with Service(directory, python, version=version, location=wheel.environment, url=url, prefix=prefix) as service:
        yield service
