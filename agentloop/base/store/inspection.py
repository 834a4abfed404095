"""Is the store whole, and how large is it: every hash derived anew, every reference followed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    Connection,
    LargeBinary,
    Table,
    cast,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType

from agentloop.base.records import Json, Row
from agentloop.base.records.dataset import CONTENT, content_hash
from agentloop.base.records.message import ROOT, Message, canonical, digest, node_id
from agentloop.base.store import tables as t
from agentloop.base.store.database import Database
from agentloop.base.store.datasets import ERASED, chain, erased_rows
from agentloop.base.store.ledger import Ledger
from agentloop.base.store.reading import PAGE, load
from agentloop.base.store.tables import unpacked


class Damage(NamedTuple):
    """Something stored that is not what was stored."""

    table: str
    key: str
    why: str


class Size(NamedTuple):
    """How large a table is."""

    rows: int
    content: int
    """Bytes of what its rows hold as JSON, as it is kept (compressed, where that saves something),
    without indexes and the database's own."""


class Stats(NamedTuple):
    """How large a store is."""

    bytes: int
    """On disk, indexes included."""
    tables: Mapping[str, Size]
    seen: int
    """Messages that model calls saw and said, counted for each call anew: what it would take to
    store every call by itself."""


def verify(database: Database, ledger: Ledger) -> Iterator[Damage]:
    """All damage there is. Memory does not grow with the store.

    The hashes of messages, media, nodes, tool sets, numberings and datasets are derived anew from
    what they are hashes of, and so are roles and depths; every reference is followed, and every
    trace is put together once. All but the datasets is seen in one state of the store; those never
    change.
    """
    with database.read() as connection:
        for why in database.unsound(connection):
            yield Damage("database", database.name, why)
        yield from _bodies(connection, t.media, _media_hash)
        yield from _bodies(connection, t.message, _message_hash)
        yield from _bodies(connection, t.toolset, _toolset_hash)
        yield from _numberings(connection)
        yield from _nodes(connection)
        for table in t.metadata.sorted_tables:
            for column in table.columns:
                for key in column.foreign_keys:
                    yield from _dangling(connection, column, key.column)
        yield from _dangling(connection, t.trace.c.tail, t.node.c.id)
        yield from _edges(connection)
        yield from _traces(connection)
        datasets = list(connection.scalars(select(t.dataset.c.id).order_by(t.dataset.c.id)))
    for id in datasets:
        yield from _dataset(database, ledger, id)


def stats(database: Database) -> Stats:
    """How large the store is."""
    sizes: dict[str, Size] = {}
    with database.read() as connection:
        for table in t.metadata.sorted_tables:
            columns: list[Any] = [func.count()]
            if "body" in table.c:
                columns.append(func.coalesce(func.sum(_bytes(database, table.c.body)), 0))
            rows, *content = connection.execute(select(*columns).select_from(table)).one()
            sizes[table.name] = Size(rows, int(content[0]) if content else 0)
        end = func.coalesce(t.call.c.output, t.call.c.context)
        seen = select(func.coalesce(func.sum(t.node.c.depth), 0)).join(t.call, t.node.c.id == end)
        return Stats(database.size(connection), sizes, int(connection.scalar(seen) or 0))


def _bytes(database: Database, column: Column[Any]) -> Any:
    if database.lite:
        return func.length(cast(column, LargeBinary))
    return func.octet_length(column)


def _message_hash(body: str) -> str:
    return digest(canonical(Message.of_json(body).to_dict()))


def _media_hash(body: str) -> str:
    return digest(body.encode())


def _toolset_hash(body: str) -> str:
    json.loads(body)
    return digest(body.encode())


def _bodies(connection: Connection, table: Table, hash_of: Any) -> Iterator[Damage]:
    for row in _stream(connection, select(table.c.hash, _kept(table).label("kept"))):
        try:
            found = hash_of(unpacked(row.kept))
        except (ValueError, ValidationError):
            yield Damage(table.name, row.hash, "its body cannot be read")
            continue
        if found != row.hash:
            yield Damage(table.name, row.hash, f"its body has the hash {found}")


def _kept(table: Table) -> Any:
    """A body as it stands in the database: damage to one must not end the search for more."""
    return type_coerce(table.c.body, NullType())


def _numberings(connection: Connection) -> Iterator[Damage]:
    earlier = t.numbering.alias("earlier")
    query = select(t.numbering, earlier.c.hash.label("there")).outerjoin(
        earlier, earlier.c.hash == t.numbering.c.before
    )
    for row in _stream(connection, query):
        if digest(row.before.encode(), row.body.encode()) != row.hash:
            yield Damage("numbering", row.hash, "it is not the hash of its ids and those before")
        if row.before != ROOT and row.there is None:
            yield Damage("numbering", row.hash, f"what comes before, {row.before}, is not there")


