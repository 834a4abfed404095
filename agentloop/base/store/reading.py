"""Records out: whole traces, put together again from the tables and the tree.

What is stored was validated when it came, so it is taken as it is; and what calls have in common,
the messages before them and their tools, is in memory once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Select, select

from agentloop.base.records import (
    Call,
    Json,
    Judged,
    Opinion,
    Outcome,
    Record,
    Source,
    Span,
    Trace,
    Usage,
)
from agentloop.base.records.masses import in_masses
from agentloop.base.records.message import Message
from agentloop.base.records.record import of_json
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


Spans = bool | Literal["failed"]
"""All spans, none, or those alone that tell of an error."""


def load(
    connection: Connection, ids: Sequence[str], *, spans: Spans = True, trust: bool = True
) -> dict[str, Judged]:
    """The traces of these ids with all that belongs to them, by id.

    Args:
        spans: with their spans, or those that failed; who asks for the calls alone does not wait
            for these.
        trust: as what was validated before it was stored. Otherwise it is validated once more, and
            what has been damaged since is an error.
    """
    found: dict[str, Judged] = {}
    with in_masses():
        for start in range(0, len(ids), PAGE):  # databases bound the parameters of a statement
            page = ids[start : start + PAGE]
            steps_of = steps.read(connection, page, failed=spans == "failed") if spans else {}
            found |= _load(connection, page, steps_of, _trusted if trust else _validated)
    return found


Make = Callable[[Any, Json], Any]
"""A record of a kind, from its fields as JSON has them."""

TAKEN: Mapping[type[Record], Mapping[str, Callable[[Any], Any]]] = {
    Call: {"aside": tuple, "usage": Usage.trusted},
    Opinion: {"correction": Message.model_validate, "source": Source},
}
"""What JSON has another form for than a record."""


def _trusted(kind: type[Record], fields: Json) -> Any:
    for name, take in TAKEN.get(kind, {}).items():
        if name in fields:
            fields[name] = take(fields[name])
    return kind.trusted(fields)


def _validated(kind: type[Record], fields: Json) -> Any:
    return kind.of(fields)


class _Row(NamedTuple):
    """A row of a table: what a record says of itself, and what the row alone knows."""

    fields: Json
    more: tuple[Any, ...]


class _Table(NamedTuple):
    """What is asked of a table: columns that are fields, others, the body; and of which traces."""

    names: tuple[str, ...]
    query: Select[Any]
    of: Any

    @classmethod
    def make(cls, table: Any, of: str, names: Iterable[str], *more: str, by: Any = ()) -> "_Table":
        names = tuple(names)
        columns = [table.c[name] for name in (*names, *more, "body")]
        return cls(names, select(*columns).order_by(*(table.c[name] for name in by)), table.c[of])

    def rows(self, connection: Connection, ids: Sequence[str]) -> list[_Row]:
        """The rows of these traces."""
        names, width = self.names, len(self.names)
        return [
            _Row(dict(zip(names, row, strict=False)) | of_json(row[-1]), row[width:-1])
            for row in connection.execute(self.query.where(self.of.in_(ids))).all()
        ]


_TRACES = _Table.make(t.trace, "id", TRACE_ROW, "tail")
_CALLS = _Table.make(
    *(t.call, "trace_id", CALL_ROW, "context", "output", "toolset"), by=("index", "id")
)
_OPINIONS = _Table.make(t.opinion, "trace_id", OPINION_COLUMNS, by=("given_at", "id"))
_OUTCOMES = _Table.make(t.outcome, "trace_id", OUTCOME_COLUMNS, by=("name",))


def _load(
    connection: Connection,
    ids: Sequence[str],
    spans: Mapping[str, tuple[Span, ...]],
    make: Make,
) -> dict[str, Judged]:
    traces, calls = _TRACES.rows(connection, ids), _CALLS.rows(connection, ids)
    tails = [_Tail.of(row) for row in traces]
    numbers = read_ids(connection, [*(c.fields for c in calls), *(tail.ids for tail in tails)])
    ends = [output or context for _, (context, output, _) in calls]
    tree = read(connection, filter(None, [*ends, *(tail.node for tail in tails)]))
    tools = _toolsets(connection, {toolset for _, (_, _, toolset) in calls})
    of_trace = {
        "calls": _grouped(make(Call, _call(row, tree, numbers, tools)) for row in calls),
        "opinions": _grouped(make(Opinion, row.fields) for row in _OPINIONS.rows(connection, ids)),
        "outcomes": _grouped(make(Outcome, row.fields) for row in _OUTCOMES.rows(connection, ids)),
    }
    found = {}
    for row, tail in zip(traces, tails, strict=True):
        id = row.fields["id"]
        belongs = {name: tuple(there.get(id, ())) for name, there in of_trace.items()}
        fields = {"calls": belongs.pop("calls"), "spans": spans.get(id, ())}
        fields["tail"] = tail.messages(tree, numbers)
        found[id] = make(Judged, {"trace": make(Trace, row.fields | fields), **belongs})
    return found


class _Tail(NamedTuple):
    """Where a trace's tail ends in the tree, what is said of its ids, and how long it is."""

    node: str | None
    ids: Json
    length: int

    @classmethod
    def of(cls, row: _Row) -> "_Tail":
        """What a row tells of it, taken out of the fields."""
        said, (node,) = row.fields, row.more
        ids = {n: said.pop(f"tail_{n}") for n in ("ids", "ids_before") if f"tail_{n}" in said}
        return cls(node, ids, said.pop("tail_length", 0))

    def messages(self, tree: Tree, numbers: Ids) -> tuple[Message, ...]:
        return tree.original(self.node, numbers.of(self.ids))[-self.length :] if self.node else ()


def _call(row: _Row, tree: Tree, numbers: Ids, tools: Mapping[str, tuple[Json, ...]]) -> Json:
    """The fields of a call."""
    fields, (context, output, toolset) = row
    ids, end = numbers.of(fields), output or context
    messages = tree.original(end, ids) if end else ()
    fields["context"] = messages[:-1] if output else messages
    fields["output"] = messages[-1] if output else None
    fields["tools"] = tools[toolset]
    return fields


def _toolsets(connection: Connection, hashes: Iterable[str]) -> dict[str, tuple[Json, ...]]:
    query = select(t.toolset.c.hash, t.toolset.c.body).where(t.toolset.c.hash.in_(hashes))
    return {hash: tuple(of_json(body)) for hash, body in connection.execute(query)}


def _grouped(records: Iterable[Any]) -> dict[str, list[Any]]:
    """Records by the trace that they are of."""
    grouped: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        grouped[record.trace_id].append(record)
    return grouped
