"""
The fault suite in long: ``make chaos``.

The seed is printed first. When the books do not balance, what is wrong is printed, everything that tells what happened
is kept in a directory, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

import django


def main() -> int:
    """Run it as the command line says; return the exit status."""
    # Events and receivers need Django, which reads its settings when they are imported.
    from tests.chaos.bars import Bar, killed_server, killed_workers  # noqa: PLC0415
    from tests.chaos.engine import Run  # noqa: PLC0415
    from tests.chaos.plan import Plan  # noqa: PLC0415
    from tests.chaos.report import events, page, take_overs  # noqa: PLC0415

    options = _options()
    one_name = options.one_name if options.one_name is not None else options.seed % 3 == 0
    plan = Plan(seed=options.seed, seconds=options.seconds, losses=float(options.losses), one_name=one_name)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {plan.seed}, {plan.seconds:.0f} s of faults, logs and records in {directory}", flush=True)

    bars: list[Bar] = []
    if not options.no_bars:
        bars = [killed_workers(directory / "bar-1", 6_000, plan.seed), killed_server(directory / "bar-2", 2_000)]
        for bar in bars:
            print(f"{bar.name}: {bar.outcome}", flush=True)

    run_directory = directory / "run"
    run_directory.mkdir()
    result = Run(plan, run_directory, lambda line: print(line, flush=True)).play()

    for name, count in result.faults.most_common():
        print(f"{count:8,}  {name}")
    print(f"settled {result.settled_after:.1f} s after the last fault")
    for row in [*events(result), *take_overs(result)]:
        print("  ".join(row))
    if options.report:
        options.report.write_text(page(plan, result, bars), encoding="utf-8")
        print(f"written: {options.report}")

    wrong = [*(line for bar in bars for line in bar.wrong), *result.wrong]
    if wrong:
        (directory / "wrong").write_text("\n".join([f"seed {plan.seed}", *wrong, ""]), encoding="utf-8")
        print(*wrong[:20], sep="\n")
        print(f"{len(wrong)} things are wrong; seed {plan.seed}; the evidence is in {directory}")
        return 1
    shutil.rmtree(directory)
    print("every event is accounted for")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The fault suite in long.")
    parser.add_argument("--seconds", type=float, default=600.0, help="of faults")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    choice = argparse.BooleanOptionalAction
    parser.add_argument("--losses", action=choice, default=True, help="trim the stream and flush the server as well")
    parser.add_argument("--one-name", action=choice, help="both pools have the same consumer name (by the seed)")
    parser.add_argument("--no-bars", action="store_true", help="only the random faults")
    parser.add_argument("--report", type=Path, help="where to write the result as a page of the documentation")
    return parser.parse_args()


if __name__ == "__main__":
    import os

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ.pop("EVENT_BUS_REDIS_CONNECTION_URL", None)
    django.setup()
    sys.exit(main())
