"""
The programs of the tests: a function of a test module, or a supervisor of workers that run one.

Nothing here imports pytest or psutil: what runs in it is the pool and little else.
"""

import ctypes
import dataclasses
import functools
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pool import Backoff, Child, Event, Monitor, MonitorChild, Outcome, PoolConfig, Supervisor

# From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1

# Replacements that a test waits for come soon.
QUICK = {"first": 0.02, "maximum": 0.1}


def say(what: str, **data: Any) -> None:
    """Append a line to the record of the test, from whichever process."""
    common = {"what": what, "pid": os.getpid(), "at": time.monotonic()}
    line = json.dumps(common | data, default=str) + "\n"
    os.write(record(), line.encode())


@functools.cache
def record() -> int:
    """Return the descriptor of the record, which stays open for a program that changes its user or its limits."""
    return os.open(os.environ["POOL_TEST_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def say_event(event: Event) -> None:
    """Record what a supervisor reports; process ids of events have their own meaning there."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    say(type(event).__name__, **fields)


def argument(name: str) -> Any:
    """Return what the test has given to its work by name, None if it has given nothing."""
    return json.loads(os.environ["POOL_TEST_ARGUMENTS"]).get(name)


def flag(name: str) -> Path:
    """Return the path of a file by which a test tells its work that something may happen now."""
    return Path(os.environ["POOL_TEST_RECORD"]).parent / name


def wait_for_flag(name: str) -> None:
    """Block until the test raises the flag; a signal does not end it."""
    while not flag(name).exists():
        time.sleep(0.005)


def config(settings: dict[str, Any]) -> PoolConfig:
    """Return the pool's configuration, with quick replacements unless the settings say otherwise."""
    settings = {"name": "test", "shutdown_timeout": 20.0, **settings}
    return PoolConfig(**settings | {"backoff": Backoff(**QUICK | settings.get("backoff", {}))})


def supervise(work: Callable[[Child], None], settings: dict[str, Any]) -> Outcome:
    """Run a pool as a product would: nothing around it."""
    return Supervisor(config(settings), work, monitor(), on_event=say_event).run()


def monitor() -> Monitor | None:
    """Return what the test wants the pool's monitor to run."""
    name = argument("monitor")
    return None if name is None else _load(name)


def idle(child: Child) -> None:
    """Work that waits for the stop."""
    say("ready", shard=child.shard)
    while not child.stop.requested:
        child.slot.idle()
        child.stop.wait(3600)
    say("leaving", shard=child.shard)


def watch(child: MonitorChild) -> None:
    """Monitor that gives signs of life until it is asked to leave."""
    say("watching", time_left=child.stop.time_left)
    while not child.stop.wait(0.01):
        child.slot.idle()
    say("monitor leaving", time_left=child.stop.time_left, states=[slot.state.name for slot in child.slots])


def _load(name: str) -> Callable[..., Any]:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def run_function(name: str) -> None:
    """Run a function of a test module."""
    _load(name)()


def run_pool(main: str, work: str, settings: str) -> None:
    """Run the function that supervises, with the work and the settings of the pool."""
    record()
    outcome = _load(main)(_load(work), json.loads(settings))
    say("end", outcome=outcome.name)


def start() -> None:
    """Run what the command line says, no longer than the tests run: they may end in a way that cleans nothing up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    run, *arguments = sys.argv[1:]
    {"run_function": run_function, "run_pool": run_pool}[run](*arguments)
