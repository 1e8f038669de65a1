"""
SQLite as Django has it, but that ``is_usable`` asks the database, as the backends of real servers do.

Closing the raw connection is what a server that drops it looks like from here: every later statement on it fails.
"""

import sqlite3

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc,unused-ignore] -- Django has no type information
    def is_usable(self) -> bool:
        try:
            self.connection.execute("SELECT 1")
        except sqlite3.Error:
            return False
        return True
