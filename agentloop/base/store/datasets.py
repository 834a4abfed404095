"""Datasets, row by row: what they hold, where that came from, and what has changed since."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, distinct, func, select

from agentloop.base.errors import NotFound, RecordError, StoreBusy
from agentloop.base.records import Dataset, Json, Mark, Reason, Refused, Row, RowPlace, now
from agentloop.base.records.message import verbatim
from agentloop.base.store import changes
from agentloop.base.store import tables as t
from agentloop.base.store.changes import Point
from agentloop.base.store.database import Database

ROWS = 500
"""Rows of a dataset that are written, or read, at a time."""

FILES = ("train.jsonl", "valid.jsonl")


class RowLine(NamedTuple):
    """A row on its way to the store."""

    record: str
    """The row as `Row.to_line` has it."""
    sha256: str
    """Of its line in the file, in hexadecimal."""
    traces: Sequence[str]


class Stored(NamedTuple):
    """A row as it is stored."""

    place: RowPlace
    sha256: str
    row: Row | None
    """None: what it said was erased."""


class Lesson(NamedTuple):
    """A row that a trace gave, and the versions that learned from it."""

    dataset: str
    place: RowPlace
    versions: tuple[str, ...]


class Datasets:
    """The datasets of a store. None is ever changed; one of which rows were erased says so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ------------------------------------------------------------------ in

    def point(self) -> Point:
        """Now: to be asked before a harvest reads, and told when its dataset is put."""
        return changes.point(self._database)

    def put_dataset(self, dataset: Dataset, *, as_of: Point | None = None) -> None:
        """Write a dataset down, rows and all; one that is there already stays as it is."""
        rows = (
            RowLine(row.to_line(), row.line_sha, row.traces)
            for row in (*dataset.rows, *dataset.valid)
        )
        self.put_rows(dataset.manifest, rows, dataset.refused, as_of=as_of)

    def put_rows(
        self,
        manifest: Json,
        rows: Iterable[RowLine],
        refused: Iterable[Refused],
        *,
        as_of: Point | None = None,
    ) -> None:
        """Write a dataset down that is not in memory, in one transaction.

        Of one that is there already it is noted that a harvest would give it again today.

        Args:
            rows: those that train first.
            as_of: when the harvest began to read; by default now.

        Raises:
            StoreBusy: somebody was erased while it was harvested.
        """
        as_of = as_of or self.point()
        id = manifest["dataset"]
        told = [json.loads(one.to_line()) for one in refused]
        row = {
            "id": id,
            "method": manifest["method"],
            "created_at": now(),
            "as_of": as_of.change,
            "body": verbatim({"manifest": manifest, "refused": told}).decode(),
        }
        with self._database.write() as connection:
            if changes.enter(self._database, connection) != as_of.erasure:
                raise StoreBusy(
                    "somebody was erased while this was harvested, and may be in it; nothing was "
                    "written down: harvest again"
                )
            if self._there(connection, id, as_of):
                return
            self._database.add(connection, t.dataset, [row])
            numbered = enumerate(rows)
            while some := list(islice(numbered, ROWS)):
                self._put_some(connection, id, some)

    def _there(self, connection: Connection, id: str, as_of: Point) -> bool:
        dataset = t.dataset.c
        found = connection.execute(select(dataset.as_of, dataset.body).where(dataset.id == id))
        row = found.first()
        if row is None:
            return False
        if erased_rows(json.loads(row.body)):  # what was erased has come back to the store
            for table, column in (
                (t.dataset_trace, t.dataset_trace.c.dataset),
                (t.dataset_row, t.dataset_row.c.dataset),
                (t.dataset, dataset.id),
            ):
                connection.execute(table.delete().where(column == id))
            return False
        if as_of.change > row.as_of:
            later = t.dataset.update().where(dataset.id == id).values(as_of=as_of.change)
            connection.execute(later)
        return True

    def _put_some(
        self, connection: Connection, id: str, some: Sequence[tuple[int, RowLine]]
    ) -> None:
        bodies = [
            {"dataset": id, "position": n, "sha": row.sha256, "body": row.record} for n, row in some
        ]
        made_from = [
            {"dataset": id, "position": n, "trace_id": trace}
            for n, row in some
            for trace in dict.fromkeys(row.traces)
        ]
        self._database.add(connection, t.dataset_row, bodies)
        self._database.add(connection, t.dataset_trace, made_from)

    # ------------------------------------------------------------------ out

    def dataset(self, id: str) -> Dataset:
        """The dataset of that id, whole.

        Raises:
            NotFound: there is none.
            RecordError: rows of it were erased, so it is no longer what was harvested.
        """
        stored = self._stored(id)
        manifest = stored["manifest"]
        if gone := erased_rows(stored):
            raise RecordError(
                f"dataset {id!r} is not to be trained on: of its {_rows(manifest)} rows {gone} "
                f"were erased; `agentloop harvest --update {id} --out DIR` makes the next version"
            )
        query = select(t.dataset_row.c.body).where(t.dataset_row.c.dataset == id)
        with self._database.read() as connection:
            lines = connection.scalars(query.order_by(t.dataset_row.c.position)).all()
        rows = [Row.from_line(line) for line in lines]
        return Dataset(
            method=manifest["method"],
            agents=manifest["agents"],
            recipe=manifest["recipe"],
            grader=manifest["grader"],
            parent=manifest["parent"],
            traces_read=manifest["funnel"]["traces"],
            considered=manifest["funnel"]["considered"],
            rows=tuple(row for row in rows if row.split == "train"),
            valid=tuple(row for row in rows if row.split == "valid"),
            refused=tuple(Refused.of(refused) for refused in stored["refused"]),
        )

    def manifest(self, id: str) -> Json:
        """What the manifest of a dataset says, or `NotFound`. Its rows are not read."""
        manifest: Json = self._stored(id)["manifest"]
        return manifest

    def manifests(self) -> Iterator[Json]:
        """The manifest of every dataset, oldest first, with `created_at`."""
        query = select(t.dataset.c.body, t.dataset.c.created_at).order_by(
            t.dataset.c.created_at, t.dataset.c.id
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        for body, created_at in rows:
            yield {**json.loads(body)["manifest"], "created_at": created_at.isoformat()}

    def _stored(self, id: str) -> Json:
        with self._database.read() as connection:
            body = connection.scalar(select(t.dataset.c.body).where(t.dataset.c.id == id))
        if body is None:
            raise NotFound(f"no dataset {id!r}; `agentloop data list` shows what there is")
        stored: Json = json.loads(body)
        return stored

    # ------------------------------------------------------------------ rows

    def shas(self, id: str) -> Iterator[tuple[str, int, str]]:
        """File, line and hash of every row, those that train first."""
        train = self.manifest(id)["rows"]["train"]
        row = t.dataset_row.c
        query = select(row.position, row.sha).where(row.dataset == id).order_by(row.position)
        with self._database.read() as connection:
            for position, sha in connection.execution_options(yield_per=1_000).execute(query):
                file, line = _place(position, train)
                yield file, line, sha

    def rows(self, id: str, places: Iterable[tuple[str, int]]) -> Iterator[Stored]:
        """The rows at these places (file, and line from 1), in that order.

        Raises:
            NotFound: there is no such dataset, or no such place in it.
        """
        train = self.manifest(id)["rows"]["train"]
        wanted = iter(places)
        while some := list(islice(wanted, ROWS)):
            positions = [_position(*place, train) for place in some]
            row = t.dataset_row.c
            query = select(row.position, row.sha, row.body)
            query = query.where(row.dataset == id, row.position.in_(positions))
            with self._database.read() as connection:
                found = {one.position: one for one in connection.execute(query)}
            for (file, line), position in zip(some, positions, strict=True):
                if position not in found:
                    raise NotFound(f"dataset {id!r} has no line {line} in {file}")
                yield _stored(found[position], file, line)

    def find_row(self, id: str, name: str) -> Stored:
        """The row that is called so: a line of `train.jsonl` (`12`), of a file (`valid:3`), or the
        first digits, at least 6, of the hash of its line.

        Raises:
            NotFound: there is no such row, or the digits fit several.
        """
        file, _, line = name.rpartition(":")
        if line.isdecimal() and (file or len(line) < SHORTEST):
            whole = f"{(file or 'train').removesuffix('.jsonl')}.jsonl"
            if whole not in FILES:
                raise NotFound(f"no file {whole!r} in a dataset; it has {' and '.join(FILES)}")
            return next(self.rows(id, [(whole, int(line))]))
        fits = (
            [(file, line) for file, line, sha in self.shas(id) if sha.startswith(name.lower())]
            if len(name) >= SHORTEST
            else []
        )
        if len(fits) != 1:
            raise NotFound(
                f"{len(fits) or 'no'} rows of dataset {id!r} are called {name!r}; name a line "
                "(12, valid:3) or more digits of a row's sha256"
            )
        return next(self.rows(id, fits))

    # ------------------------------------------------------------------ lineage

    def traces_of(self, id: str) -> tuple[str, ...]:
        """The traces that a dataset was made from, in the order of its rows; what was erased is
        not among them."""
        of = t.dataset_trace.c
        query = select(of.trace_id).where(of.dataset == id).order_by(of.position, of.trace_id)
        with self._database.read() as connection:
            return tuple(dict.fromkeys(connection.scalars(query)))

    def learned_from(self, trace_id: str) -> tuple[str, ...]:
        """The datasets that have a row made from that trace."""
        query = select(t.dataset_trace.c.dataset).where(t.dataset_trace.c.trace_id == trace_id)
        with self._database.read() as connection:
            return tuple(sorted(set(connection.scalars(query))))

    def lessons(self, trace_id: str) -> Iterator[Lesson]:
        """The rows that were made from a trace, dataset by dataset, oldest first."""
        of = t.dataset_trace.c
        query = (
            select(of.dataset, of.position)
            .join(t.dataset, t.dataset.c.id == of.dataset)
            .where(of.trace_id == trace_id)
            .order_by(t.dataset.c.created_at, of.dataset, of.position)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        learned = self.learners()
        trains = {id: self.manifest(id)["rows"]["train"] for id in {row.dataset for row in rows}}
        for dataset, position in rows:
            file, line = _place(position, trains[dataset])
            place = RowPlace(file=file, line=line, trace=trace_id)
            yield Lesson(dataset, place, learned.get(dataset, ()))

    def learners(self) -> Mapping[str, tuple[str, ...]]:
        """Dataset -> the versions that were trained on it, or from one that was."""
        with self._database.read() as connection:
            return learners(connection)

    # ------------------------------------------------------------------ marks

    def marks(self) -> Mapping[str, tuple[Mark, ...]]:
        """Dataset -> what has changed since its harvest began; those without a mark are left out.

        What a later harvest has found to give the same rows is no change.
        """
        of, dataset, change = t.dataset_trace.c, t.dataset.c, t.change.c
        rows = func.count(distinct(of.position))
        newer = (
            select(dataset.id, change.what, rows.label("rows"))
            .select_from(t.change)
            .join(t.dataset_trace, of.trace_id == change.trace_id)
            .join(t.dataset, dataset.id == of.dataset)
            .where(change.seq > dataset.as_of)
            .group_by(dataset.id, change.what)
        )
        with self._database.read() as connection:
            counted = {(row.id, row.what): row.rows for row in connection.execute(newer)}
            bodies = connection.execute(select(dataset.id, dataset.body)).all()
        marked: dict[str, tuple[Mark, ...]] = {}
        for id, body in bodies:
            stored = json.loads(body)
            counted[id, Reason.ERASED] = erased_rows(stored)
            found = [
                Mark(reason=reason, rows=n, total=_rows(stored["manifest"]))
                for reason in Reason
                if (n := counted.get((id, reason.value), 0))
            ]
            if found:
                marked[id] = tuple(found)
        return marked

    def version_marks(self) -> Mapping[str, Mapping[str, tuple[Mark, ...]]]:
        """Version -> dataset -> its marks: of all datasets that it, or what it was trained from,
        learned from."""
        marked, found = self.marks(), defaultdict[str, dict[str, tuple[Mark, ...]]](dict)
        for dataset, versions in self.learners().items():
            for version in versions if dataset in marked else ():
                found[version][dataset] = marked[dataset]
        return found


SHORTEST = 6
"""Digits of a hash that may stand for it."""


def erased_rows(stored: Mapping[str, Any]) -> int:
    """How many rows a stored dataset lost to erasures."""
    return int(stored.get("erased", {}).get("rows", 0))


def chain(shas: Iterable[str]) -> str:
    """A hash of the hashes of all rows, in order: it holds whether or not rows were erased."""
    all_of_them = sha256()
    for sha in shas:
        all_of_them.update(bytes.fromhex(sha))
    return all_of_them.hexdigest()


def _rows(manifest: Mapping[str, Any]) -> int:
    return sum(manifest["rows"].values())


def _place(position: int, train: int) -> tuple[str, int]:
    return (FILES[0], position + 1) if position < train else (FILES[1], position - train + 1)


def _position(file: str, line: int, train: int) -> int:
    if file == FILES[0]:
        return line - 1 if 0 < line <= train else -1
    return train + line - 1 if line > 0 else -1


def _stored(row: Any, file: str, line: int) -> Stored:
    said = None if row.body.startswith(ERASED) else Row.from_line(row.body)
    trace = said.traces[0] if said and said.traces else None
    return Stored(RowPlace(file=file, line=line, trace=trace), row.sha, said)


ERASED = '{"erased":true'
"""How the record of a row begins that lost what it said."""


def learners(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Dataset -> the versions that were trained on it, or from one that was."""
    version = t.version.c
    bodies = connection.scalars(select(version.body).order_by(version.created_at, version.id))
    versions = {said["id"]: said for said in map(json.loads, bodies)}
    learned: dict[str, list[str]] = defaultdict(list)
    for id in versions:
        for dataset in _ancestry(id, versions):
            learned[dataset].append(id)
    return {dataset: tuple(ids) for dataset, ids in learned.items()}


def _ancestry(version: str, versions: Mapping[str, Json]) -> Iterator[str]:
    """The datasets that a version learned from, its own first."""
    seen: set[str] = set()
    after: str | None = version
    while after is not None and after in versions and after not in seen:
        seen.add(after)
        said = versions[after]
        if said.get("dataset"):
            yield said["dataset"]
        after = said.get("parent")
