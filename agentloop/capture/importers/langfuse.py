"""The format `langfuse`: traces and their observations, as Langfuse's API and exports give them.

Read are `{"trace", "observations"}`, a trace with its observations in it, and observations one a
line or in a list. Braintrust's spans are read too: like observations they keep what went into a
function and what came out of it. Scores become opinions (a person's or a judge's) where they lie
in [0, 1], and outcomes; corrections become corrections.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentloop.base.records import Json, Message, Opinion, Outcome, Source, Span, SpanKind
from agentloop.base.records.message import canonical, digest
from agentloop.base.records.trace import Usage
from agentloop.capture.importers.reading import (
    EPOCH,
    UNREADABLE,
    Imported,
    Part,
    Piece,
    Problem,
    by_trace,
    unreadable,
)
from agentloop.capture.importers.runs import About, Asked, Step, moment, run
from agentloop.capture.importers.turns import Heard, heard, opened, schemas

KINDS = {
    "agent": SpanKind.AGENT,
    "generation": SpanKind.CALL,
    "guardrail": SpanKind.GUARDRAIL,
    "llm": SpanKind.CALL,
    "tool": SpanKind.TOOL,
}
"""What their types of observations are to us, in small letters."""

SETTINGS = {
    "frequency_penalty", "max_completion_tokens", "max_output_tokens", "max_tokens",
    "parallel_tool_calls", "presence_penalty", "reasoning_effort", "seed", "stop",
    "temperature", "tool_choice", "top_p",
}  # fmt: skip
"""What of a model's parameters is a setting; tracers write much else there."""

TRUTHS = {"true": True, "false": False}
"""What is written down as a text there."""

TRACE = "trace"


def read_langfuse(file: Path, *, agent: str | None = None) -> Iterator[Imported | Problem]:
    """The traces of a file; observations of one trace may stand anywhere in it.

    Args:
        agent: the agent of runs that name none; by default the name of the file.

    Raises:
        RecordError: the file cannot be read.
    """
    for found in by_trace(file, _parts):
        yield found if isinstance(found, Problem) else _run(found, agent or file.stem)


def is_langfuse(value: Any) -> bool:
    """Whether a JSON value holds traces, observations, or spans with an input and an output."""
    return any(isinstance(part, Part) for part in _parts(Piece(0, value)))


def _parts(piece: Piece) -> Iterator[Part | Problem]:
    """The traces, observations and scores in a value."""
    values = piece.value if isinstance(piece.value, list) else [piece.value]
    whole = f"import_{digest(canonical(piece.value))}"
    found = False
    for value in values:
        if not isinstance(value, dict):
            continue
        for part in _of(value, whole):
            found = True
            yield Part(piece.line, *part)
    if not found:
        yield Problem(piece.line, "no trace, no observation and no span with an input or output")


def _of(value: Json, whole: str) -> Iterator[tuple[str, Json]]:
    """What a value tells, and of which trace."""
    listed = value.get("observations")
    trace = value.get("trace") if isinstance(value.get("trace"), dict) else None
    if isinstance(listed, list) and all(isinstance(item, dict) for item in listed):
        told: Json = trace or value
        id = str(told.get("id") or whole)
        bare = {k: v for k, v in told.items() if k not in ("observations", "input", "output")}
        yield id, {"is": TRACE, **bare}
        for item in listed:
            yield id, item
    elif _is_observation(value):
        names = ("traceId", "trace_id", "root_span_id")
        yield str(next((value[n] for n in names if value.get(n)), whole)), value


def _is_observation(value: Json) -> bool:
    typed = str(value.get("type", "")).lower() in {*KINDS, "span", "event", "chain"}
    if typed and ("traceId" in value or "trace_id" in value):
        return True
    return bool(value.keys() & {"input", "output"}) and "messages" not in value


