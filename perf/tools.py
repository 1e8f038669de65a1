"""The environment of what draws plots and takes samples: no dependency of this package."""

from __future__ import annotations

from pathlib import Path

from devtools.environments import environment_with
from perf import ENVIRONMENTS, PERF


def tools() -> Path:
    """Return the environment, made if it is not there yet."""
    requirements = (PERF / "requirements.txt").read_text().split()
    failure = "matplotlib and py-spy could not be installed from the package index"
    return environment_with(ENVIRONMENTS, "tools", requirements, failure=failure)
