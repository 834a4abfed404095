"""Records in: rows for every table, gathered from what is to be stored."""

from collections.abc import Container, Mapping
from typing import Any

from sqlalchemy import Connection, and_, case, func, select

from agentloop.base.records import Call, Opinion, Outcome, Record, Span, Trace
from agentloop.base.records.message import Message, digest, verbatim
from agentloop.base.store import steps
from agentloop.base.store import tables as t
from agentloop.base.store.database import Database
from agentloop.base.store.tree import Path, Paths, read

Storable = Trace | Call | Span | Opinion | Outcome

# The fields of a record that have a column of their own; the others are in its body.
TRACE_COLUMNS = {
    *("id", "agent", "user", "session", "task_id", "version", "trial", "arm", "held_out"),
    "consent",
    *("started_at", "ended_at", "error", "calls", "spans", "tail"),
}
CALL_COLUMNS = {
    *("id", "trace_id", "index", "agent", "context", "output", "tools", "model", "version"),
    *("started_at", "ended_at"),
}
OPINION_COLUMNS = {"id", "trace_id", "call_id", "author", "score", "given_at"}
OUTCOME_COLUMNS = {"trace_id", "name", "recorded_at"}

# What stays known of a run when a record that came later (a late start, a resume) does not say.
STAYS = ("user", "session", "task_id", "version", "trial", "arm", "ended_at", "error")


TRACE_ROW = tuple(TRACE_COLUMNS - {"calls", "spans", "tail"})
CALL_BODY = CALL_COLUMNS | {"usage"}
CALL_ROW = tuple(CALL_COLUMNS - {"context", "output", "tools"})

KEPT_OF_TRACE: Mapping[str, Any] = {
    **{name: lambda new, n=name: func.coalesce(new[n], t.trace.c[n]) for name in STAYS},
    # Who once said no has said no, whatever a later record does not know of it.
    "consent": lambda new: and_(new.consent, t.trace.c.consent),
    "started_at": lambda new: case(
        (new.started_at < t.trace.c.started_at, new.started_at), else_=t.trace.c.started_at
    ),
}
"""What an upsert of a trace makes of the new row and the one that is there."""

KEPT_OF_OUTCOME: Mapping[str, Any] = {
    name: lambda new, n=name: case(
        (new.recorded_at >= t.outcome.c.recorded_at, new[n]), else_=t.outcome.c[n]
    )
    for name in ("recorded_at", "body")
}


