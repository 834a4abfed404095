"""Records in: rows for every table, gathered from what is to be stored."""

from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, and_, case, func, select

from agentloop.base.records import Call, Opinion, Outcome, Record, Span, Trace
from agentloop.base.records.message import ROOT, Message, digest, verbatim
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
OWN: Mapping[type[Record], set[str]] = {
    Trace: TRACE_COLUMNS,
    Call: CALL_COLUMNS | {"usage"},
    Opinion: OPINION_COLUMNS,
    Outcome: OUTCOME_COLUMNS,
}
"""What of a record is not put into its body as it is."""
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
        after: what will have been written before this is.
        era: in which `known` and `paths` hold (`changes.era`); None: nothing is taken for granted.
    """

    def __init__(
        self,
        known: Container[str],
        paths: Paths,
        after: "Batch | None" = None,
        era: int | None = None,
    ) -> None:
        self.era = era
        self._known = known
        self._soon = after.named if after else frozenset[str]()
        """What will be known by then."""
        self._soon_paths = after.paths if after else {}
        self.media: dict[str, str] = {}
        self._stored = paths
        self.paths: dict[str, dict[str, Path]] = {}
        """Where the latest conversations of each trace stand, by agent."""
        self.messages: dict[str, bytes] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.numberings: dict[str, dict[str, Any]] = {}
        self.toolsets: dict[str, bytes] = {}
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
                self._take_spans((record,))
            case Opinion():
                self.opinions[record.id] = record
            case Outcome():
                key = record.trace_id, record.name
                row = record.model_dump(include=OUTCOME_COLUMNS)
                row |= {"body": _rest(record)}
                before = self.outcomes.get(key, row)
                self.outcomes[key] = max(before, row, key=lambda row: row["recorded_at"])

    @property
    def named(self) -> frozenset[str]:
        """Hashes of what it writes, that need not be sent again."""
        return frozenset(chain(self.nodes, self.numberings, self.toolsets))

    def wanted_traces(self) -> set[str]:
        named = {row["trace_id"] for row in self.calls.values()}
        named |= self.spans.keys() | {trace for trace, _ in self.outcomes}
        named |= {opinion.trace_id for opinion in self.opinions.values()}
        return named - self.traces.keys()

    def wanted_calls(self) -> set[str]:
        named = {o.call_id for o in self.opinions.values() if o.call_id is not None}
        return named - self.calls.keys()

    def make_ready(self, database: Database) -> None:
        """Do all that needs no transaction: `write` is SQL, and little else."""
        self._rows = [
            database.ready(t.media, _bodies(self.media)),
            database.ready(t.message, _bodies(self.messages)),
            database.ready(t.node, _by_key(self.nodes)),
            database.ready(t.toolset, _bodies(self.toolsets)),
            database.ready(t.numbering, _by_key(self.numberings)),
            database.ready(t.trace, _by_key(self.traces), keep=KEPT_OF_TRACE),
            database.ready(t.call, _by_key(self.calls), keep={}),
        ]
        self._texts = {id: self._said_by_tools(id) for id in self.spans}
        new = self.traces.keys() - self._soon_paths.keys()
        self._steps = steps.fresh(
            {
                id: spans
                for id, spans in self.spans.items()
                if id in new and not self._stored.of(id)
            },
            self._texts,
        )
        self._step_rows = database.ready(t.step, self._steps, keep={})

    def write(self, connection: Connection, database: Database) -> None:
        """Write all rows that were made ready. Always in the same order, so that no two writers
        wait for each other."""
        for ready in self._rows:
            database.run(connection, ready)
        if self.spans:
            database.lock(connection, t.trace.c.id, self.spans.keys() - self.traces.keys())
            self._write_steps(connection, database)
        database.upsert(
            connection,
            t.opinion,
            [self._opinion(connection, database, o) for _, o in sorted(self.opinions.items())],
        )
        database.upsert(connection, t.outcome, _by_key(self.outcomes), keep=KEPT_OF_OUTCOME)

    def _write_steps(self, connection: Connection, database: Database) -> None:
        ready, new = self._step_rows, {row["trace_id"] for row in self._steps}
        if there := new & steps.stored(connection, new):  # it was no new trace after all
            new -= there
            rows = [row for row in self._steps if row["trace_id"] in new]
            ready = database.ready(t.step, rows, keep={})
        database.run(connection, ready)
        others = {id: spans for id, spans in self.spans.items() if id not in new}
        rows = steps.merged(connection, others, self._texts)
        database.upsert(connection, t.step, rows)

    def _take_trace(self, trace: Trace) -> None:
        row = {name: getattr(trace, name) for name in TRACE_ROW}
        row |= {"tail": None, "body": _rest(trace)}
        if trace.tail:
            planted = self._plant(trace.id, trace.agent, trace.conversation)
            said = planted.said_of_ids()
            tail = {f"tail_{name}": value for name, value in said.items()}
            tail |= {"tail_length": len(trace.tail)}
            row |= {"tail": planted.leaf, "body": _rest(trace, tail)}
        if before := self.traces.get(trace.id):
            row |= {name: before[name] for name in STAYS if row[name] is None}
            row["consent"] = row["consent"] and before["consent"]
            row["started_at"] = min(row["started_at"], before["started_at"])
        self.traces[trace.id] = row
        for call in trace.calls:
            self._take_call(call)
        self._take_spans(trace.spans)

    def _take_call(self, call: Call) -> None:
        output = call.output
        planted = self._plant(call.trace_id, call.agent, call.path)
        row = {name: getattr(call, name) for name in CALL_ROW}
        self.calls[call.id] = row | {
            "context": planted.at(len(call.context)) or None,
            "output": None if output is None else planted.leaf,
            "toolset": self._toolset(call.tools),
            # Chat Completions keeps no conversation that a later call could go on with.
            "response": call.response_id if call.api != "chat" else None,
            "body": _rest(call, {"usage": call.usage.__dict__, **planted.said_of_ids()}),
        }

    def _take_spans(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self.spans.setdefault(span.trace_id, {})[span.id] = steps.fields(span)

    def _toolset(self, tools: tuple[Any, ...]) -> str:
        # The order of a tool's arguments is part of what the model saw.
        body = verbatim(tools)
        toolset = _digest_of_tools(body)
        if toolset not in self._known and toolset not in self._soon:
            self.toolsets[toolset] = body
        return toolset

    def _plant(self, trace_id: str, agent: str, conversation: tuple[Message, ...]) -> Path:
        """The path of a conversation. What it shares with the one before is not walked again."""
        of_trace = self.paths.setdefault(trace_id, {})
        own = of_trace.get(agent)
        path = own or self._before(trace_id).get(agent)
        if path is not None and path.leads_to(conversation):
            path = path if path is own else path.copy()  # others may be going on with it, too
            path.go_on(conversation)
        else:
            path = Path(conversation)
        of_trace[agent] = path
        self._add(path)
        return path

    def _before(self, trace_id: str) -> dict[str, Path]:
        """The paths of a trace that are stored, or will be."""
        return {**self._stored.of(trace_id), **self._soon_paths.get(trace_id, {})}

    def _add(self, path: Path) -> None:
        """Whatever of a path is not stored yet. Above a node that is stored, all is stored."""
        known, soon, nodes = self._known, self._soon, self.nodes
        for n in range(len(path.nodes) - 1, -1, -1):
            id, hash = path.nodes[n], path.hashes[n]
            if id in nodes or id in known or id in soon:
                break
            nodes[id] = {
                "id": id,
                "parent": path.nodes[n - 1] if n else ROOT,
                "message": hash,
                "role": path.messages[n].role,
                "depth": n + 1,
            }
            self.messages[hash] = path.bodies[n]
            if path.media[n]:
                self.media.update(path.media[n])
        for ids in reversed(path.rows):
            if ids.hash in self.numberings or ids.hash in known or ids.hash in soon:
                break
            self.numberings[ids.hash] = ids._asdict()

    def _said_by_tools(self, trace_id: str) -> dict[str, str]:
        """What tools returned, in messages that are stored or about to be."""
        found: dict[str, str] = {}
        for path in {**self._before(trace_id), **self.paths.get(trace_id, {})}.values():
            for message, hash in zip(path.messages, path.hashes, strict=True):
                if message.role == "tool" and isinstance(message.content, str):
                    found[message.content] = hash
        return found

    def _opinion(
        self, connection: Connection, database: Database, opinion: Opinion
    ) -> dict[str, Any]:
        """The opinion's row; a correction grows a leaf beside the answer that it corrects."""
        row = opinion.model_dump(include=OPINION_COLUMNS)
        row |= {"node": None, "body": _rest(opinion)}
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


_digest_of_tools = lru_cache(maxsize=256)(digest)
"""An agent offers the same tools in each of its calls."""


NOTHING: Mapping[str, Any] = MappingProxyType({})


def _rest(record: Record, more: Mapping[str, Any] = NOTHING) -> str:
    """What of a record has no column of its own, as one JSON text."""
    said = record.__dict__
    rest = {name: said[name] for name in _names(type(record)) if said[name] is not None}
    return verbatim({**rest, **more}).decode()


@lru_cache
def _names(kind: type[Record]) -> tuple[str, ...]:
    return tuple(name for name in kind.model_fields if name not in OWN[kind])


def _bodies(bodies: Mapping[str, bytes | str]) -> list[dict[str, Any]]:
    return [{"hash": hash, "body": body} for hash, body in sorted(bodies.items())]


def _by_key(rows: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    return [rows[key] for key in sorted(rows)]
