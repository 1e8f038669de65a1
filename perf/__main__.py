"""The command line: ``python -m perf [SCENARIO ...]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devtools.environments import NEWEST_PUBLISHED, PUBLISHED
from perf import RESULTS, results
from perf.bench import Bench
from perf.processes import QUIET, wait_for_quiet
from perf.results import Values
from perf.scenario import Scenario, Skipped, all_scenarios


def main(arguments: Sequence[str] | None = None) -> int:
    """Run scenarios, show what they give and keep it; return the exit status, 1 if one of them failed."""
    known = all_scenarios()
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for each in known:
            print(f"{each.name:24} {each.title}")
        return 0
    unknown = {*options.scenario} - {each.name for each in known}
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; --list shows those that there are")
    asked = [each for each in known if each.name in options.scenario or not options.scenario]
    failed = []
    if options.published and PUBLISHED != NEWEST_PUBLISHED:
        print(f"with this Python the published package is {PUBLISHED}, not {NEWEST_PUBLISHED}", file=sys.stderr)
    with Bench(scale=options.scale, with_published=options.published, with_peers=options.peers) as bench:
        machine = results.about_here(bench.client)
        for scenario in asked:
            if scenario.needs_peers and not options.peers:
                continue
            print(f"\n{scenario.name}: {scenario.title}", flush=True)
            try:
                values, busy = _run(scenario, bench, options.rounds, options.quiet)
            except Skipped as skipped:
                print(f"  skipped: {skipped}")
                continue
            except Exception as error:  # noqa: BLE001 -- the other scenarios are still worth their while
                print(f"  failed: {type(error).__name__}: {error}", file=sys.stderr)
                failed.append(scenario.name)
                continue
            print("\n".join(results.table(scenario, values)), flush=True)
            result = results.as_json(scenario, values, busy, machine)
            results.write(options.results, scenario.name, result)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(scenario: Scenario, bench: Bench, rounds: int, quiet: float) -> tuple[Values, list[float]]:
    cases = scenario.cases(bench)
    values: Values = {}
    busy = []
    for number in range(rounds):
        began = time.monotonic()
        before = len(busy)
        for case in cases:
            busy.append(wait_for_quiet(quiet))
            for quantity, value in case.measure().items():
                values.setdefault((case.name, quantity), []).append(value)
        loudest = max(busy[before:], default=0.0)
        doubt = f"; others used {loudest:.0%} of the processors right before" if loudest > QUIET else ""
        print(f"  round {number + 1} of {rounds}: {time.monotonic() - began:.0f} s{doubt}", flush=True)
    # By case, in the order in which they are given.
    order = [case.name for case in cases]
    return dict(sorted(values.items(), key=lambda each: order.index(each[0][0]))), busy


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perf", description=__doc__)
    parser.add_argument("scenario", nargs="*", help="default: all of them")
    parser.add_argument("--list", action="store_true", help="show the scenarios and do nothing")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the numbers of events; for a quick look")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the results")
    parser.add_argument(
        "--quiet", type=float, default=1.0, help="seconds to wait until nobody else uses the processors"
    )
    parser.add_argument("--peers", action="store_true", help="also Celery, Dramatiq and FastStream")
    parser.add_argument("--no-published", dest="published", action="store_false", help="without the published package")
    return parser


if __name__ == "__main__":
    sys.exit(main())