def _run(parts: list[Part], agent: str) -> Imported | Problem:
    id, line = parts[0].trace, parts[0].line
    told: Json = next((p.value for p in parts if p.value.get("is") == TRACE), {})
    try:
        steps = [
            _step(part, place) for place, part in enumerate(parts) if part.value.get("is") != TRACE
        ]
        if not any(step.asked and step.asked.words.found for step in steps):
            reasons = dict.fromkeys(w for s in steps if s.asked for w in s.asked.words.missing)
            told_why = f" ({'; '.join(reasons)})" if reasons else ""
            return Problem(line, f"trace {id!r}: no message in any input or output{told_why}")
        given = opened(told.get("metadata"))
        tags = told.get("tags")
        about = About(
            source="langfuse",
            agent=agent,
            workflow=told.get("name"),
            user=_text(told.get("userId")),
            session=_text(told.get("sessionId")),
            tags=dict.fromkeys(map(str, tags), True) if isinstance(tags, list) else {},
            metadata=given if isinstance(given, dict) else {},
        )
        calls = [s.span.id for s in steps if s.span.kind is SpanKind.CALL]
        return run(id, steps, about, _opinions(id, told, calls), _outcomes(id, told))
    except UNREADABLE as error:
        return Problem(line, f"trace {id!r}: {unreadable(error)}")


def _text(given: Any) -> str | None:
    return str(given) if given not in (None, "") else None


