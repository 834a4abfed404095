"""Records in: rows for every table, gathered from what is to be stored."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, case, func, select

from agentloop.base.records import Call, Opinion, Outcome, Record, Span, Trace
from agentloop.base.records.message import Message, digest, verbatim
from agentloop.base.store import tables as t
from agentloop.base.store.database import Database
from agentloop.base.store.tree import Path, path, read

Storable = Trace | Call | Span | Opinion | Outcome

# The fields of a record that have a column of their own; the others are in its body.
TRACE_COLUMNS = {
    *("id", "agent", "user", "session", "task_id", "version", "trial", "arm", "held_out"),
    *("started_at", "ended_at", "error", "calls", "spans", "tail"),
}
CALL_COLUMNS = {
    *("id", "trace_id", "index", "agent", "context", "output", "tools", "model", "version"),
    *("started_at", "ended_at"),
}
SPAN_COLUMNS = {"trace_id", "id", "kind", "started_at"}
OPINION_COLUMNS = {"id", "trace_id", "call_id", "author", "score", "given_at"}
OUTCOME_COLUMNS = {"trace_id", "name", "recorded_at"}

# What stays known of a run when a record that came later (a late start, a resume) does not say.
STAYS = ("user", "session", "task_id", "version", "trial", "arm", "ended_at", "error")


class Batch:
    """Rows for every table, gathered from records.

    Args:
        known: nodes that are stored already; they are not sent again.
    """

    def __init__(self, known: Container[str]) -> None:
        self._known = known
        self.messages: dict[str, str] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.toolsets: dict[str, str] = {}
        self.traces: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, dict[str, Any]] = {}
        self.spans: dict[tuple[str, str], dict[str, Any]] = {}
        self.opinions: dict[str, Opinion] = {}
        self.outcomes: dict[tuple[str, str], dict[str, Any]] = {}

    def take(self, record: Storable) -> None:
        match record:
            case Trace():
                self._take_trace(record)
            case Call():
                self._take_call(record)
            case Span():
                row = record.model_dump(include=SPAN_COLUMNS) | {
                    "body": _rest(record, SPAN_COLUMNS)
                }
                self.spans[record.trace_id, record.id] = row | {"kind": record.kind.value}
            case Opinion():
                self.opinions[record.id] = record
            case Outcome():
                key = record.trace_id, record.name
                row = record.model_dump(include=OUTCOME_COLUMNS)
                row |= {"body": _rest(record, OUTCOME_COLUMNS)}
                before = self.outcomes.get(key, row)
                self.outcomes[key] = max(before, row, key=lambda row: row["recorded_at"])

    def wanted_traces(self) -> set[str]:
        named = {row["trace_id"] for row in self.calls.values()}
        named |= {trace for trace, _ in self.spans} | {trace for trace, _ in self.outcomes}
        named |= {opinion.trace_id for opinion in self.opinions.values()}
        return named - self.traces.keys()

    def wanted_calls(self) -> set[str]:
        named = {o.call_id for o in self.opinions.values() if o.call_id is not None}
        return named - self.calls.keys()

    def write(self, connection: Connection, database: Database) -> None:
        """Write all rows. Always in the same order, so that no two writers wait for each other."""
        bodies = [{"hash": hash, "body": body} for hash, body in sorted(self.messages.items())]
        sets = [{"hash": hash, "body": body} for hash, body in sorted(self.toolsets.items())]
        database.add(connection, t.message, bodies)
        database.add(connection, t.node, _by_key(self.nodes))
        database.add(connection, t.toolset, sets)
        trace, outcome = t.trace.c, t.outcome.c
        database.upsert(
            connection,
            t.trace,
            _by_key(self.traces),
            keep={
                **{name: lambda new, n=name: func.coalesce(new[n], trace[n]) for name in STAYS},
                "started_at": lambda new: case(
                    (new.started_at < trace.started_at, new.started_at), else_=trace.started_at
                ),
            },
        )
        database.upsert(connection, t.call, _by_key(self.calls))
        database.upsert(connection, t.span, _by_key(self.spans))
        database.upsert(
            connection,
            t.opinion,
            [self._opinion(connection, database, o) for _, o in sorted(self.opinions.items())],
        )
        database.upsert(
            connection,
            t.outcome,
            _by_key(self.outcomes),
            keep={
                name: lambda new, n=name: case(
                    (new.recorded_at >= outcome.recorded_at, new[n]), else_=outcome[n]
                )
                for name in ("recorded_at", "body")
            },
        )

    def _take_trace(self, trace: Trace) -> None:
        row = trace.model_dump(include=TRACE_COLUMNS - {"calls", "spans", "tail"})
        row |= {"tail": None, "body": _rest(trace, TRACE_COLUMNS)}
        if trace.tail:
            planted = self._plant(trace.conversation)
            tail = {"tail_ids": planted.ids, "tail_length": len(trace.tail)}
            row |= {"tail": planted.leaf, "body": _rest(trace, TRACE_COLUMNS, tail)}
        if before := self.traces.get(trace.id):
            row |= {name: before[name] for name in STAYS if row[name] is None}
            row["started_at"] = min(row["started_at"], before["started_at"])
        self.traces[trace.id] = row
        for call in trace.calls:
            self.take(call)
        for span in trace.spans:
            self.take(span)

    def _take_call(self, call: Call) -> None:
        output = (call.output,) if call.output is not None else ()
        planted = self._plant((*call.context, *output))
        # The order of a tool's arguments is part of what the model saw.
        tools = verbatim(list(call.tools))
        toolset = digest(tools)
        self.toolsets[toolset] = tools.decode()
        row = call.model_dump(include=CALL_COLUMNS - {"context", "output", "tools"})
        self.calls[call.id] = row | {
            "context": planted.at(len(call.context)) or None,
            "output": planted.leaf if output else None,
            "toolset": toolset,
            "body": _rest(call, CALL_COLUMNS, {"ids": planted.ids}),
        }

    def _plant(self, conversation: Iterable[Message]) -> Path:
        planted = path(conversation)
        for row in planted.nodes:
            if row["id"] not in self._known:
                self.nodes[row["id"]] = row
                self.messages[row["message"]] = planted.messages[row["message"]]
        return planted

    def _opinion(
        self, connection: Connection, database: Database, opinion: Opinion
    ) -> dict[str, Any]:
        """The opinion's row; a correction grows a leaf beside the answer that it corrects."""
        row = opinion.model_dump(include=OPINION_COLUMNS)
        row |= {"node": None, "body": _rest(opinion, OPINION_COLUMNS)}
        if opinion.correction is not None and opinion.call_id is not None:
            one = select(t.call.c.context).where(t.call.c.id == opinion.call_id)
            context = connection.scalar(one)
            before = read(connection, [context])[context] if context else ()
            planted = path((*before, opinion.correction))
            bodies = [{"hash": h, "body": body} for h, body in sorted(planted.messages.items())]
            database.add(connection, t.message, bodies)
            database.add(connection, t.node, planted.nodes)
            row["node"] = planted.leaf
        return row


def _rest(record: Record, columns: set[str], more: Mapping[str, Any] | None = None) -> str:
    """What of a record has no column of its own, as one JSON text."""
    rest = record.model_dump(exclude=columns, exclude_none=True)
    return verbatim({**rest, **(more or {})}).decode()


def _by_key(rows: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    return [rows[key] for key in sorted(rows)]
