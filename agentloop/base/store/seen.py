"""What has been seen, on disk: memory does not grow with how much there is of it."""

import sqlite3
from typing import NamedTuple, Self


class Sight(NamedTuple):
    """Where something was seen, and what it said."""

    line: int
    content: str


class Seen:
    """Names, each with where it was seen first; forgotten when it is closed. What it keeps is in a
    temporary file that nobody else sees."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("CREATE TABLE seen (name BLOB PRIMARY KEY, line, content) WITHOUT ROWID")
        self._file.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def first(self, name: str, sight: Sight) -> Sight:
        """Where `name` was seen first: `sight`, if never before."""
        key = name.encode(errors="surrogatepass")
        new = self._file.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (key, *sight))
        if new.rowcount:
            return sight
        return self.find(name) or sight

    def find(self, name: str) -> Sight | None:
        """Where `name` was seen first; None: never."""
        key = name.encode(errors="surrogatepass")
        found = self._file.execute("SELECT line, content FROM seen WHERE name = ?", (key,))
        return Sight(*row) if (row := found.fetchone()) else None
