"""Two datasets, row by row, by their hashes: neither is ever in memory.

Rows with one hash are one row. Of the others, two are the same row in another form when they were
made from the same calls, else when they were made from the same traces.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, Protocol

from agentloop.base.records import Difference, Json, Moved, RowPlace
from agentloop.base.records.difference import between, differing
from agentloop.base.store.datasets import Datasets, Stored

EXAMPLES = 20
"""So many rows of each kind are told one by one."""

PAGE = 500


class Side(Protocol):
    """A dataset, wherever its rows lie."""

    name: str
    manifest: Json

    def shas(self) -> Iterator[tuple[str, int, str]]:
        """File, line and hash of every row."""
        ...

    def rows(self, places: Iterable[tuple[str, int]]) -> Iterator[Stored]:
        """The rows at these places, in that order."""
        ...


class InLedger:
    """A dataset of the ledger.

    Raises:
        NotFound: there is none of that id.
    """

    def __init__(self, ledger: Datasets, id: str) -> None:
        self._ledger, self.name = ledger, id
        self.manifest = ledger.manifest(id)

    def shas(self) -> Iterator[tuple[str, int, str]]:
        return self._ledger.shas(self.name)

    def rows(self, places: Iterable[tuple[str, int]]) -> Iterator[Stored]:
        return self._ledger.rows(self.name, places)


def compare(a: Side, b: Side, *, examples: int = EXAMPLES) -> Difference:
    """What lies between two datasets; of each kind of row, `examples` are told."""
    with _Both() as both:
        both.take("a", a)
        both.take("b", b)
        both.match()
        changed = both.pairs("changed", examples)
        bodies = [[*side.rows([pair[n] for pair in changed])] for n, side in enumerate((a, b))]
        return Difference(
            a=a.name,
            b=b.name,
            both=both.count("same"),
            moved=both.count("moved"),
            changed=both.count("changed"),
            only_a=both.count("only_a"),
            only_b=both.count("only_b"),
            moved_rows=tuple(
                Moved(a=_place(one), b=_place(other))
                for one, other in both.pairs("moved", examples)
            ),
            changed_rows=tuple(
                Moved(a=one.place, b=other.place, what=_what(one, other))
                for one, other in zip(*bodies, strict=True)
            ),
            only_a_rows=tuple(r.place for r in a.rows(both.alone("only_a", examples))),
            only_b_rows=tuple(r.place for r in b.rows(both.alone("only_b", examples))),
            recipe=between(_recipe(a.manifest), _recipe(b.manifest)),
            refused=_counts(a.manifest["refused"], b.manifest["refused"]),
            funnel=_counts(a.manifest["funnel"], b.manifest["funnel"]),
        )


def _recipe(manifest: Json) -> Json:
    return {**{k: manifest[k] for k in ("method", "agents", "grader")}, **manifest["recipe"]}


def _counts(a: Json, b: Json) -> dict[str, tuple[int, int]]:
    return {key: (one or 0, other or 0) for key, (one, other) in between(a, b).items()}


def _place(place: tuple[str, int]) -> RowPlace:
    return RowPlace(file=place[0], line=place[1])


def _what(a: Stored, b: Stored) -> tuple[str, ...]:
    if a.row is None or b.row is None:
        return ("erased",)
    return differing(a.row.body, b.row.body)


# Shards have other names than whole files; they all begin with the side, of five letters.
_MATCH = """
CREATE TABLE numbered AS
  SELECT rowid AS id, side, file, line, sha,
         row_number() OVER (PARTITION BY side, sha ORDER BY file, line) AS nth FROM entry;
CREATE INDEX by_sha ON numbered (sha, nth, side);
CREATE TABLE same AS
  SELECT a.file AS file_a, a.line AS line_a, b.file AS file_b, b.line AS line_b,
         a.id AS id_a, b.id AS id_b
  FROM numbered a JOIN numbered b ON b.sha = a.sha AND b.nth = a.nth AND b.side = 'b'
  WHERE a.side = 'a';
CREATE VIEW moved AS SELECT * FROM same WHERE substr(file_a, 1, 5) <> substr(file_b, 1, 5);
CREATE TABLE rest AS
  SELECT rowid AS id, side, file, line FROM entry
  WHERE rowid NOT IN (SELECT id_a FROM same UNION ALL SELECT id_b FROM same);
CREATE TABLE origin (id INTEGER PRIMARY KEY, key BLOB);
CREATE TABLE changed (file_a, line_a, file_b, line_b, id_a, id_b);
CREATE VIEW only_a AS SELECT file, line FROM rest WHERE side = 'a';
CREATE VIEW only_b AS SELECT file, line FROM rest WHERE side = 'b';
"""

_PAIR = """
INSERT INTO changed
  WITH keyed AS (
    SELECT rest.*, key, row_number() OVER (PARTITION BY side, key ORDER BY file, line) AS nth
    FROM rest JOIN origin USING (id))
  SELECT a.file, a.line, b.file, b.line, a.id, b.id
  FROM keyed a JOIN keyed b ON b.key = a.key AND b.nth = a.nth AND b.side = 'b'
  WHERE a.side = 'a';
DELETE FROM rest WHERE id IN (SELECT id_a FROM changed UNION ALL SELECT id_b FROM changed);
DELETE FROM origin;
"""


class _Both:
    """The hashes of two datasets, in a temporary file that nobody else sees."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("CREATE TABLE entry (side TEXT, file TEXT, line INTEGER, sha BLOB)")
        self._sides: dict[str, Side] = {}

    def __enter__(self) -> "_Both":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, name: str, side: Side) -> None:
        self._sides[name] = side
        self._file.execute("BEGIN")
        self._file.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?)",
            ((name, file, line, bytes.fromhex(sha)) for file, line, sha in side.shas()),
        )
        self._file.execute("COMMIT")

    def match(self) -> None:
        """Find what is the same, and what is the same but for what it says."""
        self._file.executescript(_MATCH)
        for made_from in ("calls", "traces"):
            for name, side in self._sides.items():
                self._tell_origins(name, side, made_from)
            self._file.executescript(_PAIR)

    def _tell_origins(self, name: str, side: Side, made_from: str) -> None:
        query = "SELECT id, file, line FROM rest WHERE side = ? ORDER BY id"
        rest = iter(self._file.execute(query, (name,)).fetchall())
        while some := list(islice(rest, PAGE)):
            rows = side.rows((file, line) for _, file, line in some)
            keys = (
                (id, _key(getattr(stored.row, made_from)))
                for (id, _, _), stored in zip(some, rows, strict=True)
                if stored.row is not None and getattr(stored.row, made_from)
            )
            self._file.executemany("INSERT INTO origin VALUES (?, ?)", keys)

    def count(self, table: str) -> int:
        found: int = self._all(f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608 - our own names
        return found

    def pairs(self, table: str, most: int) -> list[tuple[tuple[str, int], tuple[str, int]]]:
        """Places in a and in b."""
        query = f"SELECT * FROM {table} ORDER BY file_a, line_a LIMIT {most:d}"  # noqa: S608
        return [((row[0], row[1]), (row[2], row[3])) for row in self._all(query)]

    def alone(self, table: str, most: int) -> list[tuple[str, int]]:
        """Places in one alone."""
        query = f"SELECT * FROM {table} ORDER BY file, line LIMIT {most:d}"  # noqa: S608
        return [(row[0], row[1]) for row in self._all(query)]

    def _all(self, query: str) -> list[Any]:
        return self._file.execute(query).fetchall()


def _key(ids: Sequence[str]) -> bytes:
    return sha256("\0".join(ids).encode(errors="surrogatepass")).digest()
