"""
The coverage-guided fuzzer: ``make fuzz``.

Each target runs in a process of its own, one after the other, until its share of the time is over or something does not
hold. Then its input is printed, and how to repeat it; the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import django

_HOME = Path(".fuzz")


def main() -> int:
    """Run what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="those to run, all without")
    parser.add_argument("--seconds", type=int, default=60, help="for all of them together")
    parser.add_argument("--repeat", metavar="FILE", type=Path, help="give a target this input once, without the fuzzer")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    if options.one:
        _fuzz(options.targets[0], options.seconds)
    django.setup()
    from tests.fuzz.targets import targets  # noqa: PLC0415 -- needs Django

    if options.repeat:
        targets()[options.targets[0]](options.repeat.read_bytes())
        return 0
    names = options.targets or list(targets())
    seconds = max(1, options.seconds // len(names))
    return max(_run(name, seconds) for name in names)


def _run(name: str, seconds: int) -> int:
    print(f"{name}: {seconds} s", flush=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--one", "--seconds", str(seconds)]
    (_HOME / "crashes").mkdir(parents=True, exist_ok=True)
    before = set((_HOME / "crashes").iterdir())
    log = _HOME / f"{name}.log"
    with log.open("wb") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    lines = log.read_text(errors="replace").splitlines()
    found = sorted(set((_HOME / "crashes").iterdir()) - before)
    if status == 0 and not found:
        print("\n".join(line for line in lines if line.startswith("Done ")), flush=True)
        return 0
    print("\n".join(lines[-40:]))
    for path in found:
        print(f"input: {path.read_bytes()!r}\nrepeat: python -m tests.fuzz {name} --repeat {path}", flush=True)
    return 1


def _fuzz(name: str, seconds: int) -> None:
    """Fuzz a target in this process, and end it."""
    import atheris  # noqa: PLC0415 -- installed for the fuzzer alone

    with atheris.instrument_imports(include=["edx_event_bus_redis", "openedx_events", "opaque_keys"]):
        django.setup()
        from edx_event_bus_redis.internal.codec import codec_for  # noqa: PLC0415 -- to be instrumented
        from tests.acceptance.project import examples  # noqa: PLC0415
        from tests.fuzz.targets import SIGNALS, seeds, targets  # noqa: PLC0415

    if name in SIGNALS:
        codec = codec_for(examples.signal_of(SIGNALS[name]))
        # It is no import that makes the function.
        codec.__dict__["_decode"] = atheris.instrument_func(codec._decode)
    corpus = _HOME / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    # -timeout: seconds that one input may take; -rss_limit_mb: memory that all of it may take.
    limits = [
        "-max_len=20000",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-max_total_time={seconds}",
        "-print_final_stats=1",
    ]
    arguments = [sys.argv[0], *limits, f"-artifact_prefix={_HOME}/crashes/{name}-", str(corpus)]
    atheris.Setup(arguments, targets()[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
