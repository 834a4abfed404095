"""Records out: whole traces, put together again from the tables and the tree."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from agentloop.base.records import Call, Json, Judged, Opinion, Outcome, Span, Trace
from agentloop.base.records.message import Message
from agentloop.base.store import steps
from agentloop.base.store import tables as t
from agentloop.base.store.batch import (
    CALL_ROW,
    OPINION_COLUMNS,
    OUTCOME_COLUMNS,
    TRACE_ROW,
)
from agentloop.base.store.tree import Ids, Tree, read, read_ids

PAGE = 200
"""Traces that are put together at a time."""


def load(connection: Connection, ids: Sequence[str]) -> dict[str, Judged]:
    """The traces of these ids with all that belongs to them, by id."""
    found: dict[str, Judged] = {}
    for start in range(0, len(ids), PAGE):  # databases bound the parameters of a statement
        found |= _load(connection, ids[start : start + PAGE])
    return found


def _load(connection: Connection, ids: Sequence[str]) -> dict[str, Judged]:

    def of(table: Any, *order: Any) -> dict[str, list[Any]]:
        query = select(table).where(table.c.trace_id.in_(ids)).order_by(*order)
        grouped: dict[str, list[Any]] = defaultdict(list)
        for row in connection.execute(query).mappings():
            grouped[row["trace_id"]].append(row)
        return grouped

    traces = connection.execute(select(t.trace).where(t.trace.c.id.in_(ids))).mappings().all()
    calls = of(t.call, t.call.c.index, t.call.c.id)
    spans = steps.read(connection, ids)
    opinions = of(t.opinion, t.opinion.c.given_at, t.opinion.c.id)
    outcomes = of(t.outcome, t.outcome.c.name)
    said = {row["id"]: json.loads(row["body"]) for rows in calls.values() for row in rows}
    of_traces = {row["id"]: _tail(json.loads(row["body"])) for row in traces}
    numbers = read_ids(connection, [*said.values(), *(tail.ids for tail in of_traces.values())])
    ends = [row["output"] or row["context"] for rows in calls.values() for row in rows]
    tree = read(connection, [*filter(None, ends), *(r["tail"] for r in traces if r["tail"])])
    hashes = {row["toolset"] for rows in calls.values() for row in rows}
    sets = connection.execute(select(t.toolset).where(t.toolset.c.hash.in_(hashes))).all()
    tools = {row.hash: json.loads(row.body) for row in sets}
    return {
        row["id"]: Judged(
            trace=_trace(
                row,
                of_traces[row["id"]],
                tuple(_call(c, said[c["id"]], tree, numbers, tools) for c in calls[row["id"]]),
                spans.get(row["id"], ()),
                tree,
                numbers,
            ),
            opinions=tuple(_record(Opinion, o, OPINION_COLUMNS) for o in opinions[row["id"]]),
            outcomes=tuple(_record(Outcome, o, OUTCOME_COLUMNS) for o in outcomes[row["id"]]),
        )
        for row in traces
    }


class _Tail(NamedTuple):
    """What a trace's body says, and what it says of its tail."""

    body: Json
    ids: Json
    length: int


def _tail(body: Json) -> _Tail:
    ids = {n: body.pop(f"tail_{n}") for n in ("ids", "ids_before") if f"tail_{n}" in body}
    return _Tail(body, ids, body.pop("tail_length", 0))


def _trace(
    row: Any,
    said: _Tail,
    calls: tuple[Call, ...],
    spans: tuple[Span, ...],
    tree: Tree,
    numbers: Ids,
) -> Trace:
    tail: tuple[Message, ...] = ()
    if row["tail"]:
        tail = tree.original(row["tail"], numbers.of(said.ids))[-said.length :]
    columns = {name: row[name] for name in TRACE_ROW}
    return Trace(**columns, **said.body, calls=calls, spans=spans, tail=tail)


def _call(row: Any, body: Json, tree: Tree, numbers: Ids, tools: dict[str, Any]) -> Call:
    ids = numbers.of(body)
    end = row["output"] or row["context"]
    messages = tree.original(end, ids) if end else ()
    columns = {name: row[name] for name in CALL_ROW}
    return Call(
        **columns,
        **body,
        context=messages[:-1] if row["output"] else messages,
        output=messages[-1] if row["output"] else None,
        tools=tools[row["toolset"]],
    )


def _record(kind: Any, row: Any, columns: set[str]) -> Any:
    return kind(**{name: row[name] for name in columns}, **json.loads(row["body"]))
