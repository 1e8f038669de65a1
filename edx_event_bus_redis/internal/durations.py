"""Durations as people say them."""

from __future__ import annotations

# From how many seconds on a duration is told in a unit, that unit's seconds, and its name.
_UNITS = ((172_800.0, 86_400.0, "d"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"))


def duration(seconds: float) -> str:
    """Return a number of seconds in the unit that suits it: ``1.5 s``, ``40 s``, ``3 min``, ``5 h`` or ``2 d``."""
    for least, unit, name in _UNITS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    # Seldom more than a moment, and never a unit without need: 0 s is 0 s.
    return f"{seconds:.1f} s" if 0 < seconds < 9.95 and seconds != int(seconds) else f"{seconds:.0f} s"
