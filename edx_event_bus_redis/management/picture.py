"""What a watch has seen and has to show."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from edx_event_bus_redis.internal.findings import Finding
from edx_event_bus_redis.internal.progress import Look


@attrs.frozen
class Trouble:
    """What is wrong with the server, in one line, and since when, in unix seconds."""

    text: str
    since: float


@attrs.frozen
class Picture:
    """
    What there is to be shown.

    Attributes:
        time: now, in unix seconds.
        interval: seconds between two looks.
        look: what was seen last, None if nothing ever was.
        before: what it is to be compared with, None if there is nothing yet.
        findings: what is wrong, the worst first.
        trouble: why nothing newer was seen, None if all is well with the server.
    """

    time: float
    interval: float
    look: Look | None
    before: Look | None
    findings: Sequence[Finding]
    trouble: Trouble | None
