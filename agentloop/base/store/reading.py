"""Records out: whole traces, put together again from the tables and the tree."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from agentloop.base.records import Call, Judged, Opinion, Outcome, Span, Trace
from agentloop.base.records.message import Message
from agentloop.base.store import tables as t
from agentloop.base.store.batch import (
    CALL_COLUMNS,
    OPINION_COLUMNS,
    OUTCOME_COLUMNS,
    SPAN_COLUMNS,
    TRACE_COLUMNS,
)
from agentloop.base.store.tree import Tree, read

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
    spans = of(t.span, t.span.c.started_at.nulls_first(), t.span.c.id)
    opinions = of(t.opinion, t.opinion.c.given_at, t.opinion.c.id)
    outcomes = of(t.outcome, t.outcome.c.name)
    ends = [row["output"] or row["context"] for rows in calls.values() for row in rows]
    tree = read(connection, [*filter(None, ends), *(r["tail"] for r in traces if r["tail"])])
    hashes = {row["toolset"] for rows in calls.values() for row in rows}
    sets = connection.execute(select(t.toolset).where(t.toolset.c.hash.in_(hashes))).all()
    tools = {row.hash: json.loads(row.body) for row in sets}
    return {
        row["id"]: Judged(
            trace=_trace(row, calls[row["id"]], spans[row["id"]], tree, tools),
            opinions=tuple(_record(Opinion, o, OPINION_COLUMNS) for o in opinions[row["id"]]),
            outcomes=tuple(_record(Outcome, o, OUTCOME_COLUMNS) for o in outcomes[row["id"]]),
        )
        for row in traces
    }


def _trace(row: Any, calls: Any, spans: Any, tree: Tree, tools: dict[str, Any]) -> Trace:
    body = json.loads(row["body"])
    tail_ids, length = body.pop("tail_ids", ()), body.pop("tail_length", 0)
    known = tuple(_call(call, tree, tools) for call in calls)
    tail: tuple[Message, ...] = ()
    if row["tail"]:
        tail = tree.original(row["tail"], tail_ids)[-length:]
    columns = {name: row[name] for name in TRACE_COLUMNS - {"calls", "spans", "tail"}}
    steps = tuple(_record(Span, span, SPAN_COLUMNS) for span in spans)
    return Trace(**columns, **body, calls=known, spans=steps, tail=tail)


def _call(row: Any, tree: Tree, tools: dict[str, Any]) -> Call:
    body = json.loads(row["body"])
    ids = body.pop("ids", ())
    end = row["output"] or row["context"]
    messages = tree.original(end, ids) if end else ()
    columns = {n: row[n] for n in CALL_COLUMNS - {"context", "output", "tools"}}
    return Call(
        **columns,
        **body,
        context=messages[:-1] if row["output"] else messages,
        output=messages[-1] if row["output"] else None,
        tools=tools[row["toolset"]],
    )


def _record(kind: Any, row: Any, columns: set[str]) -> Any:
    return kind(**{name: row[name] for name in columns}, **json.loads(row["body"]))
