"""The benchmark runs, and what it says is what Redis says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from perf.rates import added_to_stream, handled_by_group
from perf.scenario import Bar, all_scenarios
from tests.acceptance.conftest import ROOT

pytestmark = pytest.mark.slow


def test_a_scenario_runs_from_end_to_end(tmp_path: Path) -> None:
    """``python -m perf`` measures a worker of a pool and keeps every value, with what and where it was measured."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [
            *[sys.executable, "-m", "perf", "consume_one", "--rounds", "2", "--scale", "0.02", "--quiet", "0.1"],
            *["--no-published", "--results", str(tmp_path)],
        ],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not measured (at least 10)" in done.stdout

    found = json.loads((tmp_path / "consume_one.json").read_text())
    measured = {(each["case"], each["quantity"]): each["values"] for each in found["results"]}
    assert len(measured["ours, 1 worker", "events/s"]) == 2
    assert all(value > 0 for value in measured["ours, 1 worker", "events/s"])
    # Processor time comes in steps of 10 ms, more than so few events need.
    assert all(value >= 0 for values in measured.values() for value in values)
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["versions"]["redis"] == redis.__version__
    assert found["bars"][0]["value"] is None


def test_an_unknown_scenario_is_refused() -> None:
    """A scenario that does not exist ends the benchmark with status 2 before anything is started."""
    done = subprocess.run(
        [sys.executable, "-m", "perf", "nonsense"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_every_scenario_can_be_listed() -> None:
    """Each scenario has a title, and each of its bars says what is at least or at most asked for."""
    scenarios = all_scenarios()
    assert {"consume_one", "workers", "memory", "latency", "replacement"} <= {each.name for each in scenarios}
    for scenario in scenarios:
        assert scenario.title
        assert all((bar.at_least is None) != (bar.at_most is None) for bar in scenario.bars), scenario.name


def test_what_is_pending_is_not_counted_as_handled(client: redis.Redis, stream_name: str) -> None:
    """Handled are the entries that a group has read, less those that it has not acknowledged."""
    ids = [client.xadd(stream_name, {"number": number}) for number in range(5)]
    client.execute_command("XGROUP", "CREATE", stream_name, "group", "0", "ENTRIESREAD", "0")
    handled = handled_by_group(client, stream_name, "group")
    assert handled() == 0
    client.xreadgroup("group", "c1", {stream_name: ">"}, count=3)
    assert handled() == 0
    client.xack(stream_name, "group", *ids[:2])
    assert handled() == 2
    assert added_to_stream(client, stream_name)() == 5


@pytest.mark.parametrize(
    ("bar", "value", "reached"),
    [
        (Bar("ratio", case="a", quantity="q", against="b", at_least=3.0), 4.0, True),
        (Bar("one more", case="a", quantity="q", less="b", per=2, at_most=1.0), 3.0, False),
        (Bar("alone", case="b", quantity="q", at_most=2.0), 2.0, True),
    ],
)
def test_a_bar_compares_medians(bar: Bar, value: float, reached: bool) -> None:
    """A bar is a value, a ratio of two, or the difference of two for each of several; at its limit it is reached."""
    medians = {("a", "q"): 8.0, ("b", "q"): 2.0}
    assert bar.value(medians) == value
    assert bar.is_reached(value) is reached
    assert Bar("other", case="c", quantity="q", at_most=1.0).value(medians) is None
