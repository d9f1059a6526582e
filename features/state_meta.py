"""The numbers that the feature state keeps about itself, by name: the table `meta`."""

import sqlite3


class Meta:
    """Read and set in the transaction that is open."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def all(self) -> dict[str, int]:
        """Return every number by its name."""
        return dict(self._db.execute("SELECT name, value FROM meta").fetchall())

    def set(self, name: str, value: int) -> None:
        """Set a number that is there."""
        self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def next(self, name: str) -> int:
        """Return the next of a row of numbers."""
        number = int(self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]) + 1
        self.set(name, number)
        return number