def _nodes(connection: Connection) -> Iterator[Damage]:
    above = t.node.alias("above")
    query = (
        select(t.node, above.c.depth.label("above"), _kept(t.message).label("kept"))
        .outerjoin(above, above.c.id == t.node.c.parent)
        .outerjoin(t.message, t.message.c.hash == t.node.c.message)
        .order_by(t.node.c.message)
    )
    for row in _stream(connection, query):
        if node_id(row.parent, row.message) != row.id:
            yield Damage("node", row.id, "it is not the hash of its parent and its message")
        if row.parent != ROOT and row.above is None:
            yield Damage("node", row.id, f"its parent {row.parent} is not there")
        elif row.depth != (row.above or 0) + 1:
            yield Damage("node", row.id, f"its depth is {(row.above or 0) + 1}, not {row.depth}")
        if row.kept is not None and (role := _role(row.kept)) not in (None, row.role):
            yield Damage("node", row.id, f"its message is of the role {role!r}, not {row.role!r}")


def _role(kept: Any) -> str | None:
    try:
        return Message.of_json(unpacked(kept)).role
    except (ValueError, ValidationError):  # told of the message itself
        return None


def _dangling(connection: Connection, column: Column[Any], target: Column[Any]) -> Iterator[Damage]:
    there = target.table.alias("there")
    keys = list(column.table.primary_key)
    query = (
        select(*keys, column.label("missing"))
        .outerjoin(there, there.c[target.name] == column)
        .where(column.isnot(None), there.c[target.name].is_(None))
    )
    for row in _stream(connection, query):
        *key, missing = row
        name = "/".join(map(str, key))
        yield Damage(
            column.table.name, name, f"{column.name}: there is no {target.table.name} {missing!r}"
        )


def _edges(connection: Connection) -> Iterator[Damage]:
    """A call leads from what the model saw to what it said."""
    query = (
        select(t.call.c.id, t.call.c.context, t.node.c.parent)
        .join(t.node, t.node.c.id == t.call.c.output)
        .where(t.node.c.parent != func.coalesce(t.call.c.context, literal(ROOT, t.Hash())))
    )
    for row in _stream(connection, query):
        yield Damage("call", row.id, "its output does not follow its context in the tree")


def _traces(connection: Connection) -> Iterator[Damage]:
    after = ""
    while True:
        query = select(t.trace.c.id).where(t.trace.c.id > after).order_by(t.trace.c.id).limit(PAGE)
        page = list(connection.scalars(query))
        if not page:
            return
        try:
            load(connection, page, trust=False)
        except Exception:  # noqa: BLE001 - which of them it is, and why, is found out one by one
            for id in page:
                yield from _trace(connection, id)
        after = page[-1]


def _trace(connection: Connection, id: str) -> Iterator[Damage]:
    try:
        load(connection, [id], trust=False)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is what is asked
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        yield Damage("trace", id, f"it cannot be put together: {said}")


def _dataset(database: Database, ledger: Ledger, id: str) -> Iterator[Damage]:
    with database.read() as connection:
        body = connection.scalar(select(t.dataset.c.body).where(t.dataset.c.id == id)) or ""
    try:
        stored = json.loads(body)
        manifest, gone = stored["manifest"], erased_rows(stored)
        found = _said(manifest) if gone else ledger.dataset(id).manifest
        with database.read() as connection:
            shas, others, erased = _rows(connection, id)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is what is asked
        yield Damage("dataset", id, f"it cannot be read: {type(error).__name__}")
        return
    whole = True
    for name in ("content_hash", "sha256"):
        if found[name] != manifest.get(name):
            whole = False
            yield Damage("dataset", id, f"its rows have another {name} than its manifest")
    if found["dataset"] != id:
        whole = False
        yield Damage("dataset", id, f"what it holds is {found['dataset']}")
    if gone and (chain(shas) != stored["erased"]["chain"] or erased != gone):
        yield Damage("dataset", id, "its rows, those that were erased too, are not what they were")
    for position in others if whole else ():
        yield Damage("dataset", id, f"row {position} has another hash than is said of it")


def _said(manifest: Json) -> Json:
    """What can be derived anew of a manifest whose rows are not all there."""
    content = content_hash(**{name: manifest[name] for name in CONTENT})
    return {
        "dataset": f"{manifest['method']}-{content[:12]}",
        "content_hash": content,
        "sha256": manifest["sha256"],
    }


class _Rows(NamedTuple):
    """Of a dataset: the hash of every row, the rows that have another one, how many are erased."""

    shas: list[str]
    others: list[int]
    erased: int


def _rows(connection: Connection, id: str) -> _Rows:
    row = t.dataset_row.c
    query = select(row.position, row.sha, row.body).where(row.dataset == id)
    shas, others, erased = [], [], 0
    for one in _stream(connection, query.order_by(row.position)):
        shas.append(one.sha)
        if one.body.startswith(ERASED):
            erased += 1
        elif Row.from_line(one.body).line_sha != one.sha:
            others.append(one.position)
    return _Rows(shas, others, erased)


def _stream(connection: Connection, query: Any) -> Iterator[Any]:
    """The rows of a query, some at a time."""
    with connection.execution_options(yield_per=1_000).execute(query) as result:
        yield from result
