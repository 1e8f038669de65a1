"""
The benchmark: ``python -m perf`` runs it, ``make perf`` and ``make perf-peers`` make what it needs and run all of it.

Both sides of each comparison run in one run, on one server, in turns. How fast events are consumed is taken from Redis
(entries read, less those pending), never from what a consumer says of itself. Nothing here is in the wheel.
"""

from pathlib import Path

PERF = Path(__file__).resolve().parent
CHECKOUT = PERF.parent

#: Where results are kept; they are committed.
RESULTS = PERF / "results"

#: Where virtual environments are kept that only the benchmark needs.
ENVIRONMENTS = CHECKOUT / ".perf"
