"""Forked children go on to share the modules, classes and functions of their parent, whoever uses them."""

import gc
import os
import sys
import types
import weakref
from typing import Any

import pytest

from pool.immortals import make_immortal
from tests.pool.program import argument, say
from tests.pool.test_gaps import only_where_memory_is_told, unshared

IMMORTAL = 2**32 - 1

IS_KNOWN = sys.version_info[:2] in {(3, 12), (3, 13)}

FUNCTIONS = 20_000

# KiB. A function takes some 200 bytes, so there is one of those that are used on each page.
LITTLE = 1_000


def many_functions() -> types.ModuleType:
    module = types.ModuleType("many")
    exec("\n".join(f"def f{number}(): pass" for number in range(FUNCTIONS)), vars(module))  # noqa: S102 -- our own text
    return module


def fork_with_functions() -> None:
    functions = [each for each in vars(many_functions()).values() if isinstance(each, types.FunctionType)]
    if argument("immortal"):
        make_immortal()
    gc.freeze()
    if os.fork() == 0:
        before = unshared()
        for each in functions[::20]:
            # Kept for a moment, so that it is in memory that somebody refers to it.
            _ = [each]
        say("used", kibibytes=unshared() - before)
        os._exit(0)
    os.wait()


@only_where_memory_is_told
def test_using_functions_leaves_their_pages_shared(start_program: Any) -> None:
    """Else a page is copied for each reference that is counted in it, as with other releases of Python."""
    (immortal,) = start_program(fork_with_functions, immortal=True).wait_for("used")
    _, mortal = start_program(fork_with_functions, immortal=False).wait_for("used", 2)

    assert mortal.kibibytes > LITTLE
    assert (immortal.kibibytes < LITTLE) == IS_KNOWN


class Part:
    """A class of a module."""

    def method(self) -> Any:
        return lambda: None


def make_and_look() -> None:
    class Own:
        pass

    made, weak = Part().method(), weakref.ref(own := Own())
    told = weakref.ref(made)
    number = make_immortal()
    parts = (Part, Part.method, Part.method.__code__, sys.modules["tests.pool.program"], os.getpid)
    del made, own
    say(
        "looked",
        number=number,
        again=make_immortal(),
        counts=[sys.getrefcount(each) for each in parts],
        died=told() is None and weak() is None,
        works=Part().method()() is None,
    )


def test_what_modules_consist_of_is_not_counted_any_more_and_the_rest_dies(start_program: Any) -> None:
    """Functions that a call has made, and objects of any class, go when nobody has them any more."""
    (looked,) = start_program(make_and_look).wait_for("looked")

    assert looked.works
    assert looked.died
    if IS_KNOWN:
        assert looked.number > 1_000
        assert looked.again < looked.number / 10
        assert set(looked.counts) == {IMMORTAL}
    else:
        assert looked.number == 0
        assert max(looked.counts) < IMMORTAL


def test_an_interpreter_that_is_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written into objects whose layout is another release's business."""
    monkeypatch.setattr("pool.immortals._KNOWN", ())
    before = sys.getrefcount(Part)

    assert make_immortal() == 0
    assert sys.getrefcount(Part) == before
