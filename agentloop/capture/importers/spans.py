"""Spans as OpenTelemetry's SDKs, collectors and viewers write them, in one form.

Read are OTLP/JSON (`resourceSpans`, also the GenAI events in `resourceLogs`), what the SDKs'
console and file exporters write (`context` or `spanContext`), Phoenix's exports, and bare
attributes. Attributes are flat or nested; both are taken, as flat.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agentloop.base.records import Json
from agentloop.base.records.message import canonical, digest
from agentloop.capture.importers.reading import Part, Piece, Problem
from agentloop.capture.importers.runs import moment

OURS = ("gen_ai.", "llm.", "openinference.")
"""With these the names of attributes begin by which attributes without a span are known."""

EVALUATION = "gen_ai.evaluation.result"
"""The event that says what a call was worth."""

DETAILS = "gen_ai.client.inference.operation.details"
"""The event that has the messages of a call whose span has none."""


def spans(piece: Piece) -> Iterator[Part | Problem]:
    """The spans in a value, however it wraps them; each as
    `{id, parent, name, start, end, error, attributes, events, resource}`."""
    found = False
    ahead: list[tuple[Any, Json]] = [(piece.value, {})]
    while ahead:
        value, resource = ahead.pop()
        if isinstance(value, list):
            ahead += [(inner, resource) for inner in reversed(value)]
        elif not isinstance(value, dict):
            continue
        elif "scopeSpans" in value or "scopeLogs" in value:
            given = value.get("resource")
            resource = _attributes(given.get("attributes") if isinstance(given, dict) else None)
            ahead += [(value[n], resource) for n in ("scopeLogs", "scopeSpans") if n in value]
        elif _is_log(value):
            log = _log(value)
            if log is not None:
                found = True
                yield Part(piece.line, _id(value.get("traceId")) or _whole(piece), log)
        elif _is_span(value):
            found = True
            trace, span = _span(value, resource)
            if not span["id"]:
                span["id"] = digest(canonical([piece.line, len(ahead), value]))[:16]
            yield Part(piece.line, trace or _whole(piece), span)
        elif "key" not in value:
            ahead += [(inner, resource) for inner in reversed(value.values())]
    if not found:
        yield Problem(piece.line, "no span in it")


def _whole(piece: Piece) -> str:
    """The trace of spans that name none: all that stand in one value."""
    return f"import_{digest(canonical(piece.value))}"


def _is_span(value: Json) -> bool:
    named = isinstance(value.get("name"), str)
    if named and (
        "spanId" in value or "span_id" in value or "spanContext" in value or "context" in value
    ):
        return True
    if named and isinstance(value.get("attributes"), dict | list) and "events" in value:
        return True
    return any(key.startswith(OURS) and not _is_deep(given) for key, given in value.items())


def _is_deep(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and _objects(value))


def _is_log(value: Json) -> bool:
    named = value.get("eventName") in (DETAILS, EVALUATION) or value.get("event") == DETAILS
    return named or ("logRecords" not in value and "timeUnixNano" in value and "body" in value)


def _log(value: Json) -> Json | None:
    """The messages of a call, told in an event of its span, or what it was worth; None where it is
    another event."""
    attributes = _attributes(value.get("attributes") or value.get("attrs"))
    name = value.get("eventName") or attributes.get("event.name")
    if name == EVALUATION:
        about = {"name": name, "attributes": attributes, "at": value.get("timeUnixNano")}
        return {"evaluated": _id(value.get("spanId")), **about}
    if name != DETAILS:
        return None
    return {"log": _id(value.get("spanId")), "attributes": attributes}


def _span(value: Json, resource: Json) -> tuple[str, Json]:
    context = value.get("context") or value.get("spanContext") or value
    bare = "attributes" not in value and "name" not in value
    attributes = value if bare else _attributes(value.get("attributes"))
    parent = value.get("parentSpanId", value.get("parent_id", value.get("parent_span_id")))
    above = value.get("parentSpanContext")
    if parent is None and isinstance(above, dict):
        parent = above.get("spanId")
    name = value.get("name") or attributes.get("gen_ai.operation.name") or "span"
    kind = value.get("span_kind")
    if isinstance(kind, str) and "openinference.span.kind" not in attributes:
        attributes["openinference.span.kind"] = kind  # Phoenix has it beside them
    own = value.get("resource")
    if isinstance(own, dict):
        resource = _attributes(own.get("attributes"))
    start = _time(value, "startTimeUnixNano", "start_time", "startTime")
    end = _time(value, "endTimeUnixNano", "end_time", "endTime")
    span: Json = {
        "id": _id(context.get("spanId") or context.get("span_id")),
        "parent": _id(parent) or None,
        "name": str(name),
        "start": start.isoformat() if start else None,
        "end": end.isoformat() if end else None,
        "error": _error(value),
        "attributes": dict(attributes),
        "events": [_event(event) for event in value.get("events") or () if isinstance(event, dict)],
        "resource": resource,
    }
    return _id(context.get("traceId") or context.get("trace_id")), span


def _id(given: Any) -> str:
    return str(given or "").removeprefix("0x").lower()


def _time(value: Json, *names: str) -> datetime | None:
    return next((found for n in names if n in value and (found := moment(value[n]))), None)


def _event(value: Json) -> Json:
    at = value.get("timeUnixNano", value.get("timestamp"))
    return {
        "name": value.get("name"),
        "attributes": _attributes(value.get("attributes")),
        "at": at if isinstance(at, int | float | str) else None,
    }


def _error(value: Json) -> str | None:
    """Why a span failed, None when it did not."""
    status = value.get("status")
    code: Any = value.get("status_code") or status
    why = value.get("status_message") or value.get("status_desc")
    if isinstance(status, dict):
        code = status.get("code", status.get("status_code"))
        why = status.get("message") or status.get("description")
    failed = code == 2 or str(code).rpartition(".")[2].removeprefix("STATUS_CODE_") == "ERROR"
    return str(why or "it failed and does not say why") if failed else None


def _attributes(given: Any) -> Json:
    """Attributes as a flat object, whether they came as OTLP's pairs, flat, or nested."""
    if isinstance(given, list):
        pairs = [pair for pair in given if isinstance(pair, dict) and "key" in pair]
        return {str(pair["key"]): plain(pair.get("value")) for pair in pairs}
    flat: Json = {}
    if isinstance(given, dict):
        for key, value in given.items():
            _flatten(flat, str(key), value)
    return flat


def _flatten(flat: Json, key: str, value: Any) -> None:
    """Nested names joined by dots, as Phoenix unravels them; lists of objects by their index."""
    if isinstance(value, dict) and value and not key.startswith("gen_ai."):
        for inner, given in value.items():
            _flatten(flat, f"{key}.{inner}", given)
    elif isinstance(value, list) and key.startswith("llm.") and _objects(value):
        for place, given in enumerate(value):
            _flatten(flat, f"{key}.{place}", given)
    else:
        flat[key] = value


def _objects(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(inner, dict) for inner in value)


def plain(value: Any) -> Any:
    """What one of OTLP's typed values says. Integers of 64 bits come there as texts."""
    if not isinstance(value, dict):
        return value
    match value:
        case {"stringValue": text}:
            return text
        case {"intValue": number}:
            return int(number)
        case {"doubleValue": number}:
            return float(number)
        case {"boolValue": truth}:
            return bool(truth)
        case {"arrayValue": array}:
            return [plain(inner) for inner in (array or {}).get("values", ())]
        case {"kvlistValue": pairs}:
            return {p["key"]: plain(p.get("value")) for p in (pairs or {}).get("values", ())}
        case {"bytesValue": text}:
            return text
    return None
