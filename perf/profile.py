"""
Where the time of one worker goes: ``python -m perf.profile [--audit] [--published]``.

py-spy samples a consumer, without a pool and from outside, while it handles a backlog. For each function: the share of
the samples in it and in what it calls; and in itself. Samples count while the process runs, not while it waits.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
from collections.abc import Iterable

import perf.events
from perf.bench import OURS, Bench
from perf.rates import handled_by_group
from perf.tools import tools

EVENTS = 200_000

# Samples per second.
FREQUENCY = 400

# Functions that are shown.
SHOWN = 40


def shares(stacks: Iterable[str]) -> list[tuple[float, float, str]]:
    """
    Return of each function the share of samples in it and in what it calls, the share in itself, and its name.

    Arguments:
        stacks: lines of py-spy's raw format: functions from the outermost, joined by semicolons, and a number.
    """
    whole: collections.Counter[str] = collections.Counter()
    own: collections.Counter[str] = collections.Counter()
    total = 0
    for line in stacks:
        stack, _, number = line.rpartition(" ")
        functions = stack.split(";")
        if not functions[0].startswith("<module>"):
            # A thread that waits for a signal counts as running, for py-spy.
            continue
        total += int(number)
        own[functions[-1]] += int(number)
        for function in set(functions):
            whole[function] += int(number)
    return [(number / total, own[function] / total, function) for function, number in whole.most_common()]


def main() -> int:
    """Sample and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--audit", action="store_true", help="with the audit log on, in a file")
    parser.add_argument("--published", action="store_true", help="of the published package's consumer")
    parser.add_argument("--shown", type=int, default=SHOWN, help="number of functions to show")
    options = parser.parse_args()
    py_spy = tools() / "bin" / "py-spy"
    with Bench(with_published=options.published) as bench, bench.topic(options.events) as prefix:
        stacks = bench.file("stacks")
        with bench.consumer(bench.published or OURS, prefix, audit=options.audit) as consumer:
            handled = handled_by_group(bench.client, perf.events.stream_of(prefix), perf.events.GROUP)
            while handled() < options.events // 20:
                consumer.check()
            command = [py_spy, "record", "--format", "raw", "--function", "--rate", str(FREQUENCY), "--duration", "600"]
            with subprocess.Popen(
                [*map(str, command), "--output", str(stacks), "--pid", str(consumer.pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as sampler:
                while handled() < options.events:
                    consumer.check()
                sampler.send_signal(2)
                sampler.wait(60)
        found = shares(stacks.read_text().splitlines())
    print("  share    self  function")
    for whole, own, function in found[: options.shown]:
        print(f"{whole:7.1%} {own:7.1%}  {function}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
