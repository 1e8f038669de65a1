"""What the project is developed and tried out with. Nothing here is in the wheel."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

#: Where process ids, logs and data of the servers and consumers that are started from here are kept.
RUN_DIRECTORY = CHECKOUT / ".run"
