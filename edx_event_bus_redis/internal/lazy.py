"""Attributes that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 -- used like property
    """
    A method made an attribute: it is called when the attribute is first asked for, and what it returns is kept.

    Like ``functools.cached_property`` since Python 3.12. Before that it has a lock; one that a thread holds when its
    process forks stays locked in the child. Threads that ask at once may each make it.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value = instance.__dict__[self._name] = self._make(instance)
        return value
