"""
Consumers for local trials, remembered so that exactly these can be stopped.

``python -m devtools.consumers run ...`` becomes ``manage.py consume_events ...`` under the same process id;
``python -m devtools.consumers stop`` ends every consumer that was started this way.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from devtools import CHECKOUT, RUN_DIRECTORY
from devtools.recorded import RecordedProcess

CONSUMERS = RUN_DIRECTORY / "consumers"

# A little more than the consumer's own shutdown_timeout of 30 seconds.
STOP_SECONDS = 35.0


def run(arguments: list[str]) -> NoReturn:
    """Become ``consume_events`` with ``arguments``. Does not return."""
    forget_the_gone()
    pid = os.getpid()
    RecordedProcess.of(pid, arguments=" ".join(arguments)).write(CONSUMERS / f"{pid}.json")
    sys.stdout.flush()
    manage = CHECKOUT / "manage.py"
    os.execv(sys.executable, [sys.executable, str(manage), "consume_events", *arguments])


def stop() -> bool:
    """Stop every recorded consumer; return whether all of them are gone."""
    records = forget_the_gone()
    if not records:
        print("no consumer that was started from here is running")
    # Once each: a second SIGTERM would make a consumer leave without finishing the event in hand.
    for record in records.values():
        record.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    all_gone = True
    for path, record in records.items():
        if record.is_gone_within(deadline - time.monotonic()):
            path.unlink(missing_ok=True)
            print(f"stopped {record.pid}: consume_events {record.about.get('arguments', '')}")
        else:
            all_gone = False
            print(f"{record.pid} is still there after {STOP_SECONDS:.0f} seconds", file=sys.stderr)
    return all_gone


def forget_the_gone() -> dict[Path, RecordedProcess]:
    """Remove the records of consumers that have ended; return those of the others."""
    running = {}
    for path in sorted(CONSUMERS.glob("*.json")):
        record = RecordedProcess.read(path)
        if record is None or record.process() is None:
            path.unlink(missing_ok=True)
        else:
            running[path] = record
    return running


def main() -> int:
    """Run the command that the command line names; return the exit status."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        run(arguments[1:])
    if arguments == ["stop"]:
        return 0 if stop() else 1
    print("usage: python -m devtools.consumers run <options of consume_events> | stop", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