class Batch:
    """Rows for every table, gathered from records.

    Args:
        known: hashes that are stored already; what they name is not sent again.
        paths: where conversations stand that are stored already.
    """

    def __init__(self, known: Container[str], paths: Paths) -> None:
        self._known = known
        self.media: dict[str, str] = {}
        self._stored = paths
        self.paths: dict[str, dict[str, Path]] = {}
        """Where the latest conversations of each trace stand, by agent."""
        self.messages: dict[str, bytes] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.numberings: dict[str, dict[str, Any]] = {}
        self.toolsets: dict[str, bytes] = {}
        self._toolsets: dict[tuple[int, ...], tuple[str, tuple[Any, ...]]] = {}
        """Identity of the schemas -> hash, and the schemas: calls of a run bring the same ones."""
        self.traces: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, dict[str, Any]] = {}
        self.spans: dict[str, dict[str, steps.Fields]] = {}
        self.opinions: dict[str, Opinion] = {}
        self.outcomes: dict[tuple[str, str], dict[str, Any]] = {}

    def take(self, record: Storable) -> None:
        match record:
            case Trace():
                self._take_trace(record)
            case Call():
                self._take_call(record)
            case Span():
                self.spans.setdefault(record.trace_id, {})[record.id] = steps.fields(record)
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
        named |= self.spans.keys() | {trace for trace, _ in self.outcomes}
        named |= {opinion.trace_id for opinion in self.opinions.values()}
        return named - self.traces.keys()

    def wanted_calls(self) -> set[str]:
        named = {o.call_id for o in self.opinions.values() if o.call_id is not None}
        return named - self.calls.keys()

    def write(self, connection: Connection, database: Database) -> None:
        """Write all rows. Always in the same order, so that no two writers wait for each other."""
        database.add(connection, t.media, _bodies(self.media))
        database.add(connection, t.message, _bodies(self.messages))
        database.add(connection, t.node, _by_key(self.nodes))
        database.add(connection, t.toolset, _bodies(self.toolsets))
        database.add(connection, t.numbering, _by_key(self.numberings))
        database.upsert(connection, t.trace, _by_key(self.traces), keep=KEPT_OF_TRACE)
        database.upsert(connection, t.call, _by_key(self.calls))
        if self.spans:
            database.lock(connection, t.trace.c.id, self.spans.keys() - self.traces.keys())
            texts = {id: self._texts(id) for id in self.spans}
            database.upsert(connection, t.step, steps.merged(connection, self.spans, texts))
        database.upsert(
            connection,
            t.opinion,
            [self._opinion(connection, database, o) for _, o in sorted(self.opinions.items())],
        )
        database.upsert(connection, t.outcome, _by_key(self.outcomes), keep=KEPT_OF_OUTCOME)

    def _take_trace(self, trace: Trace) -> None:
        row = {name: getattr(trace, name) for name in TRACE_ROW}
        row |= {"tail": None, "body": _rest(trace, TRACE_COLUMNS)}
        if trace.tail:
            planted = self._plant(trace.id, trace.agent, trace.conversation)
            said = planted.said_of_ids()
            tail = {f"tail_{name}": value for name, value in said.items()}
            tail |= {"tail_length": len(trace.tail)}
            row |= {"tail": planted.leaf, "body": _rest(trace, TRACE_COLUMNS, tail)}
        if before := self.traces.get(trace.id):
            row |= {name: before[name] for name in STAYS if row[name] is None}
            row["consent"] = row["consent"] and before["consent"]
            row["started_at"] = min(row["started_at"], before["started_at"])
        self.traces[trace.id] = row
        for call in trace.calls:
            self.take(call)
        for span in trace.spans:
            self.take(span)

    def _take_call(self, call: Call) -> None:
        output = (call.output,) if call.output is not None else ()
        planted = self._plant(call.trace_id, call.agent, (*call.context, *output))
        row = {name: getattr(call, name) for name in CALL_ROW}
        self.calls[call.id] = row | {
            "context": planted.at(len(call.context)) or None,
            "output": planted.leaf if output else None,
            "toolset": self._toolset(call.tools),
            # Chat Completions keeps no conversation that a later call could go on with.
            "response": call.response_id if call.api != "chat" else None,
            "body": _rest(call, CALL_BODY, {"usage": call.usage.__dict__, **planted.said_of_ids()}),
        }

    def _toolset(self, tools: tuple[Any, ...]) -> str:
        same = tuple(map(id, tools))
        if same in self._toolsets:
            return self._toolsets[same][0]
        # The order of a tool's arguments is part of what the model saw.
        body = verbatim(tools)
        toolset = digest(body)
        self._toolsets[same] = toolset, tools
        if toolset not in self._known:
            self.toolsets[toolset] = body
        return toolset

    def _plant(self, trace_id: str, agent: str, conversation: tuple[Message, ...]) -> Path:
        of_trace = self.paths.setdefault(trace_id, {})
        before = of_trace.get(agent) or self._stored.of(trace_id).get(agent)
        planted = before.to(conversation) if before else Path(conversation)
        of_trace[agent] = planted
        self._add(planted)
        return planted

    def _add(self, path: Path) -> None:
        """Whatever of a path is not stored yet. Above a node that is stored, all is stored."""
        for n in range(len(path.nodes) - 1, -1, -1):
            id, hash = path.nodes[n], path.hashes[n]
            if id in self._known or id in self.nodes:
                break
            row = {"id": id, "parent": path.at(n), "message": hash, "depth": n + 1}
            self.nodes[id] = {**row, "role": path.messages[n].role}
            self.messages[hash] = path.bodies[n]
            self.media.update(path.media[n])
        for ids in reversed(path.rows):
            if ids.hash in self._known or ids.hash in self.numberings:
                break
            self.numberings[ids.hash] = ids._asdict()

    def _texts(self, trace_id: str) -> dict[str, str]:
        """What tools returned, in messages that are stored or about to be."""
        found: dict[str, str] = {}
        for path in {**self._stored.of(trace_id), **self.paths.get(trace_id, {})}.values():
            for message, hash in zip(path.messages, path.hashes, strict=True):
                if message.role == "tool" and isinstance(message.content, str):
                    found[message.content] = hash
        return found

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
            planted = Path((*before, opinion.correction))
            grown = Batch((), self._stored)
            grown._add(planted)
            database.add(connection, t.media, _bodies(grown.media))
            database.add(connection, t.message, _bodies(grown.messages))
            database.add(connection, t.node, _by_key(grown.nodes))
            row["node"] = planted.leaf
        return row


def _rest(record: Record, columns: set[str], more: Mapping[str, Any] | None = None) -> str:
    """What of a record has no column of its own, as one JSON text."""
    fields = record.__dict__.items()
    rest = {name: value for name, value in fields if name not in columns and value is not None}
    return verbatim({**rest, **more} if more else rest).decode()


def _bodies(bodies: Mapping[str, bytes | str]) -> list[dict[str, Any]]:
    return [{"hash": hash, "body": body} for hash, body in sorted(bodies.items())]


def _by_key(rows: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    return [rows[key] for key in sorted(rows)]
