"""
Draws the plots of ``docs/performance.rst`` from the results: ``python -m perf.plots``.

Only what has results is drawn. In an environment without matplotlib it runs itself in one that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perf import CHECKOUT, RESULTS

PLOTS = CHECKOUT / "docs" / "performance"

OURS, PUBLISHED, OTHERS, SECOND = "#1f6f8b", "#c8553d", "#8d99ae", "#588157"

# case of the results -> what the plot calls it
FRAMEWORKS = {
    "ours": "this package",
    "FastStream, batches": "FastStream 0.7, in batches",
    "FastStream": "FastStream 0.7",
    "Dramatiq, 1 thread": "Dramatiq 2.2, 1 thread",
    "Dramatiq, 8 threads": "Dramatiq 2.2, 8 threads",
    "published": "published package",
    "Celery, prefork": "Celery 5.7, prefork",
    "Celery, solo": "Celery 5.7, solo (one only)",
}

TITLES = {"backlog": "unread entries", "pending": "entries pending elsewhere", "groups": "groups of the stream"}


class Results:
    """
    The results of one scenario.

    Arguments:
        name: of the scenario.
    """

    def __init__(self, name: str) -> None:
        path = Path(os.environ.get("PERF_RESULTS", RESULTS)) / f"{name}.json"
        self.all: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._found = {(each["case"], each["quantity"]): each for each in self.all.get("results", [])}

    def __bool__(self) -> bool:
        return bool(self.all)

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._found

    def spread(self, case: str, quantity: str) -> tuple[float, float, float]:
        """Return median, least and greatest value."""
        found = self._found[case, quantity]
        return found["median"], found["min"], found["max"]

    def caption(self, also: str = "") -> str:
        """Return with what and where it was measured, and the command that repeats it, with what else is shown."""
        versions, machine = self.all["versions"], self.all["machine"]
        return (
            f"{self.all['command']} {also}\n"
            f"Python {versions['python']}, {versions['server']}, {machine['cores']} cores shared"
            f" with the server; medians, bars from least to greatest; {self.all['date'][:10]}, {self.all['commit']}"
        )


def _figure(results: Results, width: float, height: float, *, also: str = "", **options: Any) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- not everywhere

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained", **options)
    figure.supxlabel(results.caption(also), fontsize=7, color="#555555")
    return figure, axes


def _save(figure: Any, name: str) -> None:
    PLOTS.mkdir(parents=True, exist_ok=True)
    path = PLOTS / f"{name}.png"
    # Without the version of matplotlib in it, so that it only changes with the results.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    print(path.relative_to(CHECKOUT))


def _medians(spreads: Sequence[tuple[float, float, float]]) -> list[float]:
    return [median for median, _, _ in spreads]


def _errors(spreads: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    return [[median - least for median, least, _ in spreads], [most - median for median, _, most in spreads]]


def draw_throughput() -> None:
    """Events per second, with one and with two processes, of every framework that was measured."""
    results = Results("peers")
    if not results:
        return
    figure, axes = _figure(results, 8, 4.6)
    names = [name for name in FRAMEWORKS if (f"{name}, 1", "events/s") in results]
    names.sort(key=lambda name: results.spread(f"{name}, 1", "events/s")[0])
    for processes, offset, alpha in ((1, 0.2, 1.0), (2, -0.2, 0.55)):
        shown = [name for name in names if (f"{name}, {processes}", "events/s") in results]
        spreads = [results.spread(f"{name}, {processes}", "events/s") for name in shown]
        colors = [OURS if name == "ours" else PUBLISHED if name == "published" else OTHERS for name in shown]
        places = [names.index(name) + offset for name in shown]
        axes.barh(
            places,
            _medians(spreads),
            0.38,
            color=colors,
            alpha=alpha,
            xerr=_errors(spreads),
            error_kw={"elinewidth": 0.8},
        )
        for place, (median, _, most) in zip(places, spreads, strict=True):
            axes.annotate(
                f"{median:,.0f}",
                (max(median, most), place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.set_yticks(range(len(names)), [FRAMEWORKS[name] for name in names])
    axes.set_xlabel("events per second")
    axes.set_title("The same 20,000 events, decode and handler: one process (dark) and two (light)", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    _save(figure, "throughput")


def draw_workers() -> None:
    """Events per second by workers, with a handler that does nothing and with one that waits."""
    busy, waiting = Results("workers"), Results("waiting_handlers")
    if not busy or not waiting:
        return
    figure, (left, right) = _figure(busy, 8, 3.8, also="waiting_handlers", ncols=2)
    for side, color, label in (("ours", OURS, "this package"), ("published", PUBLISHED, "published package")):
        workers = [number for number in (1, 2, 4) if (f"{side}, {number}", "events/s") in busy]
        spreads = [busy.spread(f"{side}, {number}", "events/s") for number in workers]
        if spreads:
            left.errorbar(
                workers, [each[0] for each in spreads], _errors(spreads), color=color, marker="o", label=label
            )
    left.set_xticks([1, 2, 4])
    left.set_title("a handler that does nothing", fontsize=10)
    left.legend(frameon=False, fontsize=8, loc="center right")
    workers = [1, 4, 16]
    spreads = [waiting.spread(f"{number} worker{'s' * (number > 1)}", "events/s") for number in workers]
    right.errorbar(
        workers, [each[0] for each in spreads], _errors(spreads), color=OURS, marker="o", label="this package"
    )
    right.plot(workers, [100 * number for number in workers], color=OTHERS, linestyle=":", label="100 per worker")
    right.set_xticks(workers)
    right.set_title("a handler that waits 10 ms", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.set_xlabel("workers")
        axes.set_ylabel("events per second")
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, "workers")


def draw_latency() -> None:
    """The share of events that were handled within a time, on an idle bus."""
    results = Results("latency")
    if not results:
        return
    figure, axes = _figure(results, 8, 3.8)
    colors = {"ours, 1 worker": OURS, "ours, 4 workers": SECOND, "published": PUBLISHED}
    for case, latencies in results.all["latencies ms"].items():
        found = sorted(latencies)
        shares = [100 * (number + 1) / len(found) for number in range(len(found))]
        median = results.spread(case, "ms, median")[0]
        axes.step(found, shares, color=colors[case], label=f"{case}: median {median:.2f} ms", where="post")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("ms from XADD to the handler")
    axes.set_ylabel("% of events")
    axes.set_title("Latency on an idle bus", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, "latency")


def draw_memory() -> None:
    """Memory of all processes by workers."""
    results = Results("memory")
    if not results:
        return
    figure, axes = _figure(results, 8, 3.8)
    for side, color, label, offset in (
        ("ours", OURS, "this package", 7),
        ("published", PUBLISHED, "published package", -14),
    ):
        workers = [number for number in (1, 2, 4, 8, 16) if (f"{side}, {number}", "MiB") in results]
        medians = [results.spread(f"{side}, {number}", "MiB")[0] for number in workers]
        axes.plot(workers, medians, color=color, marker="o", label=label)
        for number, median in zip(workers, medians, strict=True):
            axes.annotate(
                f"{median:.0f}", (number, median), (0, offset), textcoords="offset points", ha="center", fontsize=8
            )
    axes.set_ylim(bottom=0)
    axes.set_xticks([1, 2, 4, 8, 16])
    axes.set_xlabel("workers, or published consumers")
    axes.set_ylabel("MiB (PSS) in all")
    axes.set_title("Memory of all processes, supervisor and monitor included", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, "memory")


def draw_growth() -> None:
    """What an event costs as things grow."""
    results = Results("growth")
    if not results:
        return
    figure, all_axes = _figure(results, 8, 3.6, ncols=3, sharey=True)
    for axes, what, numbers in zip(
        all_axes,
        ("backlog", "pending", "groups"),
        ((10_000, 100_000, 1_000_000), (1_000, 10_000, 100_000), (1, 10, 100)),
        strict=True,
    ):
        places = range(len(numbers))
        for quantity, color, label in (
            ("processor µs/event", OURS, "worker, monitor, supervisor"),
            ("server µs/event", SECOND, "server"),
        ):
            spreads = [results.spread(f"{what} {number}", quantity) for number in numbers]
            axes.errorbar(places, _medians(spreads), _errors(spreads), color=color, marker="o", label=label)
        axes.set_xticks(places, [f"{number:,}" for number in numbers])
        axes.set_title(TITLES[what], fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_ylim(bottom=0)
    all_axes[0].set_ylabel("µs of processor time per event")
    all_axes[0].legend(frameon=False, fontsize=8, loc=(0.05, 0.2))
    _save(figure, "growth")


def main() -> int:
    """Draw all plots, here or in the environment that can; return the exit status."""
    if find_spec("matplotlib") is None:
        from perf.tools import tools  # noqa: PLC0415 -- not needed in the environment that it makes

        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MPLBACKEND": "Agg"}
        python = Path(tools()) / "bin" / "python"
        return subprocess.run([python, "-m", "perf.plots"], cwd=CHECKOUT, env=environment, check=False).returncode
    for draw in (draw_throughput, draw_workers, draw_latency, draw_memory, draw_growth):
        draw()
    return 0


if __name__ == "__main__":
    sys.exit(main())
