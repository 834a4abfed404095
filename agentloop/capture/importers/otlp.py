"""The formats `otlp` and `openinference`: spans of OpenTelemetry, whoever made them.

A span is read under the conventions that its attributes follow, OpenTelemetry's GenAI or
OpenInference; the two formats differ in which is asked first where a span follows both.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agentloop.base.records import Json, Message, Opinion, Outcome, Source, Span, SpanKind
from agentloop.capture.importers import genai, openinference, ours
from agentloop.capture.importers.otlp_protobuf import is_protobuf, protobuf_pieces
from agentloop.capture.importers.reading import (
    EPOCH,
    UNREADABLE,
    Imported,
    Part,
    Piece,
    Problem,
    by_trace,
    pieces,
    unreadable,
)
from agentloop.capture.importers.runs import About, Step, moment, run
from agentloop.capture.importers.spans import EVALUATION, spans

SHOWN = ("input.value", "output.value", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result",
         "gen_ai.tool.name", "tool.name", "gen_ai.tool.call.id", "error.type",
         "input", "output", "ai.toolCall.args", "ai.toolCall.result")  # fmt: skip
"""What of a step around the model calls is kept as it is."""


def read_otlp(
    file: Path, *, agent: str | None = None, source: str = "otlp"
) -> Iterator[Imported | Problem]:
    """The traces of a file of spans, which may stand anywhere in it.

    Args:
        agent: the agent of runs that name none; by default the name of the file.
        source: the format: whose conventions come first.

    Raises:
        RecordError: the file cannot be read.
    """
    for found in by_trace(file, spans, values):
        yield found if isinstance(found, Problem) else _run(found, agent or file.stem, source)


def values(file: Path) -> Iterator[Piece | Problem]:
    """The values of a file, whether it is JSON or protobuf."""
    return protobuf_pieces(file) if is_protobuf(file) else pieces(file)


read_openinference = partial(read_otlp, source="openinference")


def told_apart(value: Any) -> str | None:
    """`otlp` or `openinference`, by the spans in a JSON value; None without any."""
    found = None
    for part in spans(Piece(0, value)):
        if isinstance(part, Part) and "id" in part.value:
            if openinference.kind(part.value["attributes"]):
                return "openinference"
            found = "otlp"
    return found


def _run(parts: list[Part], agent: str, source: str) -> Imported | Problem:
    id, line = parts[0].trace, parts[0].line
    told = {p.value["log"]: p.value["attributes"] for p in parts if "log" in p.value}
    found = [part for part in parts if "id" in part.value]
    if not found:
        return Problem(line, f"trace {id!r}: events, and no span that they are of")
    try:
        steps = []
        for part in found:
            more = told.get(part.value["id"], {})
            part.value["attributes"] = {**more, **part.value["attributes"]}
            steps.append(_step(part, source))
        _put_beside(parts, found)
        about = _about([part.value for part in found], agent, source)
        calls = {f"{id}/{step.span.id}" for step in steps if step.span.kind is SpanKind.CALL}
        said = list(_feedback(id, found, calls))
        opinions = [one for one in said if isinstance(one, Opinion)]
        outcomes = [one for one in said if isinstance(one, Outcome)]
        return run(id, steps, about, opinions, outcomes)
    except UNREADABLE as error:
        return Problem(line, f"trace {id!r}: {unreadable(error)}")


def _put_beside(parts: list[Part], found: list[Part]) -> None:
    """Put evaluations that came as events of their own to the spans that they are of."""
    spans = {part.value["id"]: part.value for part in found}
    for part in parts:
        if "evaluated" in part.value:
            span = spans.get(part.value["evaluated"], found[0].value)
            span["events"].append(part.value)


def _about(found: list[Json], agent: str, source: str) -> About:
    """What the spans say of their run; the first that says it is believed."""

    def first(*names: str) -> str | None:
        for name in names:
            for span in found:
                for place in (span["attributes"], span["resource"]):
                    if place.get(name) not in (None, ""):
                        return str(place[name])
        return None

    tags = next((s["attributes"].get("tag.tags") for s in found), None)
    named = [str(tag) for tag in tags] if isinstance(tags, list) else []
    return About(
        source=source,
        agent=first("gen_ai.agent.name", "ai.telemetry.functionId") or agent,
        workflow=first("gen_ai.workflow.name"),
        user=first("user.id", "enduser.id", "ai.telemetry.metadata.userId"),
        session=first("gen_ai.conversation.id", "session.id", "ai.telemetry.metadata.sessionId"),
        tags=dict.fromkeys(named, True),
        metadata={"service": service} if (service := first("service.name")) else {},
    )


def _step(part: Part, source: str) -> Step:
    span = part.value
    attributes = span["attributes"]
    ours = genai.kind(attributes)
    theirs = openinference.kind(attributes)
    by_theirs = theirs is not None and (source == "openinference" or ours is None)
    kind = (theirs if by_theirs else ours) or SpanKind.OTHER
    asked = None
    if kind in (SpanKind.CALL, SpanKind.AGENT, SpanKind.OTHER) and (ours or theirs):
        asked = (
            openinference.asked(attributes, span["error"])
            if by_theirs
            else genai.asked(attributes, span["events"], span["error"])
        )
        if kind is not SpanKind.CALL and not asked.words.found:
            asked = None
        if kind is SpanKind.OTHER and ours is None and not by_theirs:
            asked = None
    kept = {name: attributes[name] for name in SHOWN if attributes.get(name) is not None}
    if asked is not None:
        kept = {"thoughts": list(asked.words.thoughts)} if asked.words.thoughts else {}
    named = attributes.get("gen_ai.agent.name") or attributes.get("graph.node.id")
    named = named or attributes.get("ai.telemetry.functionId")
    if kind is SpanKind.AGENT and not named:
        named = attributes.get("agent.name") or span["name"]
    return Step(
        part.line,
        Span(
            id=span["id"],
            trace_id=part.trace,
            parent_id=span["parent"],
            kind=kind,
            name=span["name"],
            started_at=moment(span["start"]),
            ended_at=moment(span["end"]),
            data=kept,
            error={"message": span["error"]} if span["error"] else None,
        ),
        agent=str(named) if named and kind in (SpanKind.AGENT, SpanKind.CALL) else None,
        asked=asked,
        results=tuple(_results(attributes)) if kind is SpanKind.TOOL else (),
    )


def _results(attributes: Json) -> Iterator[Message]:
    name = attributes.get("gen_ai.tool.name") or attributes.get("tool.name")
    given = attributes.get("gen_ai.tool.call.result", attributes.get("output.value"))
    if name and isinstance(given, str):
        yield Message.model_validate({"role": "tool", "name": str(name), "content": given})


def _feedback(id: str, found: list[Part], calls: set[str]) -> Iterator[Opinion | Outcome]:
    """What was said of the run in events of its spans: by agentloop all of it, by others where it
    is a score in [0, 1]."""
    for part in found:
        span = part.value
        for place, event in enumerate(span["events"]):
            about = event["attributes"]
            if event["name"] != EVALUATION:
                continue
            at = moment(event["at"]) or moment(span["end"]) or EPOCH
            name = f"{id}/{span['id']}/opinion-{place}"
            call = f"{id}/{span['id']}"
            own = ours.feedback(
                about, id=name, trace=id, call=call if call in calls else None, at=at
            )
            score = about.get("gen_ai.evaluation.score.value")
            if own is not None:
                yield own
            elif isinstance(score, int | float) and 0 <= score <= 1:
                yield Opinion(
                    id=name,
                    trace_id=id,
                    source=Source.JUDGE,
                    author=str(about.get("gen_ai.evaluation.name") or "evaluation"),
                    score=float(score),
                    comment=about.get("gen_ai.evaluation.explanation"),
                    given_at=at,
                )
