"""Waiting for something to become true, never for a time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, timeout: float = 30.0, what: str = "") -> T:
    """Return the condition's value as soon as it is true; fail the test if that takes longer than the timeout."""
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not true within {timeout} s: {what or condition} (last value: {value!r})")
        # What takes long to ask, such as a long record, is asked less often: others need the processors.
        time.sleep(max(0.01, 5 * (now - began)))
