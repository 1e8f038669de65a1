"""The wheel, built from a plain copy of the tree and installed where there is nothing else."""

import json
import zipfile

import pytest

import edx_event_bus_redis
from tests.acceptance.conftest import Wheel
from tests.acceptance.service import Event, Service

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

LOGIN = "org.openedx.learning.auth.session.login.completed.v1"
VERSION = edx_event_bus_redis.__version__
METADATA = f"edx_event_bus_redis-{VERSION}.dist-info"


def test_the_wheel_has_the_packages_and_nothing_else(wheel: Wheel) -> None:
    """The wheel holds both packages with their type markers, and no tests, tools, measurements or documents."""
    with zipfile.ZipFile(wheel.path) as archive:
        names = archive.namelist()

    assert {name.partition("/")[0] for name in names} == {"edx_event_bus_redis", "pool", METADATA}
    expected = {
        path.relative_to(wheel.tree).as_posix()
        for package in ("edx_event_bus_redis", "pool")
        for path in (wheel.tree / package).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    assert {name for name in names if not name.startswith(METADATA)} == expected
    assert {"edx_event_bus_redis/py.typed", "pool/py.typed"} <= expected


def test_the_wheel_has_the_license(wheel: Wheel) -> None:
    """The wheel carries LICENSE.txt as it is in the tree, byte by byte."""
    with zipfile.ZipFile(wheel.path) as archive:
        assert archive.read(f"{METADATA}/licenses/LICENSE.txt") == (wheel.tree / "LICENSE.txt").read_bytes()


def test_the_installed_version_is_that_of_its_metadata(installed: Service) -> None:
    """The installed package is imported without Django's settings and has the version of its metadata."""
    done = installed.run(
        "-c",
        "import edx_event_bus_redis as bus, importlib.metadata as metadata, json, pool\n"
        "print(json.dumps([bus.__version__, metadata.version('edx-event-bus-redis')]))",
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [VERSION, VERSION]


def test_an_installed_pool_handles_what_the_installed_producer_sends(installed: Service) -> None:
    """In a service that only has the wheel, a pool of two handles all events, and SIGTERM ends it with status 0."""
    pool = installed.consume("logins", workers=2, check_backlog=True).wait_running(2)
    events = [Event(LOGIN, number, order="sleep:0.01") for number in range(100)]

    installed.send("logins", events)

    handled = installed.wait_handled(len(events))
    assert sorted(event.id for event in handled) == sorted(event.id for event in events)
    assert len({event.pid for event in handled}) == 2
    assert pool.stop() == 0


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ('{"consumer_name": "c1", "wokers": 2}', "'wokers'"),
        ('{"consumer_name": "c1", "workers": true}', "'workers' is true"),
        ("{}", "'consumer_name' is missing"),
    ],
)
def test_a_bad_option_ends_an_installed_consumer(installed: Service, extra: str, named: str) -> None:
    """A bad option gives status 2 and one line on standard error, which names it."""
    done = installed.run("manage.py", "consume_events", "-t", "logins", "-g", "group", "--extra", extra)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert named in line


def test_the_installed_check_reports_a_bad_setting(installed: Service) -> None:
    """``manage.py check`` passes with good settings, and fails with a bad one and names it."""
    assert installed.run("manage.py", "check").returncode == 0

    done = installed.run("manage.py", "check", EVENT_BUS_REDIS_STREAM_MAX_LEN="many")

    assert done.returncode == 1
    assert "edx_event_bus_redis.E001" in done.stderr
    assert "EVENT_BUS_REDIS_STREAM_MAX_LEN" in done.stderr
