"""The spans of a trace, as the database keeps them: some together, and nothing of them twice.

What a tool returned is in the message that told the model so. Where that is stored, the span says
which message it is.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from agentloop.base.records import Span
from agentloop.base.records.message import verbatim
from agentloop.base.records.record import of_json
from agentloop.base.store import tables as t

IN_A_PART = 64
"""So many spans are stored together."""

LONG = 100
"""Characters of a text that is worth looking for among the messages."""

SAID = "said"
"""Under this name a span keeps, of its data, what is the content of a message, by its hash."""

ERROR = '"error":'
"""What stands in the JSON of spans where one tells of an error; in a text it would be escaped."""

Fields = dict[str, Any]
"""A span without the trace that it is of, as JSON has it."""

Texts = Mapping[str, str]
"""Content -> the hash of the message that says it."""


def fields(span: Span) -> Fields:
    """What is kept of a span."""
    return {k: v for k, v in span.__dict__.items() if v is not None and k != "trace_id"}


def fresh(
    spans: Mapping[str, Mapping[str, Fields]], texts: Mapping[str, Texts]
) -> list[dict[str, Any]]:
    """Rows that hold `spans` (by trace and id), of traces that have none stored yet.

    Args:
        texts: by trace, what its messages say that are stored, or will be with these rows.
    """
    rows = []
    for trace_id, new in sorted(spans.items()):
        of_trace = list(new.values())
        _shorten(of_trace, texts.get(trace_id, {}))
        for part, start in enumerate(range(0, len(of_trace), IN_A_PART)):
            body = verbatim(of_trace[start : start + IN_A_PART])
            rows.append({"trace_id": trace_id, "part": part, "body": body})
    return rows


def stored(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of these traces that have spans."""
    step = t.step.c
    return set(connection.scalars(select(step.trace_id).where(step.trace_id.in_(list(ids)))))


def merged(
    connection: Connection,
    spans: Mapping[str, Mapping[str, Fields]],
    texts: Mapping[str, Texts],
) -> list[dict[str, Any]]:
    """Rows that hold `spans`, as for `fresh`, and what was stored with them."""
    if not spans:
        return []
    there: dict[str, dict[int, list[Fields]]] = defaultdict(dict)
    for row in _rows(connection, spans):
        there[row.trace_id][row.part] = of_json(row.body)
    rows = []
    for trace_id, new in sorted(spans.items()):
        parts, said = there[trace_id], texts.get(trace_id, {})
        changed = _placed(parts, new)
        changed |= {part for part, there in parts.items() if _shorten(there, said)}
        rows += [
            {"trace_id": trace_id, "part": part, "body": verbatim(parts[part])}
            for part in sorted(changed)
        ]
    return rows


def read(
    connection: Connection, ids: Sequence[str], *, failed: bool = False
) -> dict[str, tuple[Span, ...]]:
    """The spans of these traces, in the order they began.

    Args:
        failed: those alone that tell of an error. Of the others hardly anything is read.
    """
    found: dict[str, list[Fields]] = defaultdict(list)
    for row in _rows(connection, ids):
        if not failed:
            found[row.trace_id] += of_json(row.body)
        elif ERROR in row.body:
            found[row.trace_id] += (span for span in of_json(row.body) if "error" in span)
    hashes = {
        hash for spans in found.values() for span in spans for hash in span.get(SAID, {}).values()
    }
    message = t.message.c
    bodies: dict[str, str] = {}
    wanted = sorted(hashes)
    for start in range(0, len(wanted), 5_000):  # databases bound the parameters of a statement
        some = message.hash.in_(wanted[start : start + 5_000])
        query = select(message.hash, message.body).where(some)
        bodies |= {row.hash: row.body for row in connection.execute(query)}
    return {id: _ordered(Span(trace_id=id, **_whole(s, bodies)) for s in found[id]) for id in found}


def _rows(connection: Connection, ids: Iterable[str]) -> Any:
    step = t.step.c
    query = select(t.step).where(step.trace_id.in_(list(ids)))
    return connection.execute(query.order_by(step.trace_id, step.part))


def _placed(parts: dict[int, list[Fields]], new: Mapping[str, Fields]) -> set[int]:
    """Put the new spans in the place of those with their ids, or after all; which parts changed."""
    changed = set()
    place = {span["id"]: (part, n) for part, spans in parts.items() for n, span in enumerate(spans)}
    last = max(parts, default=0)
    for id, span in new.items():
        if id in place:
            part, n = place[id]
            parts[part][n] = span
        else:
            if len(parts.setdefault(last, [])) >= IN_A_PART:
                last += 1
            parts.setdefault(last, []).append(span)
            part = last
        changed.add(part)
    return changed


def _shorten(spans: Iterable[Fields], texts: Texts) -> bool:
    """Leave to messages what they say, too; whether there was something."""
    shorter = False
    for span in spans:
        data = span["data"]
        found = {
            name: texts[value]
            for name, value in data.items()
            if isinstance(value, str) and len(value) >= LONG and value in texts
        }
        if found:
            # The name stays where it stands: the order of the data is kept.
            span["data"] = {**data, **dict.fromkeys(found)}
            span[SAID] = {**span.get(SAID, {}), **found}
            shorter = True
    return shorter


def _whole(span: Fields, bodies: Mapping[str, str]) -> Fields:
    said = span.pop(SAID, {})
    if said:
        span["data"] |= {name: of_json(bodies[hash])["content"] for name, hash in said.items()}
    return span


def _ordered(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted(spans, key=_when))


def _when(span: Span) -> Any:
    began = span.started_at
    return (began is not None, began.timestamp() if began else 0.0, span.id)
