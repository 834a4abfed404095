"""Erasing a user: whatever the store holds of their runs, and their words on the runs of others.

What goes: the user's traces with calls, steps, opinions and outcomes; messages, nodes, media, tool
sets and ids that nobody else's run has, too; rows of datasets that were made from these traces, or
that teach what the user wrote. What stays: the manifest of such a dataset, and the hash of each
row; scores that the user gave to runs of others, under a pseudonym, without comment or correction.

All of it is one transaction: it is done, or nothing has changed. It reads the whole tree once, and
whoever writes meanwhile waits (a run never does: its writer keeps a journal).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Select,
    Table,
    exists,
    func,
    select,
    union,
)

from agentloop.base.errors import NotFound
from agentloop.base.records import Erasure, Reason, now
from agentloop.base.records.media import REFERENCE, references
from agentloop.base.records.message import ROOT, verbatim
from agentloop.base.store import changes
from agentloop.base.store import tables as t
from agentloop.base.store.database import Database
from agentloop.base.store.datasets import ERASED, chain, learners

PAGE = 500

_here = MetaData()


def _set(name: str, kind: Any) -> Table:
    """A table of keys that lives as long as the transaction."""
    return Table(
        name,
        _here,
        Column("id", kind, primary_key=True),
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )


TRACE, NODE, MESSAGE = (
    _set("gone_trace", t.Id),
    _set("gone_node", t.Hash),
    _set("gone_said", t.Hash),
)
KEPT, MEDIA = _set("kept_node", t.Hash), _set("gone_media", t.Hash)
TOOLSET, NUMBERS = _set("gone_tools", t.Hash), _set("gone_ids", t.Hash)
ROW = Table(
    "gone_row",
    _here,
    Column("dataset", t.Id, primary_key=True),
    Column("position", Integer, primary_key=True),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)

REFERRED = [
    *(t.node.c.parent, t.node.c.message, t.call.c.output, t.call.c.toolset),
    *(t.opinion.c.node, t.opinion.c.author, t.trace.c.tail),
]
"""Columns that have no index: one of each is made for an erasure, and dropped with it. Kept, they
would cost every call that is stored; without, each node that goes would be looked for in all."""


def erase(database: Database, user: str, *, confirm: bool) -> Erasure:
    """Erase a user. Without `confirm` nothing is changed: the answer says what would go.

    Raises:
        NotFound: nothing here is that user's.
        StoreBusy: somebody else writes for long; nothing has changed.
    """
    try:
        done = _erased(database, user, confirm)
    except _Shown as shown:
        return shown.what
    return done.model_copy(update={"left": tuple(_left(database, done))})


def _erased(database: Database, user: str, confirm: bool) -> Erasure:
    with database.write() as connection:
        changes.enter(database, connection, alone=True)
        with _tools(database, connection):
            done = _Erasing(connection, user).erase(confirm)
        if not confirm:
            raise _Shown(done)  # and all is as it was
        log = done.model_dump(mode="json", exclude={"user", "done", "left"})
        said = {"at": now(), "body": verbatim(log).decode()}
        connection.execute(t.erasure.insert(), [said])
    return done


class _Shown(Exception):
    """What would go is known, and nothing is to be changed."""

    def __init__(self, what: Erasure) -> None:
        super().__init__(what)
        self.what = what


@contextmanager
def _tools(database: Database, connection: Connection) -> Iterator[None]:
    """Tables and indexes that are there for the erasure alone."""
    if database.lite:  # what is deleted is overwritten
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    _here.create_all(connection, checkfirst=False)
    for column in REFERRED:
        table, name = column.table.name, column.name
        connection.exec_driver_sql(f'CREATE INDEX "erase_{table}_{name}" ON "{table}" ("{name}")')
    yield
    for column in REFERRED:
        connection.exec_driver_sql(f'DROP INDEX "erase_{column.table.name}_{column.name}"')
    if database.lite:
        _here.drop_all(connection, checkfirst=False)
        connection.exec_driver_sql("PRAGMA secure_delete = OFF")


def _left(database: Database, done: Erasure) -> Iterator[str]:
    if not database.lite:
        yield (
            "PostgreSQL keeps deleted rows in its pages until VACUUM FULL has rewritten them, and "
            "in its write-ahead log and backups"
        )
    elif (why := database.scrub()) is not None:
        yield f"the file was not rewritten ({why}), so parts of it may hold what stood there"
    if done.rows:
        yield "files of these datasets that were written or uploaded elsewhere"
    if done.versions:
        yield f"the weights of {', '.join(done.versions)}: train and release a next version"


class _Erasing:
    """One erasure, in its transaction."""

    def __init__(self, connection: Connection, user: str) -> None:
        self._connection, self._user = connection, user
        self._gone: Counter[str] = Counter()
        self._words: list[Any] = []
        """The opinions on runs of others that lose their words."""

    def erase(self, confirm: bool) -> Erasure:
        user, run = self._user, self._run
        run(TRACE.insert().from_select(["id"], select(t.trace.c.id).where(t.trace.c.user == user)))
        self._find_opinions()
        if not (self._count(TRACE) or self._words):
            raise NotFound(f"nothing in this store is of a user {user!r}")
        self._find_nodes()
        self._find_tools_and_ids()
        self._find_rows()
        rows = self._erase_rows()
        renamed = self._erase_words()
        self._erase_runs()
        self._erase_nodes()
        self._erase_unused()
        gone, learned = self._gone, learners(self._connection)
        return Erasure(
            user=user,
            done=confirm,
            traces=gone["trace"],
            calls=gone["call"],
            opinions=gone["opinion"],
            outcomes=gone["outcome"],
            messages=gone["message"],
            media=gone["media"],
            renamed=renamed,
            rows=rows,
            versions=tuple(dict.fromkeys(v for id in rows for v in learned.get(id, ()))),
        )

    # ------------------------------------------------------------------ what is to go

    def _find_opinions(self) -> None:
        opinion = t.opinion.c
        others = select(opinion.id, opinion.trace_id, opinion.score, opinion.node, opinion.body)
        others = others.where(
            opinion.author == self._user, opinion.trace_id.not_in(select(TRACE.c.id))
        )
        found = self._connection.execute(others).all()
        # A rule or a judge may be called as a user is.
        self._words = [row for row in found if json.loads(row.body)["source"] == "person"]

    def _find_nodes(self) -> None:
        mine = select(TRACE.c.id)
        corrections = [row.node for row in self._words if row.node]
        ends = union(
            select(t.call.c.context).where(t.call.c.trace_id.in_(mine)),
            select(t.call.c.output).where(t.call.c.trace_id.in_(mine)),
            select(t.trace.c.tail).where(t.trace.c.id.in_(mine)),
            select(t.opinion.c.node).where(t.opinion.c.trace_id.in_(mine)),
        ).subquery()
        self._run(NODE.insert().from_select(["id"], _upwards(select(ends.c[0]))))
        for some in _pages(corrections):
            there = select(NODE.c.id)
            more = _upwards(select(t.node.c.id).where(t.node.c.id.in_(some))).subquery()
            self._run(
                NODE.insert().from_select(
                    ["id"], select(more.c.id).where(more.c.id.not_in(there)).distinct()
                )
            )

    def _find_tools_and_ids(self) -> None:
        mine = select(TRACE.c.id)
        tools = select(t.call.c.toolset).where(t.call.c.trace_id.in_(mine)).distinct()
        self._run(TOOLSET.insert().from_select(["id"], tools))
        calls = select(t.call.c.body).where(t.call.c.trace_id.in_(mine))
        tails = select(t.trace.c.body).where(t.trace.c.id.in_(mine))
        self._put(NUMBERS, self._chained(self._last_ids(calls, tails)))

    def _last_ids(self, *bodies: Select[Any]) -> set[str]:
        """The rows of ids that these bodies name."""
        found = set()
        for query in bodies:
            body = query.selected_columns[0]
            named = query.where(body.contains('ids_before":'))
            for text in self._connection.scalars(named.execution_options(yield_per=1_000)):
                said = json.loads(text)
                found |= {said.get("ids_before"), said.get("tail_ids_before")}
        return found - {None, ROOT}

    def _chained(self, last: Iterable[str]) -> set[str]:
        """These rows of ids, and all that come before them."""
        found: set[str] = set()
        wanted = set(last)
        while wanted:
            found |= wanted
            numbering = t.numbering.c
            wanted = (
                {
                    before
                    for some in _pages(wanted)
                    for before in self._connection.scalars(
                        select(numbering.before).where(numbering.hash.in_(some))
                    )
                }
                - found
                - {ROOT}
            )
        return found

    def _find_rows(self) -> None:
        of = t.dataset_trace.c
        made = select(of.dataset, of.position).where(of.trace_id.in_(select(TRACE.c.id)))
        self._run(ROW.insert().from_select(["dataset", "position"], made.distinct()))
        corrections = {row.id for row in self._words if row.node}
        there = set(map(tuple, self._connection.execute(select(ROW))))
        learned: set[tuple[str, int]] = set()
        for some in _pages({row.trace_id for row in self._words if row.node}):
            rows = (
                select(t.dataset_row)
                .join(
                    t.dataset_trace,
                    (of.dataset == t.dataset_row.c.dataset)
                    & (of.position == t.dataset_row.c.position),
                )
                .where(of.trace_id.in_(some))
            )
            for row in self._connection.execute(rows):
                if corrections & set(json.loads(row.body).get("opinions", ())):
                    learned.add((row.dataset, row.position))
        keys = [{"dataset": d, "position": p} for d, p in sorted(learned - there)]
        if keys:
            self._connection.execute(ROW.insert(), keys)

    # ------------------------------------------------------------------ and goes

    def _erase_rows(self) -> dict[str, int]:
        """Rows keep their hash, and datasets a hash of all hashes."""
        row = t.dataset_row.c
        counts: dict[str, int] = {}
        mine = set(self._connection.scalars(select(TRACE.c.id)))
        for id in self._connection.scalars(select(t.dataset.c.id).order_by(t.dataset.c.id)).all():
            body = self._connection.scalar(select(t.dataset.c.body).where(t.dataset.c.id == id))
            stored = json.loads(body or "")
            shut = [_shut(one, mine) for one in stored["refused"]]
            gone = self._gone_rows(id)
            if not gone and shut == stored["refused"]:
                continue
            stored["refused"] = shut
            if gone:
                counts[id] = len(gone)
                shas = self._connection.scalars(
                    select(row.sha).where(row.dataset == id).order_by(row.position)
                )
                before = stored.get("erased", {}).get("rows", 0)
                stored["erased"] = {"rows": before + len(gone), "chain": chain(shas)}
                blank = t.dataset_row.update().where(
                    row.dataset == id, row.position.in_(_among(ROW, id))
                )
                self._run(blank.values(body=f"{ERASED}}}"))
            changed = t.dataset.update().where(t.dataset.c.id == id)
            self._run(changed.values(body=verbatim(stored).decode()))
        links = t.dataset_trace
        self._run(links.delete().where(links.c.trace_id.in_(select(TRACE.c.id))))
        return counts

    def _gone_rows(self, dataset: str) -> list[int]:
        row = t.dataset_row.c
        still = ~row.body.startswith(ERASED, autoescape=True)
        return [
            *self._connection.scalars(
                select(row.position).where(
                    row.dataset == dataset, row.position.in_(_among(ROW, dataset)), still
                )
            )
        ]

    def _erase_words(self) -> int:
        """Scores stay, under a pseudonym: they say something of runs of others."""
        renamed, pseudonym = 0, f"erased-{token_hex(4)}"
        opinion = t.opinion
        for row in self._words:
            body = json.loads(row.body)
            if row.score is None:
                self._gone["opinion"] += self._run(opinion.delete().where(opinion.c.id == row.id))
            else:
                rest = {k: v for k, v in body.items() if k not in ("comment", "correction")}
                values = {"author": pseudonym, "node": None, "body": verbatim(rest).decode()}
                renamed += self._run(opinion.update().where(opinion.c.id == row.id).values(values))
        at = now()
        lost = sorted({row.trace_id for row in self._words if row.node or row.score is None})
        noted = [{"trace_id": id, "what": Reason.FEEDBACK.value, "at": at} for id in lost]
        changes.note(self._connection, noted)
        return renamed

    def _erase_runs(self) -> None:
        mine = select(TRACE.c.id)
        for table in (t.step, t.opinion, t.outcome, t.call, t.change):
            self._delete(table, table.c.trace_id.in_(mine))
        self._delete(t.trace, t.trace.c.id.in_(mine))

    def _erase_nodes(self) -> None:
        """Those that lead to nothing that stays."""
        lost, above = NODE.alias("lost"), t.node.alias("above")
        named = [
            select(column).where(column.in_(select(lost.c.id)))
            for column in (t.call.c.context, t.call.c.output, t.opinion.c.node, t.trace.c.tail)
        ]
        goes_on = select(t.node.c.parent).where(
            t.node.c.parent.in_(select(lost.c.id)), t.node.c.id.not_in(select(lost.c.id))
        )
        ends = union(*named, goes_on).subquery()
        self._run(KEPT.insert().from_select(["id"], _upwards(select(ends.c[0]))))
        self._run(NODE.delete().where(NODE.c.id.in_(select(KEPT.c.id))))
        said = select(above.c.message).where(above.c.id.in_(select(NODE.c.id))).distinct()
        self._run(MESSAGE.insert().from_select(["id"], said))
        self._delete(t.node, t.node.c.id.in_(select(NODE.c.id)))

    def _erase_unused(self) -> None:
        said, message = MESSAGE.c.id, t.message.c
        self._run(MESSAGE.delete().where(exists().where(t.node.c.message == said)))
        candidates: set[str] = set()
        for row in self._stream(select(message.body).where(message.hash.in_(select(said)))):
            if REFERENCE in row.body:
                candidates |= references(json.loads(row.body))
        self._delete(t.message, message.hash.in_(select(said)))
        if candidates:
            for row in self._stream(select(message.body)):
                if REFERENCE in row.body:
                    candidates -= references(json.loads(row.body))
            self._put(MEDIA, candidates)
            self._delete(t.media, t.media.c.hash.in_(select(MEDIA.c.id)))
        used = exists().where(t.call.c.toolset == TOOLSET.c.id)
        self._run(TOOLSET.delete().where(used))
        self._delete(t.toolset, t.toolset.c.hash.in_(select(TOOLSET.c.id)))
        if self._count(NUMBERS):
            used_ids = self._last_ids(select(t.call.c.body), select(t.trace.c.body))
            for some in _pages(self._chained(used_ids)):
                self._run(NUMBERS.delete().where(NUMBERS.c.id.in_(some)))
            self._delete(t.numbering, t.numbering.c.hash.in_(select(NUMBERS.c.id)))

    # ------------------------------------------------------------------ in the transaction

    def _run(self, statement: Any) -> int:
        return int(self._connection.execute(statement).rowcount)

    def _delete(self, table: Table, where: Any) -> None:
        self._gone[table.name] += self._run(table.delete().where(where))

    def _count(self, table: Table) -> int:
        return self._connection.scalar(select(func.count()).select_from(table)) or 0

    def _put(self, table: Table, ids: Iterable[str]) -> None:
        for some in _pages(ids):
            self._connection.execute(table.insert(), [{"id": id} for id in some])

    def _stream(self, query: Select[Any]) -> Iterator[Any]:
        yield from self._connection.execute(query.execution_options(yield_per=1_000))


def _upwards(ends: Select[Any]) -> Select[Any]:
    """The nodes from these to the root."""
    up = select(t.node.c.id, t.node.c.parent).where(t.node.c.id.in_(ends)).cte("up", recursive=True)
    above = t.node.alias("above")
    up = up.union(select(above.c.id, above.c.parent).join(up, above.c.id == up.c.parent))
    return select(up.c.id)


def _among(rows: Table, dataset: str) -> Select[Any]:
    return select(rows.c.position).where(rows.c.dataset == dataset)


SAME = "the same as in trace "
"""So begins what is said of a row that is refused because another is there already."""


def _shut(refused: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """A refusal that names nothing of what goes; it counts as before."""
    there = [trace for trace in refused["traces"] if trace not in gone]
    if len(there) < len(refused["traces"]):
        return {"code": refused["code"], "traces": there}
    detail = refused.get("detail") or ""
    if detail.startswith(SAME) and detail.removeprefix(SAME) in gone:
        return {key: value for key, value in refused.items() if key != "detail"}
    return refused


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    wanted = sorted(ids)
    for start in range(0, len(wanted), PAGE):
        yield wanted[start : start + PAGE]
