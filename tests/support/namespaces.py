"""A network that the kernel makes: a namespace of its own, and a cable to the server."""

import functools
import itertools
import os
import subprocess
from typing import Self

# Names of interfaces are short, and known to the whole machine.
_numbers = itertools.count()


class Namespace:
    """
    A network namespace with one interface, whose other end is here. As a context manager it is there in between.

    Attributes:
        address: of this end; a server has to listen there.
        port: of the server there, to be set when it is known.
    """

    def __init__(self) -> None:
        number = next(_numbers)
        self._name = f"bus{os.getpid()}-{number}"
        self._near, self._far = f"b{os.getpid()}n{number}", f"b{os.getpid()}f{number}"
        # Of 198.18.0.0/15, which is for tests of networks (RFC 2544).
        net = (os.getpid() * 16 + number % 16) % 32_768
        base = f"198.{18 + net // 16_384}.{net // 64 % 256}"
        self.address, self._host = (f"{base}.{net % 64 * 4 + end}" for end in (1, 2))
        self.port = 0

    @property
    def url(self) -> str:
        """What ``EVENT_BUS_REDIS_CONNECTION_URL`` takes."""
        return f"redis://{self.address}:{self.port}/0"

    @property
    def within(self) -> tuple[str, ...]:
        """A command that runs another one, which comes behind it, in this network."""
        return ("ip", "netns", "exec", self._name)

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._name)
            _ip("address", "add", f"{self.address}/30", "dev", self._near)
            _ip("link", "set", self._near, "up")
            _ip("-n", self._name, "address", "add", f"{self._host}/30", "dev", self._far)
            _ip("-n", self._name, "link", "set", self._far, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The cable goes with it.
        _ip("netns", "delete", self._name)

    def swallow(self) -> None:
        """Pull the cable."""
        _ip("link", "set", self._near, "down")

    def deafen(self) -> None:
        """Lose whatever is sent from here."""
        _ip("route", "add", "blackhole", f"{self._host}/32")

    def normal(self) -> None:
        """Undo both."""
        _ip("link", "set", self._near, "up")
        if _ip("route", "show", "type", "blackhole", f"{self._host}/32"):
            _ip("route", "delete", "blackhole", f"{self._host}/32")


@functools.cache
def why_no_namespaces() -> str | None:
    """Return why there can be no namespaces here, None if there can."""
    try:
        with Namespace():
            return None
    except OSError as error:
        return f"ip: {error}"
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip()


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout
