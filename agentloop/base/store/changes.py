"""What has changed since: feedback that came late, runs that were stored anew, and erasures.

A harvest notes the last change there was when it began to read. What comes after it is newer than
the dataset, whatever anybody's clock says. A trace that comes with its feedback is no change, and
neither is what says again what is stored.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, text, union

from agentloop.base.records import now
from agentloop.base.records.mark import Reason
from agentloop.base.store import tables as t
from agentloop.base.store.batch import Batch
from agentloop.base.store.database import Database

ERASING = 7305138
"""The key of PostgreSQL's lock: who writes shares it, who erases has it alone."""

TOGETHER = 5_000
"""Databases bound the parameters of a statement."""


class Point(NamedTuple):
    """A moment in the life of a store."""

    change: int
    """The last change there was; 0 before the first."""
    erasure: int


def point(database: Database) -> Point:
    """Now. Whatever is not yet committed will be a later change."""
    with database.write() if not database.lite else database.read() as connection:
        if not database.lite:  # numbers are given before they are committed: wait for these
            connection.execute(text("LOCK TABLE change IN SHARE MODE"))
        last = connection.scalar(select(func.max(t.change.c.seq)))
        return Point(int(last or 0), era(connection))


def era(connection: Connection) -> int:
    """How many erasures there were: what is remembered of a store holds for one era."""
    # Before everything that is stored: SQLAlchemy's own way takes three times as long.
    last = connection.exec_driver_sql("SELECT max(seq) FROM erasure").scalar()
    return int(last or 0)


def enter(database: Database, connection: Connection, *, alone: bool = False) -> int:
    """Begin to write: nobody erases meanwhile (`alone`: nobody writes, either). The era."""
    if not database.lite:  # on SQLite whoever writes is alone
        shared = "" if alone else "_shared"
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{shared}({ERASING})")
    return era(connection)


class Watch:
    """Looks at what a batch may change before it is written, and notes what it did change. Nearly
    always that is nothing: runs are stored before they are judged, and feedback comes once."""

    def __init__(self, connection: Connection, batch: Batch) -> None:
        self._connection = connection
        runs = batch.traces.keys() | {row["trace_id"] for row in batch.calls.values()}
        self._judged = runs & set(_rows(connection, runs, _JUDGED))
        self._again = set(_rows(connection, batch.opinions, _OPINIONS))
        outcomes = self._outcomes(batch)
        self._told = {o.trace_id for o in batch.opinions.values() if o.id not in self._again}
        self._told |= {trace for trace, _ in outcomes}
        if new := (self._told & batch.traces.keys()) - self._judged:  # it may come with feedback
            self._told -= new - set(_rows(connection, new, _TRACES))
        self._before = self._look()

    def tell(self) -> None:
        """Note what has changed, when all is written."""
        after = self._look()
        changed = {key for key in after if after[key] != self._before.get(key)}
        changed |= {(Reason.FEEDBACK, trace) for trace in self._told}
        at = now()
        changes = [{"trace_id": id, "what": what.value, "at": at} for what, id in sorted(changed)]
        note(self._connection, changes)

    def _outcomes(self, batch: Batch) -> Iterator[tuple[str, str]]:
        """The outcomes that are not stored as they are."""
        traces = {trace for trace, _ in batch.outcomes}
        there: dict[tuple[str, str], Any] = {}
        for some in _pages(traces):
            for stored in self._connection.execute(_OUTCOMES, {"ids": some}):
                there[stored.trace_id, stored.name] = stored
        for key, row in batch.outcomes.items():
            before = there.get(key)
            if before is None or (
                # When it was recorded says nothing of what it says, but which is the later one.
                before.body != row["body"] and before.recorded_at <= row["recorded_at"]
            ):
                yield key

    def _look(self) -> dict[tuple[Reason, str], set[tuple[Any, ...]]]:
        """What is stored of runs that were judged before, and of opinions that come again."""
        looks = [
            (Reason.RUN, self._judged, t.trace.c.id, t.trace.c.id),
            (Reason.RUN, self._judged, t.call.c.trace_id, t.call.c.trace_id),
            (Reason.FEEDBACK, self._again, t.opinion.c.id, t.opinion.c.trace_id),
        ]
        seen: dict[tuple[Reason, str], set[tuple[Any, ...]]] = {}
        for what, ids, key, trace in looks:
            for some in _pages(ids):
                query = select(trace.label("of_trace"), *key.table.c).where(key.in_(some))
                for row in self._connection.execute(query):
                    seen.setdefault((what, row.of_trace), set()).add(tuple(row))
        return seen


def _ids_in(*columns: Any) -> Any:
    """Those of some ids that stand in one of the columns."""
    ids: Any = bindparam("ids", expanding=True)
    return union(*(select(column).where(column.in_(ids)) for column in columns))


_JUDGED = _ids_in(t.opinion.c.trace_id, t.outcome.c.trace_id)
_OPINIONS, _TRACES = _ids_in(t.opinion.c.id), _ids_in(t.trace.c.id)
_OUTCOMES = select(t.outcome).where(t.outcome.c.trace_id.in_(bindparam("ids", expanding=True)))


def note(connection: Connection, changes: list[dict[str, Any]]) -> None:
    """Write changes down."""
    if changes:
        connection.execute(t.change.insert(), changes)


def _rows(connection: Connection, ids: Iterable[str], query: Any) -> Iterator[str]:
    for some in _pages(ids):
        yield from connection.scalars(query, {"ids": some})


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    wanted = sorted(ids)
    for start in range(0, len(wanted), TOGETHER):
        yield wanted[start : start + TOGETHER]
