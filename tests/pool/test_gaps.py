"""Objects of forked children do not go into the gaps between those of their parent."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool import Child, Outcome
from pool.gaps import fill_gaps
from tests.pool.program import argument, say, supervise

ROOT = Path(__file__).parent.parent.parent
MEMORY = Path("/proc/self/smaps_rollup")

only_where_memory_is_told = pytest.mark.skipif(not MEMORY.exists(), reason="only Linux tells what is not shared")

# KiB. 5,000 objects take some 600; in gaps that are all over the memory they would have 10,000 copied and more.
LITTLE = 2_000


def objects_with_gaps() -> list[bytes]:
    """Return so many objects that there are gaps all over the memory."""
    staying = [bytes(64) for _ in range(200_000)]
    del staying[::40]
    return staying


def say_what_objects_take() -> None:
    before = unshared()
    made = [bytes(64) for _ in range(5_000)]
    say("made", count=len(made), kibibytes=unshared() - before)


def unshared() -> int:
    (line,) = [line for line in MEMORY.read_text().splitlines() if line.startswith("Private_Dirty:")]
    return int(line.split()[1])


def fork_with_gaps() -> None:
    staying = objects_with_gaps()
    filling = fill_gaps() if argument("fill") else []
    gc.freeze()
    if os.fork() == 0:
        say_what_objects_take()
        os._exit(0)
    os.wait()
    del staying, filling


@only_where_memory_is_told
def test_a_childs_objects_take_little_more_than_their_size(start_program: Any) -> None:
    """With the gaps filled they are in pages of their own, else in copies of all pages that have a gap."""
    (filled,) = start_program(fork_with_gaps, fill=True).wait_for("made")
    _, unfilled = start_program(fork_with_gaps, fill=False).wait_for("made", 2)

    assert filled.kibibytes < LITTLE
    assert unfilled.kibibytes > 4 * LITTLE


def supervise_with_gaps(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    staying = objects_with_gaps()
    outcome = supervise(work, settings)
    del staying
    return outcome


def make_objects(child: Child) -> None:
    say_what_objects_take()
    child.stop.wait(3600)


@only_where_memory_is_told
def test_workers_share_their_supervisors_memory_whatever_they_make(start_pool: Any) -> None:
    """The supervisor has its gaps filled before it forks, and they stay so for those that it forks later."""
    pool = start_pool(make_objects, supervise_with_gaps, workers=2)
    pool.wait_for("made", 2)
    pool.worker(0).kill()

    assert max(each.kibibytes for each in pool.wait_for("made", 3)) < LITTLE


def run(program: str, **environment: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=60).stdout


def test_another_allocator_is_left_alone() -> None:
    """Where Python is told to use the allocator of the system, whose gaps are not known, nothing is made."""
    assert run("from pool.gaps import fill_gaps; print(fill_gaps())", PYTHONMALLOC="malloc") == "[]\n"


def test_an_allocator_that_is_not_known_costs_nothing() -> None:
    """Where objects are not side by side, as with the one that looks for errors, nothing is kept."""
    assert run("from pool.gaps import fill_gaps; print(len(fill_gaps()))", PYTHONMALLOC="debug") == "0\n"
