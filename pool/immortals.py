"""
What a program consists of, made immortal before it is forked: functions, classes, code.

Whoever calls a function counts references to it, in the object itself. In a forked child that costs a copy of the page
that it shares with its parent and its siblings, for a number that is back to what it was when the call is over. Since
Python 3.12 the references of an object that never dies, as ``None``, are not counted. Nothing of a module dies before
its process either.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

# The releases whose way to tell an immortal object is known here: the lower half of its count has all bits set (PEP
# 683). Before them there were none, and 3.14 has flags in the same place.
_KNOWN = ((3, 12), (3, 13))
_IMMORTAL = 2**32 - 1

# What refers to nothing but its module or its class.
_PARTS = (type, ModuleType, MethodDescriptorType, WrapperDescriptorType, MemberDescriptorType, GetSetDescriptorType)


def make_immortal() -> int:
    """
    Make all modules, their classes, and the functions of both immortal; return how many objects that were.

    Nothing is done on an interpreter of which it is not known how.
    """
    if not _is_known():
        return 0
    number = 0
    for each in _parts_of_modules():
        count = ctypes.c_ssize_t.from_address(id(each))
        if count.value < _IMMORTAL:
            count.value = _IMMORTAL
            number += 1
    return number


def _is_known() -> bool:
    return (
        sys.implementation.name == "cpython"
        and sys.version_info[:2] in _KNOWN
        and sys.maxsize > 2**32
        # Neither one for debugging nor one without the global lock: they have more in an object.
        and not sys.abiflags
        and ctypes.c_ssize_t.from_address(id(None)).value == _IMMORTAL
    )


def _parts_of_modules() -> Iterator[object]:
    for each in gc.get_objects():
        if isinstance(each, _PARTS) or (
            isinstance(each, BuiltinFunctionType) and isinstance(each.__self__, ModuleType)
        ):
            yield each
        # One that a call of another has made may be meant to die, such as a receiver that its signal holds weakly.
        elif isinstance(each, FunctionType) and "<locals>" not in each.__qualname__:
            yield each
            yield from _with_inner(each.__code__)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _with_inner(each)
