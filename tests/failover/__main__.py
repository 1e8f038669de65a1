"""
Measures what a failover costs, on servers that it starts: ``python -m tests.failover [CASE ...]``.

Writes the medians of all rounds, with the least and the most, as a table in reStructuredText.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys

import django

from perf.report import number, table


def main() -> int:
    """Measure as the command line says; return the exit status."""
    # Events and receivers need Django, which reads its settings when they are imported.
    from tests.failover.measuring import CASES  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m tests.failover", description="What a failover costs.")
    parser.add_argument("case", nargs="*", help=f"default: all of them: {'; '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    unknown = {*options.case} - CASES.keys()
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}")
    values: dict[tuple[str, str], list[float]] = {}
    for turn in range(options.rounds):
        for name, case in CASES.items():
            if options.case and name not in options.case:
                continue
            for quantity, value in case.measure().items():
                values.setdefault((name, quantity), []).append(value)
            print(f"round {turn + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
    rows = [[case, quantity, _shown(found)] for (case, quantity), found in values.items()]
    print("\n".join(table(["Case", "Quantity", "Median (from, to)"], (30, 40, 30), rows)))
    return 0


def _shown(values: list[float]) -> str:
    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ.pop("EVENT_BUS_REDIS_CONNECTION_URL", None)
    django.setup()
    # A line for each event would be most of what is measured.
    logging.disable(logging.INFO)
    sys.exit(main())