def _step(part: Part, place: int) -> Step:
    value = part.value
    about = value.get("span_attributes")
    about = about if isinstance(about, dict) else {}
    metadata = opened(value.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    named = str(about.get("type") or value.get("type") or "").lower()
    kind = KINDS.get(named, SpanKind.OTHER)
    id = str(value.get("span_id") or value.get("id") or f"{part.line}-{place}")
    name = str(about.get("name") or value.get("name") or named or "span")
    error = value.get("error") or (value.get("statusMessage") if _failed(value) else None)
    asked: Asked | None = _asked(value, metadata, str(error) if error else None)
    if asked and (kind is SpanKind.TOOL or (kind is SpanKind.OTHER and not asked.words.found)):
        asked = Asked(Heard(missing=asked.words.missing)) if asked.words.missing else None
    parents = value.get("span_parents")
    parent = parents[0] if isinstance(parents, list) and parents else None
    metrics = value.get("metrics") if isinstance(value.get("metrics"), dict) else {}
    kept: Json = {"thoughts": list(asked.words.thoughts)} if asked and asked.words.thoughts else {}
    if kind is not SpanKind.CALL and not (asked and asked.words.found):
        kept |= {n: value[n] for n in ("input", "output") if value.get(n) is not None}
    return Step(
        part.line,
        Span(
            id=id,
            trace_id=part.trace,
            parent_id=_text(value.get("parentObservationId") or parent),
            kind=kind,
            name=name,
            started_at=moment((metrics or {}).get("start") or value.get("startTime")),
            ended_at=moment((metrics or {}).get("end") or value.get("endTime")),
            data=kept,
            error={"message": str(error)} if error else None,
        ),
        agent=name if kind is SpanKind.AGENT else None,
        asked=asked,
        results=tuple(_results(value, name)) if kind is SpanKind.TOOL else (),
    )


def _failed(value: Json) -> bool:
    return str(value.get("level")).upper() == "ERROR"


def _results(value: Json, name: str) -> Iterator[Message]:
    given = value.get("output")
    if isinstance(given, str):
        yield Message.model_validate({"role": "tool", "name": name, "content": given})


def _asked(value: Json, metadata: Json, error: str | None) -> Asked:
    given = value.get("modelParameters")
    parameters: Json = given if isinstance(given, dict) else {}
    came = opened(value.get("output"))
    words = heard(value.get("input"), came, system=_system(value, came, parameters))
    if not words.tools:
        words = words._replace(tools=tuple(schemas(_offers(value, metadata))))
    usage = value.get("usageDetails") or value.get("usage") or {}
    metrics = value.get("metrics") if isinstance(value.get("metrics"), dict) else {}
    model = value.get("model") or metadata.get("model")
    return Asked(
        words,
        model=model if isinstance(model, str) else None,
        settings={
            name: TRUTHS.get(str(setting), opened(setting))
            for name, setting in parameters.items()
            if name in SETTINGS and setting is not None
        },
        usage=_usage(usage if isinstance(usage, dict) else {}, metrics or {}),
        response_id=_text(came.get("id")) if isinstance(came, dict) else None,
        error=error if not words.said else None,
    )


def _system(value: Json, came: Any, parameters: Json) -> Any:
    """The system prompt, where a response of the Responses API alone repeats it."""
    said = came.get("instructions") if isinstance(came, dict) else None
    said = said or parameters.get("instructions")
    given = opened(value.get("input"))
    first = given[0] if isinstance(given, list) and given else None
    has = isinstance(first, dict) and first.get("role") in ("system", "developer")
    return said if isinstance(said, str) and not has else None


def _offers(value: Json, metadata: Json) -> list[Any]:
    """The tools that were on offer, from the places that tracers keep them in."""
    inner = metadata.get("attributes")
    for place in (metadata, inner if isinstance(inner, dict) else {}):
        for name in ("tools", "ai.prompt.tools"):
            offered = opened(place.get(name))
            if isinstance(offered, list) and offered:
                return offered
    named = value.get("toolDefinitions")
    if isinstance(named, dict):
        pairs = [(name, opened(more)) for name, more in named.items()]
        return [{"name": n, **(more if isinstance(more, dict) else {})} for n, more in pairs]
    return named if isinstance(named, list) else []


def _usage(usage: Json, metrics: Json) -> Usage:
    def count(*names: str) -> int:
        for name in names:
            for place in (usage, metrics):
                if isinstance(number := place.get(name), int | float):
                    return int(number)
        return 0

    return Usage(
        input_tokens=count("input", "prompt_tokens", "promptTokens"),
        cached_tokens=count("input_cached_tokens", "prompt_details.cache_read"),
        output_tokens=count("output", "completion_tokens", "completionTokens"),
        reasoning_tokens=count("output_reasoning_tokens", "completion_details.reasoning"),
    )


# ---------------------------------------------------------------------- what it was worth


def _scores(told: Json) -> list[Json]:
    given = [*(told.get("scores") or ()), *(told.get("corrections") or ())]
    return [score for score in given if isinstance(score, dict) and score.get("id")]


def _opinions(id: str, told: Json, calls: list[str]) -> Iterator[Opinion]:
    for score in _scores(told):
        correction = score.get("dataType") == "CORRECTION"
        value = score.get("value")
        numeric = isinstance(value, int | float) and 0 <= value <= 1 and not correction
        text = score.get("longStringValue") or score.get("stringValue")
        if not numeric and not (correction and text):
            continue
        about = score.get("observationId")
        if correction and about not in calls:
            about = calls[-1] if calls else None
        person = score.get("source") == "ANNOTATION"
        yield Opinion(
            id=str(score["id"]),
            trace_id=id,
            call_id=f"{id}/{about}" if about in calls else None,
            source=Source.PERSON if person else Source.JUDGE,
            author=str((score.get("authorUserId") if person else None) or score.get("name")),
            score=float(value) if numeric and value is not None else None,
            comment=score.get("comment") or None,
            correction=Message(role="assistant", content=str(text)) if correction else None,
            given_at=moment(score.get("timestamp")) or EPOCH,
        )


def _outcomes(id: str, told: Json) -> Iterator[Outcome]:
    """Scores that are a text, or a number that is no quality in [0, 1]."""
    for score in _scores(told):
        value, text = score.get("value"), score.get("stringValue")
        if score.get("dataType") == "CORRECTION" or not score.get("name"):
            continue
        if text or not (isinstance(value, int | float) and 0 <= value <= 1):
            yield Outcome(
                trace_id=id,
                name=str(score["name"]),
                value=text or (float(value) if isinstance(value, int | float) else None),
                recorded_at=moment(score.get("timestamp")) or EPOCH,
            )
