"""What the demo tells its own Django settings, and those of the consumer that it starts, through the environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

TOPIC = "campus"
GROUP = "registry"

_VARIABLE = "EVENT_BUS_DEMO"


@dataclass(frozen=True)
class Surroundings:
    """
    Where a process of the demo finds things.

    Arguments:
        url: of the server.
        prefix: of the topic, which no other run of the demo has.
        directory: for files of this run.
        demo: id of the demo's own process.
        consumes: whether this is for the consumer.
    """

    url: str
    prefix: str
    directory: str
    demo: int
    consumes: bool = False

    @classmethod
    def from_environment(cls) -> Surroundings:
        """Return the surroundings of this process."""
        return cls(**json.loads(os.environ[_VARIABLE]))

    def environment(self) -> dict[str, str]:
        """Return what must be in the environment of the process."""
        return {"DJANGO_SETTINGS_MODULE": "devtools.demo.settings", _VARIABLE: json.dumps(asdict(self))}

    @property
    def stream(self) -> str:
        """Key of the stream."""
        return f"{self.prefix}-{TOPIC}"

    @property
    def log(self) -> Path:
        """The log of the process."""
        return Path(self.directory) / ("consumer.log" if self.consumes else "sender.log")

    @property
    def record(self) -> Path:
        """Where the receivers of the consumer leave word of what they do."""
        return Path(self.directory) / "record"
