"""The packages, installed, and services that use them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

import edx_event_bus_redis
from devtools import environments
from devtools.environments import PUBLISHED, environment_with, interpreter_of, made_once, make_environment, pip
from tests.acceptance.service import Service

ROOT = Path(__file__).parent.parent.parent


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
    """A virtual environment with the published package, kept in pytest's cache for the next run."""
    return environments.published_environment(request.config.cache.mkdir("environments"))


@pytest.fixture(scope="session")
def deployment_tools(request: pytest.FixtureRequest) -> Path:
    """
    Where the programs are that try examples: ``kubernetes-validate``, ``tutor``, a ``python`` with KEDA's definitions.

    Their environment is kept in pytest's cache for the next run.
    """
    requirements = (ROOT / "requirements" / "deployment.txt").read_text().splitlines()
    failure = "what tries the examples for deployments could not be installed from the package index"
    parent = request.config.cache.mkdir("environments")
    return environment_with(parent, "deployment", requirements, failure=failure) / "bin"


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
            shutil.copy(ROOT / name, tree / name)


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
