"""What has changed since: feedback that came late, runs that were stored anew, and erasures.

A harvest notes the last change there was when it began to read. What comes after it is newer than
the dataset, whatever anybody's clock says. A trace that comes with its feedback is no change, and
neither is what says again what is stored.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, text

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
    return int(connection.scalar(select(func.max(t.erasure.c.seq))) or 0)


def enter(database: Database, connection: Connection, *, alone: bool = False) -> int:
    """Begin to write: nobody erases meanwhile (`alone`: nobody writes, either). The era."""
    if not database.lite:  # on SQLite whoever writes is alone
        shared = "" if alone else "_shared"
        connection.execute(text(f"SELECT pg_advisory_xact_lock{shared}({ERASING})"))
    return era(connection)


class Watch:
    """Looks at what a batch may change before it is written, and notes what it did change."""

    def __init__(self, connection: Connection, batch: Batch) -> None:
        told = {opinion.trace_id for opinion in batch.opinions.values()}
        told |= {trace for trace, _ in batch.outcomes}
        runs = batch.traces.keys() | {row["trace_id"] for row in batch.calls.values()}
        judged = set(_among(connection, told | runs, t.opinion.c.trace_id, t.outcome.c.trace_id))
        new = (told & batch.traces.keys()) - judged
        new -= set(_among(connection, new, t.trace.c.id))
        self._told, self._runs = told - new, runs & judged
        self._before = self._look(connection)

    def tell(self, connection: Connection) -> None:
        """Note what has changed, when all is written."""
        if not (self._told or self._runs):
            return
        at = now()
        changes = [
            {"trace_id": trace, "what": what.value, "at": at}
            for (what, trace), said in sorted(self._look(connection).items())
            if said != self._before.get((what, trace))
        ]
        note(connection, changes)

    def _look(self, connection: Connection) -> dict[tuple[Reason, str], set[tuple[Any, ...]]]:
        opinion, outcome = t.opinion.c, t.outcome.c
        looks = [
            (Reason.FEEDBACK, self._told, opinion.trace_id, [*opinion]),
            # When it was recorded says nothing of what it says.
            (Reason.FEEDBACK, self._told, outcome.trace_id, [outcome.name, outcome.body]),
            (Reason.RUN, self._runs, t.trace.c.id, [*t.trace.c]),
            (Reason.RUN, self._runs, t.call.c.trace_id, [*t.call.c]),
        ]
        seen: dict[tuple[Reason, str], set[tuple[Any, ...]]] = {}
        for what, traces, key, columns in looks:
            for some in _pages(traces):
                query = select(key.label("of_trace"), *columns).where(key.in_(some))
                for row in connection.execute(query):
                    seen.setdefault((what, row.of_trace), set()).add(tuple(row))
        return seen


def note(connection: Connection, changes: list[dict[str, Any]]) -> None:
    """Write changes down."""
    if changes:
        connection.execute(t.change.insert(), changes)


def _among(connection: Connection, ids: Iterable[str], *columns: Any) -> Iterator[str]:
    """Those of `ids` that stand in one of the columns."""
    for some in _pages(ids):
        for column in columns:
            yield from connection.scalars(select(column).where(column.in_(some)).distinct())


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    wanted = sorted(ids)
    for start in range(0, len(wanted), TOGETHER):
        yield wanted[start : start + TOGETHER]
