"""Functions that are written by the program: their source, and the objects that it speaks of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """
    The body of a function in the making.

    Attributes:
        lines: so far.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._depth = 1
        self._counts: dict[str, int] = {}
        self._objects: dict[str, Any] = {}

    def add(self, *lines: str) -> None:
        """Add lines at the present depth."""
        self.lines.extend("    " * self._depth + line for line in lines)

    @contextmanager
    def block(self, opening: str) -> Iterator[None]:
        """Add a line that opens a block, such as ``else:``; what is added within goes into the block."""
        self.add(opening)
        self._depth += 1
        yield
        self._depth -= 1

    def new_name(self, prefix: str) -> str:
        """Return a name that the function does not use yet."""
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}_{self._counts[prefix]}"

    def name_of(self, prefix: str, value: Any) -> str:
        """Return the name by which the function reaches an object."""
        for name, known in self._objects.items():
            if known is value and name.startswith(prefix):
                return name
        name = self.new_name(prefix)
        self._objects[name] = value
        return name

    def compile(self, name: str, parameter: str, objects: dict[str, Any]) -> Callable[[Any], Any]:
        """
        Return the function.

        Arguments:
            name: of the function, for tracebacks.
            parameter: the name of its one parameter.
            objects: more that it reaches by name.
        """
        text = "\n".join([f"def {name}({parameter}):", *self.lines])
        namespace = {**objects, **self._objects}
        # As attrs does for __init__. The text consists of the lines of this package and of identifiers from signals.
        exec(compile(text, f"<{name} of edx_event_bus_redis>", "exec"), namespace)  # noqa: S102
        function: Callable[[Any], Any] = namespace[name]
        return function
