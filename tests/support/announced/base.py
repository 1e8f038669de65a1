"""SQLite as Django has it. Each process that loads this module leaves its id in a file beside the record."""

import os
from pathlib import Path

from django.db.backends.sqlite3.base import DatabaseWrapper

__all__ = ["DatabaseWrapper"]

with Path(os.environ["TEST_RECORD"] + ".loaded").open("a") as loaded:
    loaded.write(f"{os.getpid()}\n")
