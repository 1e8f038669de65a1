"""Puts what was measured into the tables of the pages on performance and scaling: ``python -m perf.report``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perf import CHECKOUT, RESULTS

DOCUMENTS = CHECKOUT / "docs"

# In the order of the document.
SCENARIOS = (
    "consume_one",
    "consume_one_audited",
    "workers",
    "waiting_handlers",
    "produce_one",
    "produce_many",
    "memory",
    "idle",
    "latency",
    "replacement",
    "decode",
)
OF_SCALING = ("growth", "server_memory", "overseeing", "reconnecting")


def main() -> int:
    """Replace the tables; return the exit status."""
    found = _found(SCENARIOS)
    _write("performance.rst", {"bars": bars(found), "values": values(found)})
    _write("scaling.rst", {"values": values(_found(OF_SCALING))})
    return 0


def _found(names: Sequence[str]) -> list[dict[str, Any]]:
    return [result for name in names if (result := read(name))]


def _write(document: str, tables: Mapping[str, Iterator[str]]) -> None:
    path = DOCUMENTS / document
    text = path.read_text()
    for name, lines in tables.items():
        begin, end = f".. {name}: begin\n", f".. {name}: end\n"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        text = "".join([before, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, after])
    path.write_text(text)


def read(name: str) -> dict[str, Any] | None:
    """Return the results of a scenario, None if there are none."""
    path = Path(os.environ.get("PERF_RESULTS", RESULTS)) / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def bars(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return the lines of the table of bars."""
    rows = []
    for result in results:
        for bar in result["bars"]:
            wanted = f"at least {bar['at least']:g}" if bar["at least"] is not None else f"at most {bar['at most']:g}"
            rounds = [each for each in bar["by round"] if each is not None]
            spread = f" ({number(min(rounds))} to {number(max(rounds))})" if rounds else ""
            measured = "not measured" if bar["value"] is None else f"{number(bar['value'])}{spread}"
            reached = {True: "yes", False: "**no**", None: ""}[bar["reached"]]
            rows.append([bar["what"], wanted, measured, reached, f"``{result['scenario']}``"])
    return table(["What", "Bar", "Measured (by round)", "Reached", "Scenario"], (36, 14, 24, 8, 18), rows)


def values(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return the lines of the table of values."""
    rows = [
        [
            f"``{result['scenario']}``",
            each["case"],
            each["quantity"],
            f"{number(each['median'])} ({number(each['min'])} to {number(each['max'])})",
        ]
        for result in results
        for each in result["results"]
    ]
    return table(["Scenario", "Case", "Quantity", "Median (from, to)"], (22, 28, 22, 28), rows)


def table(head: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table in reStructuredText."""
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield f"   :widths: {' '.join(map(str, widths))}"
    yield ""
    for row in (head, *rows):
        for place, cell in enumerate(row):
            yield f"   {' ' if place else '*'} - {cell}"


def number(value: float) -> str:
    """Return a value with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
