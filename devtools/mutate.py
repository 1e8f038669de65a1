"""
Changes the code that decides, in one small way at a time, and shows which changes no test notices: ``make mutate``.

``[tool.mutmut]`` of ``pyproject.toml`` says what is changed, and which tests have to notice. mutmut makes copies
under ``mutants`` and runs the tests there. It changes what is in functions, not the constants of a module.

A change that no test has to notice is in ``devtools/judged_mutants.txt``, with the reason. The others that survive are
printed, and end it with status 1.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from difflib import SequenceMatcher
from json import loads
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

_JUDGED = Path(__file__).with_name("judged_mutants.txt")

# What mutmut reads and writes.
_COPIES = ROOT / "mutants"

# What make has installed: mutmut, and what it needs.
_HOME = ROOT / ".mutate"

_LINES_OF_FAILURE = 40

# How pytest ended, or by which signal: a test has failed, pytest itself has, or it took too long.
_NOTICED = {1, 3, 24, 36, 152, 255, -9, -24}


class Change(NamedTuple):
    """What was changed, as ``judged_mutants.txt`` has it."""

    module: str
    before: str
    after: str


class Mutant(NamedTuple):
    """A change, where it was made, and whether a test noticed."""

    change: Change
    place: str
    is_noticed: bool


def main() -> int:
    """Run what the command line says; return the exit status."""
    modules = [Path(pattern).stem for pattern in _configuration()["only_mutate"]]
    parser = argparse.ArgumentParser(prog="python -m devtools.mutate", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(modules)}; all without")
    parser.add_argument("--processes", type=int, help="that run tests at once; one for each processor without")
    parser.add_argument("--again", action="store_true", help="show what the last run found, and run nothing")
    options = parser.parse_args()
    if unknown := set(options.modules) - set(modules):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(modules)}")
    if not options.again and not _run_mutmut(options.modules, options.processes):
        return 2
    judged = _judged()
    left = sum(_show(mutants, judged) for meta in sorted(_COPIES.rglob("*.py.meta")) if (mutants := _mutants(meta)))
    return int(left > 0)


def _configuration() -> dict[str, list[str]]:
    configuration: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    return configuration


def _run_mutmut(modules: list[str], processes: int | None) -> bool:
    # What mutmut remembers of an earlier run it does not try again, though a test is another one now.
    shutil.rmtree(_COPIES, ignore_errors=True)
    command = [sys.executable, str(_HOME / "packages" / "bin" / "mutmut"), "run"]
    command += ["--max-children", str(processes)] if processes else []
    command += [f"*.{module}.*" for module in modules]
    environment = os.environ | {"PYTHONPATH": str(_HOME / "packages")}
    log = _HOME / "log"
    print(f"some minutes; {log.relative_to(ROOT)} shows how far it is", flush=True)
    with log.open("wb") as output:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print("\n".join(log.read_text().splitlines()[-_LINES_OF_FAILURE:]))
    return done.returncode == 0


def _show(mutants: list[Mutant], judged: set[Change]) -> int:
    """Print what became of the mutants of a module; return how many survive that are not judged."""
    survivors = [mutant for mutant in mutants if not mutant.is_noticed]
    left = [mutant for mutant in survivors if mutant.change not in judged]
    for mutant in left:
        print(f"\n{mutant.place}\n- {mutant.change.before}\n+ {mutant.change.after}")
    module = mutants[0].change.module
    found = {mutant.change for mutant in survivors}
    for change in judged:
        if change.module == module and change not in found:
            print(f"\njudged, but it does not survive:\n- {change.before}\n+ {change.after}")
    counts = f"{len(mutants)} mutants, {len(mutants) - len(survivors)} noticed, {len(survivors) - len(left)} judged"
    print(f"\n{module}: {counts}, {len(left)} left", flush=True)
    return len(left)


def _mutants(meta: Path) -> list[Mutant]:
    """Return the mutants of a module that were tried, by the file in which mutmut has their results."""
    copy = meta.with_suffix("")
    path = copy.relative_to(_COPIES)
    lines = copy.read_text().splitlines()
    # First and last line in the copy: of each mutant, by its name, and of each original function.
    spans: dict[str, tuple[int, int]] = loads(copy.with_suffix(".py.spans").read_text())["spans"]
    begins = dict(_functions(ROOT / path))
    found = []
    for key, status in loads(meta.read_text())["exit_code_by_key"].items():
        name = key.rpartition(".")[2]
        function = name.partition("__mutmut_")[0]
        original = f"{function}__mutmut_orig"
        plain = function.rpartition("ǁ")[2].removeprefix("x_")
        before, after = (
            [line.replace(each, plain).strip() for line in lines[spans[each][0] - 1 : spans[each][1]]]
            for each in (original, name)
        )
        if status is not None:
            first, was, became = _difference(before, after)
            place = f"{path}:{begins[function] + first}"
            found.append(Mutant(Change(path.stem, was, became), place, status in _NOTICED))
    return found


def _difference(before: list[str], after: list[str]) -> tuple[int, str, str]:
    """Return where lines begin to differ, and what differs in either."""
    changes = [
        each for each in SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if each[0] != "equal"
    ]
    (_, first, _, third, _), (_, _, second, _, fourth) = changes[0], changes[-1]
    return first, " ".join(before[first:second]), " ".join(after[third:fourth])


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name each function of a file as mutmut does, with the number of its first line."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield f"x_{node.name}", node.lineno
        elif isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef))
            yield from ((f"xǁ{node.name}ǁ{method.name}", method.lineno) for method in methods)


def _judged() -> set[Change]:
    judged, module, before = set(), "", ""
    for line in _JUDGED.read_text().splitlines():
        if line.startswith("["):
            module = line.strip("[]")
        elif line.startswith("- "):
            before = line[2:]
        elif line.startswith("+ "):
            judged.add(Change(module, before, line[2:]))
    return judged


if __name__ == "__main__":
    sys.exit(main())
