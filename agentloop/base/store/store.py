"""The store: records in, records out. No caller ever sees a row, a session or SQL."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import zip_longest
from math import inf
from typing import NamedTuple, Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    case,
    distinct,
    exists,
    func,
    select,
    tuple_,
)
from sqlalchemy.exc import IntegrityError

from agentloop.base.errors import NotFound, RecordError, StoreError
from agentloop.base.records import Call, Erasure, Judged, Trace
from agentloop.base.records.masses import in_masses
from agentloop.base.store import changes, erasure, inspection
from agentloop.base.store import tables as t
from agentloop.base.store.batch import Batch, Storable
from agentloop.base.store.database import BUSY_SECONDS, Database
from agentloop.base.store.inspection import Damage, Stats
from agentloop.base.store.ledger import Ledger
from agentloop.base.store.memory import Memory
from agentloop.base.store.reading import PAGE, Spans, load
from agentloop.base.store.soon import Soon


class Fork(NamedTuple):
    """One context, and every call that answered it."""

    node: str
    branches: tuple[tuple[str, Judged], ...]
    """Call id, and the trace that it is a call of; in the order the traces began."""


class Place(NamedTuple):
    """Where a trace stands among all, oldest first."""

    started_at: datetime
    id: str


_place = tuple_(t.trace.c.started_at, t.trace.c.id)
"""The same in the database."""


class Names(NamedTuple):
    """What has been recorded under a name of the application's own."""

    agents: tuple[str, ...]
    outcomes: tuple[str, ...]


