"""What a run gives: the values of each round, what they mean, and where they were measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import redis

import edx_event_bus_redis
from devtools.environments import PUBLISHED
from perf import CHECKOUT
from perf.scenario import Scenario

# By case and quantity, one value for each round.
Values = dict[tuple[str, str], list[float]]

_PACKAGES = ("redis", "hiredis", "Django", "openedx-events", "fastavro", "attrs", "edx-django-utils")


def medians(values: Values) -> dict[tuple[str, str], float]:
    """Return the median of each quantity."""
    return {key: statistics.median(found) for key, found in values.items()}


def table(scenario: Scenario, values: Values) -> list[str]:
    """Return the lines that show values and bars."""
    width = max((len(case) for case, _ in values), default=0)
    lines = [
        f"  {case:{width}}  {_number(statistics.median(found)):>10} {quantity:22} "
        f"(from {_number(min(found))} to {_number(max(found))}, {len(found)} rounds)"
        for (case, quantity), found in values.items()
    ]
    for bar in bars(scenario, values):
        wanted = f"at least {bar['at least']:g}" if bar["at least"] is not None else f"at most {bar['at most']:g}"
        if bar["value"] is None:
            lines.append(f"  ? {bar['what']}: not measured ({wanted})")
        else:
            rounds = ", ".join(map(_number, bar["by round"]))
            mark = "✓" if bar["reached"] else "✗"
            lines.append(f"  {mark} {bar['what']}: {_number(bar['value'])} ({wanted}; by round {rounds})")
    return lines


def bars(scenario: Scenario, values: Values) -> list[dict[str, Any]]:
    """Return what each bar asks for, what was measured, and whether it is reached."""
    number = max(map(len, values.values()), default=0)
    rounds = [{key: each[place] for key, each in values.items()} for place in range(number)]
    found = []
    for bar in scenario.bars:
        value = bar.value(medians(values))
        found.append(
            {
                "what": bar.what,
                "at least": bar.at_least,
                "at most": bar.at_most,
                "value": value,
                "reached": None if value is None else bar.is_reached(value),
                "by round": [bar.value(each) for each in rounds],
            }
        )
    return found


def as_json(scenario: Scenario, values: Values, busy: Sequence[float], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything about a scenario's run that is kept."""
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "command": f"python -m perf {scenario.name}{' --peers' * scenario.needs_peers}",
        "bars": bars(scenario, values),
        "results": [
            {
                "case": case,
                "quantity": quantity,
                "median": statistics.median(found),
                "min": min(found),
                "max": max(found),
                "values": found,
            }
            for (case, quantity), found in values.items()
        ],
        # Share of all processors that others used right before each round.
        "busy_before": list(busy),
        **scenario.about,
        **machine,
    }


def about_here(client: redis.Redis) -> dict[str, Any]:
    """Return where and with what is measured."""
    server = client.info("server")
    name = "valkey" if "valkey_version" in server else "redis"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "uncommitted": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "edx_event_bus_redis", "pool")),
        "versions": {
            "edx-event-bus-redis": edx_event_bus_redis.__version__,
            "published": PUBLISHED,
            "python": platform.python_version(),
            "server": f"{name} {server.get(f'{name}_version', server['redis_version'])}",
            **{package: _version(package) for package in _PACKAGES},
        },
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "system": f"{platform.system()} {platform.release()}",
        },
    }


def write(directory: Path, name: str, result: Mapping[str, Any]) -> None:
    """Write a result to a file of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(_rounded(result), indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str | None:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=10
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
