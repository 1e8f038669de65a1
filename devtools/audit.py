"""
Looks the pinned packages up among known vulnerabilities: ``make audit``, which is part of ``make quality``.

Known ones end it with status 1. What could not be looked up, because no index answers that knows of vulnerabilities, is
said, and is no failure: the same commit must not be good or bad by where it is checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from devtools.environments import InstallationError, environment_with, interpreter_of

ROOT = Path(__file__).parent.parent

# What others install, and what everything here is developed and tested with.
PINNED = ("requirements/base.txt", "requirements/dev.txt")

_TOOL = "requirements/audit.txt"

# Of one file. An index that does not answer is given up by pip-audit much earlier.
_SECONDS = 300


def main() -> int:
    """Look up what is pinned; return the exit status."""
    try:
        python = interpreter_of(_environment())
    except InstallationError as error:
        print(f"not audited: {_last_line(str(error))}")
        return 0
    return max([_audit(python, path) for path in PINNED])


def _environment() -> Path:
    digest = sha256((ROOT / _TOOL).read_bytes()).hexdigest()[:16]
    failure = "pip-audit could not be installed from the package index"
    return environment_with(ROOT / ".audit", f"tool-{digest}", ["--requirement", str(ROOT / _TOOL)], failure=failure)


def _audit(python: Path, path: str) -> int:
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    command = [str(python), "-m", "pip_audit", "--requirement", str(ROOT / path), *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{path}: not audited: pip-audit took more than {_SECONDS} s")
        return 0
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"{path}: not audited: {_last_line(done.stderr)}")
        return 0
    lines, status = judged(packages)
    for line in lines:
        print(f"{path}: {line}")
    return status


def judged(packages: Sequence[dict[str, Any]]) -> tuple[list[str], int]:
    """
    Return what to say of packages, and the exit status.

    Arguments:
        packages: as pip-audit's JSON has them: ``name``, and ``version`` and ``vulns`` or ``skip_reason``.
    """
    known = [
        f"{package['name']} {package['version']} has {flaw['id']}, mended in: {', '.join(flaw['fix_versions']) or '-'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    skipped = sum("skip_reason" in package for package in packages)
    audited = len(packages) - skipped
    if skipped:
        known.append(f"{skipped} of {len(packages)} packages not audited: the index knows nothing of them")
    if audited:
        known.append(f"{audited} packages audited")
    return known, int(any(package.get("vulns") for package in packages))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["pip-audit said nothing"])[-1]


if __name__ == "__main__":
    sys.exit(main())
