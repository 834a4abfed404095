"""What OpenTelemetry is told of one step of a run."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from agentloop.base.records import Call, Json, Span, SpanKind
from agentloop.base.records.message import digest, verbatim
from agentloop.capture.telemetry import names, shapes

Attributes = dict[str, Any]


class Asked(NamedTuple):
    """A tool call that a model made, and who it might be that answers it."""

    id: str
    name: str
    arguments: str
    """A hash of them: what is only compared is not kept."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is told of one step of a run."""

    id: str
    name: str
    kind: SpanKind
    start: datetime | None
    end: datetime | None
    attributes: Attributes
    parent: str | None = None
    error: str | None = None
    """What class of error it ended with."""
    why: str | None = None
    """What the error says; None where content is not asked for."""
    agent: str | None = None
    asked: tuple[Asked, ...] = ()
    """Of a model call: the tools that it asks for."""
    given: str | None = None
    """Of a tool's step: the hash of what it was given."""
    inner: bool = False
    """Whether it is the Agents SDK's own, and not told."""

    @property
    def weight(self) -> int:
        """About how many characters it holds in memory."""
        return 500 + sum(len(v) for v in self.attributes.values() if isinstance(v, str))


@dataclass(slots=True)
class Steps:
    """The steps of a run, as they come."""

    calls: list[Step] = field(default_factory=list)
    spans: list[Step] = field(default_factory=list)
    first: int | None = None
    """The index of the first call among them: above 0 where a run goes on that was paused."""

    def take(self, record: Call | Span, *, content: bool) -> Step:
        """Take one more, and return what is kept of it."""
        if isinstance(record, Call):
            step = chat(record, content=content)
            self.first = record.index if self.first is None else min(self.first, record.index)
            self.calls.append(step)
        else:
            step = _step(record, content=content)
            self.spans.append(step)
        return step


def chat(call: Call, *, content: bool) -> Step:
    """A model call."""
    made = call.output.calls if call.output is not None else ()
    name = f"{names.CHAT} {call.model}" if call.model else names.CHAT
    usage = call.usage if call.usage.total_tokens else None
    attributes: Attributes = {
        names.OPERATION: names.CHAT,
        names.PROVIDER: names.OPENAI if call.api else None,
        names.OPENAI_API: {"chat": "chat_completions"}.get(str(call.api), call.api),
        names.AGENT_NAME: call.agent,
        names.REQUEST_MODEL: call.model,
        names.REQUEST_STREAM: call.streamed or None,
        names.OUTPUT_TYPE: "json" if call.response_format else None,
        names.RESPONSE_ID: call.response_id,
        names.RESPONSE_MODEL: call.served_model,
        names.RESPONSE_FINISH_REASONS: [call.finish_reason] if call.finish_reason else None,
        names.USAGE_INPUT: usage and usage.input_tokens,
        names.USAGE_CACHED: (usage and usage.cached_tokens) or None,
        names.USAGE_OUTPUT: usage and usage.output_tokens,
        names.USAGE_REASONING: (usage and usage.reasoning_tokens) or None,
        names.CALL_ID: call.id,
        names.VERSION: call.version,
        **_settings(call.settings),
    }
    if content:
        attributes |= _said(call)
    error = call.error or None
    return Step(
        id=call.id,
        name=name,
        kind=SpanKind.CALL,
        start=call.started_at,
        end=call.ended_at,
        attributes=known(attributes),
        error=error and class_of(error),
        why=error if content else None,
        agent=call.agent,
        asked=tuple(Asked(c.id, c.function.name, _hash(c.function.arguments)) for c in made),
    )