class Store:
    """Traces with all that was said about them; `ledger` has what was made from them.

    Opened with a SQLAlchemy URL, closed by `close` or `with`. Safe to use from several threads
    and processes at once. Raises what `Database` raises.
    """

    def __init__(
        self, url: str, *, create: bool = True, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._database = Database(url, create=create, busy_seconds=busy_seconds)
        self._memory = Memory()
        self.name = self._database.name
        self.place = self._database.place
        self.ledger = Ledger(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def after_fork(self) -> None:
        """To be called in a forked process before anything else: it has its parent's connections,
        and must not use them."""
        self._memory.after_fork()
        self._database.after_fork()

    # ------------------------------------------------------------------ records in

    def put(self, *records: Storable) -> None:
        """Write all of `records` in one transaction, or none of them.

        Every write is an upsert by id: a record that comes twice is stored once, and of two with
        one id the later one stays. A trace may be written again when it has ended.

        Raises:
            RecordError: feedback or a call names a trace or a call that is not stored.
        """
        with in_masses():
            self._write(self._ready(records), records)

    def put_each(self, parts: Sequence[Sequence[Storable]]) -> Iterator[Exception | None]:
        """Write all of each part in a transaction of its own, or none of it, in their order. While
        one is written, the next is made ready.

        Yields:
            for each part: None, or why it was refused.
        """
        soon: Soon[Batch] | None = None
        for part, following in zip_longest(parts, parts[1:]):
            try:
                with in_masses():
                    batch = soon.result() if soon else self._ready(part)
                    soon = Soon(partial(self._ready, following, batch)) if following else None
                    self._write(batch, part)
            except Exception as error:  # noqa: BLE001 - whoever asked decides what to make of it
                soon = None  # it took for granted that this is stored
                yield error
            else:
                yield None

    def _ready(self, records: Iterable[Storable], after: Batch | None = None) -> Batch:
        return self._gathered(records, self._memory.batch(self._database, after))

    def _gathered(self, records: Iterable[Storable], batch: Batch) -> Batch:
        for record in records:
            batch.take(record)
        batch.make_ready(self._database)
        return batch

    def _write(self, batch: Batch, records: Iterable[Storable]) -> None:
        try:
            done = self._commit(batch)
        except StoreError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            done = False
        if not done:
            # Somebody has erased what this process knew to be stored: send all of it.
            self._memory.forget(self._database)
            self._commit(self._gathered(records, Batch((), self._memory.paths)))

    def _commit(self, batch: Batch) -> bool:
        """Write a batch; False, and nothing is written, when it took for granted what has been
        erased since."""
        with self._database.write() as connection:
            era = changes.enter(self._database, connection)
            if batch.era not in (None, era):
                return False
            self._refuse_strangers(connection, batch)
            watch = changes.Watch(connection, batch)
            batch.write(connection, self._database)
            watch.tell()
        self._memory.take(batch, era)
        return True

    def _refuse_strangers(self, connection: Connection, batch: Batch) -> None:
        if wanted := batch.wanted_traces():
            trace = t.trace.c.id
            found = set(connection.scalars(select(trace).where(trace.in_(wanted))))
            if missing := sorted(wanted - found):
                raise RecordError(f"nothing stored: there is no trace {missing[0]!r}")
        traces = {id: row["trace_id"] for id, row in batch.calls.items()}
        if wanted := batch.wanted_calls():
            calls = select(t.call.c.id, t.call.c.trace_id).where(t.call.c.id.in_(wanted))
            traces |= {row.id: row.trace_id for row in connection.execute(calls)}
        for said in batch.opinions.values():
            if said.call_id is not None and traces.get(said.call_id) != said.trace_id:
                raise RecordError(
                    f"nothing stored: there is no call {said.call_id!r} in trace {said.trace_id!r}"
                )

    # ------------------------------------------------------------------ records out

    def trace(self, trace_id: str) -> Trace:
        """The trace with that id, calls, spans and all.

        Raises:
            NotFound: no trace has that id.
        """
        return self.judged(trace_id).trace

    def judged(self, trace_id: str) -> Judged:
        """The trace with that id and everything said about it, not yet settled.

        Raises:
            NotFound: no trace has that id.
        """
        with self._database.read() as connection:
            found = load(connection, [trace_id])
        if not found:
            raise NotFound(f"no trace {trace_id!r}; `agentloop traces list` shows what there is")
        return found[trace_id]

    def some_judged(self, ids: Sequence[str]) -> Iterator[Judged]:
        """The traces with these ids and everything said about them, in that order, those that are
        there."""
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            with self._database.read() as connection:
                found = load(connection, page)
            yield from (found[id] for id in page if id in found)

    def traces(self, ids: Sequence[str]) -> Iterator[Trace]:
        """The traces with these ids, in that order, those that are there."""
        return (one.trace for one in self.some_judged(ids))

    def call_of_response(self, response_id: str) -> tuple[Trace, Call] | None:
        """The call that the server answered with that response, and its trace; of several the
        latest. None when there is none, also where the API keeps no conversations."""
        asked = select(t.call.c.id, t.call.c.trace_id).where(t.call.c.response == response_id)
        with self._database.read() as connection:
            row = connection.execute(asked.order_by(t.call.c.started_at.desc()).limit(1)).first()
            if row is None:
                return None
            trace = load(connection, [row.trace_id])[row.trace_id].trace
        return trace, next(call for call in trace.calls if call.id == row.id)

    def calls_of(self, trace_id: str) -> int:
        """How many calls a trace has, counted to the last; 0 when there is no such trace."""
        last = select(func.max(t.call.c.index)).where(t.call.c.trace_id == trace_id)
        with self._database.read() as connection:
            found = connection.scalar(last)
        return 0 if found is None else int(found) + 1

    def origins(self, ids: Sequence[str]) -> dict[str, str]:
        """Where the traces of these ids came from (`sdk`, or a format), those that are there."""
        asked = select(t.trace.c.id, t.trace.c.body).where(t.trace.c.id.in_(ids))
        with self._database.read() as connection:
            rows = connection.execute(asked).all()
        return {row.id: json.loads(row.body)["source"] for row in rows}

    def all_judged(
        self,
        *,
        agents: Sequence[str] | None = None,
        since: datetime | None = None,
        trial: str | None = None,
        held_out: bool | None = None,
        versions: Collection[str | None] | None = None,
        tasks: Collection[str] | None = None,
        after: Place | None = None,
        upto: Place | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        spans: Spans = True,
    ) -> Iterator[Judged]:
        """Traces with everything said about them, oldest first, `PAGE` in memory at a time.

        Args:
            agents: only traces in which one of these agents made a call.
            trial: only traces that were assigned to an arm of this trial.
            held_out: only traces that were (or were not) run to measure with.
            versions: only traces of these versions; None is the agent's own model.
            tasks: only traces that tried one of these.
            after, upto: only traces that stand after a place, and up to another.
            spans: with their spans, or `failed`, those that tell of an error; who asks for the
                calls alone has them sooner.
        """
        conditions = self._conditions(agents, held_out)
        if since is not None:
            conditions.append(t.trace.c.started_at >= since)
        if trial is not None:
            conditions.append(t.trace.c.trial == trial)
        if tasks is not None:
            conditions.append(t.trace.c.task_id.in_(tasks))
        if versions is not None:
            named = t.trace.c.version.in_([v for v in versions if v is not None])
            own = t.trace.c.version.is_(None)
            conditions.append(named | own if None in versions else named)
        if after is not None:
            conditions.append(_place > after)
        if upto is not None:
            conditions.append(_place <= upto)
        for page in self._pages(conditions, newest_first=newest_first, limit=limit, spans=spans):
            yield from page

    def places(self, *, agents: Sequence[str]) -> Iterator[Place]:
        """Where the traces stand that `all_judged` gives of these agents, but those that were run
        to measure with: oldest first."""
        place = select(t.trace.c.started_at, t.trace.c.id).where(*self._conditions(agents, False))
        query = place.order_by(t.trace.c.started_at, t.trace.c.id)
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=1_000).execute(query)
            yield from (Place(*row) for row in rows)

    def tasks(self, *, agents: Sequence[str]) -> list[str]:
        """The tasks that these traces tried, sorted."""
        task = t.trace.c.task_id
        query = select(task).where(task.isnot(None), *self._conditions(agents, False))
        with self._database.read() as connection:
            return sorted(connection.scalars(query.distinct()))

    def _conditions(
        self, agents: Sequence[str] | None, held_out: bool | None
    ) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = []
        if agents is not None:
            asked = t.call.c.agent.in_(agents)
            conditions.append(exists().where(t.call.c.trace_id == t.trace.c.id, asked))
        if held_out is not None:
            conditions.append(t.trace.c.held_out == held_out)
        return conditions

    def forks(self, *, agents: Sequence[str]) -> Iterator[Fork]:
        """Contexts that one of `agents` answered in more than one way, a correction being one."""
        return self.answers(self.forked(agents=agents), agents=agents)

    def contexts(self, *, agents: Sequence[str]) -> Iterator[Fork]:
        """Contexts that end with the user, and all that one of `agents` made of them."""
        return self.answers(self.asked(agents=agents), agents=agents)

    def answered(self, *, agents: Sequence[str]) -> Iterator[Fork]:
        """Contexts, and all that one of `agents` made of each."""
        return self.answers(self.all_contexts(agents=agents), agents=agents)

    def all_contexts(self, *, agents: Sequence[str]) -> list[str]:
        """The contexts of `answered`, in its order."""
        return self._contexts(t.call.c.context.isnot(None), agents)

    def forked(self, *, agents: Sequence[str]) -> list[str]:
        """The contexts of `forks`, in its order."""
        corrected = exists().where(t.opinion.c.call_id == t.call.c.id, t.opinion.c.node.isnot(None))
        ways = (
            select(t.call.c.context)
            .join(t.trace, t.trace.c.id == t.call.c.trace_id)
            .where(t.call.c.agent.in_(agents), ~t.trace.c.held_out, t.call.c.context.isnot(None))
            .group_by(t.call.c.context)
            .having(
                (func.count(distinct(t.call.c.output)) > 1)
                | (func.sum(case((corrected, 1), else_=0)) > 0)
            )
        )
        return self._contexts(t.call.c.context.in_(ways), agents)

    def asked(self, *, agents: Sequence[str]) -> list[str]:
        """The contexts of `contexts`, in its order."""
        ends_with_user = select(t.node.c.id).where(t.node.c.role == "user")
        return self._contexts(t.call.c.context.in_(ends_with_user), agents)

    def answers(self, contexts: Sequence[str], *, agents: Sequence[str]) -> Iterator[Fork]:
        """All that one of `agents` made of these contexts, context by context; the traces are
        without their spans."""
        mine, joined = self._mine(agents)
        branches = (
            select(t.call.c.context, t.call.c.id, t.call.c.trace_id)
            .select_from(joined)
            .order_by(t.trace.c.started_at, t.trace.c.id, t.call.c.index)
        )
        for start in range(0, len(contexts), PAGE):
            some = contexts[start : start + PAGE]
            page: dict[str, list[tuple[str, str]]] = {node: [] for node in some}
            with self._database.read() as connection:
                rows = connection.execute(branches.where(mine, t.call.c.context.in_(page))).all()
                ids_of = sorted({row.trace_id for row in rows})
                traces = load(connection, ids_of, spans=False)
            for node, call_id, trace_id in rows:
                page[node].append((call_id, trace_id))
            for node, calls in page.items():
                yield Fork(node, tuple((call, traces[trace]) for call, trace in calls))

    def _contexts(self, where: ColumnElement[bool], agents: Sequence[str]) -> list[str]:
        mine, joined = self._mine(agents)
        contexts = (
            select(t.call.c.context)
            .select_from(joined)
            .where(where, mine)
            .group_by(t.call.c.context)
            .order_by(func.min(t.trace.c.started_at), t.call.c.context)
        )
        with self._database.read() as connection:
            return list(connection.scalars(contexts))

    def _mine(self, agents: Sequence[str]) -> tuple[ColumnElement[bool], FromClause]:
        mine = t.call.c.agent.in_(agents) & ~t.trace.c.held_out
        return mine, t.call.join(t.trace, t.trace.c.id == t.call.c.trace_id)

    def names(self) -> Names:
        """Agents and outcomes that occur in the store, each sorted."""
        with self._database.read() as connection:
            agents = connection.scalars(select(t.call.c.agent).distinct())
            outcomes = connection.scalars(select(t.outcome.c.name).distinct())
            return Names(tuple(sorted(agents)), tuple(sorted(outcomes)))

    def count(self) -> int:
        """How many traces there are."""
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(t.trace)) or 0

    def erase(self, user: str, *, confirm: bool = True) -> Erasure:
        """Erase a user; see `erasure`. Without `confirm`: what would go.

        Raises:
            NotFound: nothing here is that user's.
        """
        return erasure.erase(self._database, user, confirm=confirm)

    def verify(self) -> Iterator[Damage]:
        """All that is not what was stored: every hash is derived anew, every reference followed."""
        return inspection.verify(self._database, self.ledger)

    def stats(self) -> Stats:
        """How large the store is."""
        return inspection.stats(self._database)

    def _pages(
        self,
        conditions: Sequence[ColumnElement[bool]],
        *,
        newest_first: bool,
        limit: int | None,
        spans: Spans,
    ) -> Iterator[list[Judged]]:
        """The traces of which all conditions are true; each page goes on where the last one ended,
        up to what was the end when the first was read."""
        query = select(t.trace.c.started_at, t.trace.c.id).where(*conditions)
        up = query.order_by(t.trace.c.started_at, t.trace.c.id)
        down = query.order_by(t.trace.c.started_at.desc(), t.trace.c.id.desc())
        with self._database.read() as connection:
            newest = connection.execute(down.limit(1)).first()
        if newest is None:
            return
        ordered = (down if newest_first else up).where(_place <= Place(*newest))
        asked, left = ordered, inf if limit is None else limit
        while left > 0:
            with self._database.read() as connection:
                rows = connection.execute(asked.limit(int(min(PAGE, left)))).all()
                found = load(connection, [row.id for row in rows], spans=spans)
            if not rows:
                return
            yield [found[row.id] for row in rows]
            last = Place(*rows[-1])
            asked = ordered.where(_place < last if newest_first else _place > last)
            left -= len(rows)