def _said(call: Call) -> Attributes:
    """What a model was told, and what it said. In the Responses API the system prompt is no
    message, and so it is none here."""
    context = call.context
    system = ""
    if call.api == "responses" and context and context[0].to_dict().keys() == {"role", "content"}:
        first = context[0]
        system = first.content if first.role == "system" and isinstance(first.content, str) else ""
    instructions = [{"type": "text", "content": system}] if system else None
    said = shapes.answer(call.output, call.finish_reason) if call.output else None
    return {
        names.SYSTEM_INSTRUCTIONS: instructions and _json(instructions),
        names.INPUT_MESSAGES: _json(shapes.messages(context[1:] if system else context)),
        names.OUTPUT_MESSAGES: said and _json(said),
        names.TOOL_DEFINITIONS: _json(shapes.tools(call.tools)) if call.tools else None,
        names.INCOMPLETE: call.incomplete,
    }


def _settings(given: Json) -> Attributes:
    """The settings that the conventions know, in the types that they have there."""
    told: Attributes = {}
    for wire, name in names.SETTINGS.items():
        value = given.get(wire)
        if wire == "stop" and isinstance(value, str | list):
            told[name] = [value] if isinstance(value, str) else [str(one) for one in value]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            told[name] = value
    return told


def _step(span: Span, *, content: bool) -> Step:
    about: Attributes = {}
    name, given = span.name, None
    match span.kind:
        case SpanKind.AGENT:
            name = f"{names.INVOKE_AGENT} {span.name}"
            about = {names.OPERATION: names.INVOKE_AGENT, names.AGENT_NAME: span.name}
        case SpanKind.TOOL:
            name = f"{names.EXECUTE_TOOL} {span.name}"
            about = {
                names.OPERATION: names.EXECUTE_TOOL,
                names.TOOL_NAME: span.name,
                names.TOOL_TYPE: "function",
            }
            input = _text(span.data.get("input"))
            given = None if input is None else _hash(input)
            if content:
                about[names.TOOL_ARGUMENTS] = input
                about[names.TOOL_RESULT] = _text(span.data.get("output"))
        case SpanKind.HANDOFF:
            name = f"{names.HANDOFF} {span.name}"
            about = {
                names.OPERATION: names.HANDOFF,
                names.HANDOFF_FROM: span.data.get("from_agent"),
                names.HANDOFF_TO: span.data.get("to_agent") or span.name,
            }
        case SpanKind.GUARDRAIL:
            name = f"{names.GUARDRAIL} {span.name}"
            about = {
                names.OPERATION: names.GUARDRAIL,
                names.GUARDRAIL_TRIGGERED: span.data.get("triggered"),
            }
    error = _error(span.error) if span.error else None
    return Step(
        id=span.id,
        name=name,
        kind=span.kind,
        start=span.started_at,
        end=span.ended_at,
        attributes=known(about),
        parent=span.parent_id,
        error=error,
        why=_json(span.error) if content and span.error else None,
        agent=span.name if span.kind is SpanKind.AGENT else None,
        given=given,
        inner=_inner(span),
    )


def _inner(span: Span) -> bool:
    """Whether a step is one that the Agents SDK puts around others for its own sake."""
    if span.kind is not SpanKind.OTHER:
        return False
    data = span.data.get("data")
    if isinstance(data, dict):
        return data.get("sdk_span_type") in ("task", "turn")
    # Of a run whose words are not kept, the names are.
    return not span.data and (span.name == "turn" or span.parent_id is None)


def _error(told: Json) -> str:
    """The class of what went wrong in a step: of what its tool raised, where that is known."""
    exception = told.get("exception")
    return class_of(exception) if isinstance(exception, str) else names.OTHER_ERROR


def class_of(told: str) -> str:
    """The class of an error that is told as `Class: message`."""
    name = told.split(":")[0]
    return name if name.replace(".", "").isidentifier() else names.OTHER_ERROR


def known(attributes: Attributes) -> Attributes:
    """The attributes that have a value."""
    return {name: value for name, value in attributes.items() if value is not None}


def _json(value: Any) -> str:
    return verbatim(value).decode()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else _json(value)


def _hash(text: str) -> str:
    return digest(text.encode("utf-8", "surrogatepass"))
