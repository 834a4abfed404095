"""Spans under OpenTelemetry's GenAI conventions, those of earlier years and of the AI SDK included.

Messages stand in `gen_ai.input.messages` and `gen_ai.output.messages`, with the system prompt and
the tools beside them; before that in `gen_ai.prompt` and `gen_ai.completion`, in numbered
attributes, or in events of the span. The AI SDK has names of its own, `ai.*`.

Source: open-telemetry/semantic-conventions-genai, docs/gen-ai (all of it "Development").
"""

import re
from typing import Any

from agentloop.base.records import Json, SpanKind
from agentloop.base.records.trace import Usage
from agentloop.capture.importers import ours
from agentloop.capture.importers.runs import Asked
from agentloop.capture.importers.turns import Heard, heard, opened, schemas

KINDS = {
    "chat": SpanKind.CALL,
    "create_agent": SpanKind.OTHER,
    "embeddings": SpanKind.OTHER,
    "execute_tool": SpanKind.TOOL,
    "generate_content": SpanKind.CALL,
    "handoff": SpanKind.HANDOFF,
    "guardrail_check": SpanKind.GUARDRAIL,
    "invoke_agent": SpanKind.AGENT,
    "text_completion": SpanKind.CALL,
}
"""What their operations are to us."""

AI_SDK = {"ai.toolCall": SpanKind.TOOL}
"""The AI SDK's; those that end in `.doGenerate` or `.doStream` are model calls."""

SETTINGS = {
    "choice.count": "n",
    "frequency_penalty": "frequency_penalty",
    "max_tokens": "max_tokens",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop_sequences": "stop",
    "temperature": "temperature",
    "top_p": "top_p",
}
"""Their names of settings after `gen_ai.request.`, and those on OpenAI's wire."""

REPR = re.compile(r"\{'content': |\{'role': |Response\w+\(|ChatCompletion\w*\(")
"""How a message begins that an instrumentation wrote down as Python shows it."""

NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(\d+)\.(.+)")
TOOL_CALL = re.compile(r"tool_calls\.(\d+)\.(id|name|arguments)")


def kind(attributes: Json) -> SpanKind | None:
    """What a span is; None when these conventions do not say."""
    operation = attributes.get("ai.operationId")
    if isinstance(operation, str):
        last = operation.rpartition(".")[2]
        if last in ("doGenerate", "doStream"):
            return SpanKind.CALL
        return AI_SDK.get(operation, SpanKind.AGENT if "prompt" in str(attributes) else None)
    named = attributes.get("gen_ai.operation.name")
    if isinstance(named, str):
        return KINDS.get(named, SpanKind.OTHER)
    if "gen_ai.tool.name" in attributes or attributes.get("traceloop.span.kind") == "tool":
        return SpanKind.TOOL
    if "gen_ai.request.model" in attributes or "gen_ai.input.messages" in attributes:
        return SpanKind.CALL
    return SpanKind.AGENT if "gen_ai.agent.name" in attributes else None


def asked(attributes: Json, events: list[Json], error: str | None) -> Asked:
    """What a span tells of its model call."""
    words = ours.words(attributes) if ours.is_ours(attributes) else _words(attributes, events)
    offered = None if words.tools else opened(attributes.get("gen_ai.tool.definitions"))
    offered = offered or attributes.get("ai.prompt.tools")
    offered = offered or attributes.get("gen_ai.request.tools")
    if isinstance(tools := opened(offered), list):
        words = words._replace(tools=tuple(schemas(tools)))
    if any(REPR.match(message.text) for message in words.said):
        words = words._replace(missing=(*words.missing, "what the model said is told as Python"))
    reasons = opened(attributes.get("gen_ai.response.finish_reasons"))
    return Asked(
        words,
        model=attributes.get("gen_ai.request.model") or attributes.get("ai.model.id"),
        served_model=attributes.get("gen_ai.response.model"),
        settings={
            wire: attributes[f"gen_ai.request.{name}"]
            for name, wire in SETTINGS.items()
            if attributes.get(f"gen_ai.request.{name}") is not None
        },
        usage=_usage(attributes),
        finish_reason=str(reasons[0]) if isinstance(reasons, list) and reasons else None,
        response_id=attributes.get("gen_ai.response.id"),
        streamed=attributes.get("gen_ai.request.stream") is True,
        error=error if not words.said else None,
    )


def _words(attributes: Json, events: list[Json]) -> Heard:
    """The messages, from the first place that has any."""
    system = attributes.get("gen_ai.system_instructions")
    given = attributes.get("gen_ai.input.messages")
    came = attributes.get("gen_ai.output.messages")
    if given or came:
        if system and _begins_with_system(opened(given)):
            system = None
        return heard(given, came, system=system)
    if "ai.prompt.messages" in attributes or "ai.prompt" in attributes:
        return heard(
            attributes.get("ai.prompt.messages") or attributes["ai.prompt"], _ai(attributes)
        )
    if "gen_ai.prompt" in attributes or "gen_ai.completion" in attributes:
        return heard(attributes.get("gen_ai.prompt"), _text(attributes.get("gen_ai.completion")))
    if any(NUMBERED.fullmatch(name) for name in attributes):
        return heard(_numbered(attributes, "prompt"), _numbered(attributes, "completion"))
    if told := [event for event in events if str(event.get("name")).startswith("gen_ai.")]:
        return _from_events(told, system)
    return heard(attributes.get("input"), _text(attributes.get("output")), system=system)


def _begins_with_system(given: Any) -> bool:
    first = given[0] if isinstance(given, list) and given else None
    return isinstance(first, dict) and first.get("role") in ("system", "developer")


def _text(given: Any) -> Any:
    """A completion that is a text and a finish reason is what the assistant said."""
    came = opened(given)
    if isinstance(came, dict) and came.keys() <= {"text", "finish_reason"} and "text" in came:
        return [{"role": "assistant", "content": came["text"]}]
    return came


def _ai(attributes: Json) -> Any:
    parts: list[Json] = []
    if thought := attributes.get("ai.response.reasoning"):
        parts.append({"type": "reasoning", "text": thought})
    if text := attributes.get("ai.response.text") or attributes.get("ai.response.object"):
        parts.append({"type": "text", "text": text})
    calls = opened(attributes.get("ai.response.toolCalls"))
    parts += [{"type": "tool-call", **call} for call in calls or () if isinstance(call, dict)]
    return [{"role": "assistant", "content": parts}] if parts else None


def _numbered(attributes: Json, which: str) -> list[Json]:
    """Messages told in attributes with a number each, `gen_ai.prompt.0.content`."""
    messages: dict[int, Json] = {}
    calls: dict[tuple[int, int], Json] = {}
    for name, value in attributes.items():
        found = NUMBERED.fullmatch(name)
        if not found or found[1] != which:
            continue
        place, key = int(found[2]), found[3]
        message = messages.setdefault(place, {"role": "assistant"})
        if inner := TOOL_CALL.fullmatch(key):
            calls.setdefault((place, int(inner[1])), {})[inner[2]] = value
        elif key in ("role", "content", "tool_call_id", "name"):
            message[key] = opened(value) if key == "content" and _is_parts(value) else value
    for (place, _), call in sorted(calls.items()):
        function = {"name": call.get("name", ""), "arguments": call.get("arguments", "{}")}
        made = {"id": call.get("id", ""), "type": "function", "function": function}
        messages[place].setdefault("tool_calls", []).append(made)
    return [{"content": None, **messages[place]} for place in sorted(messages)]


def _is_parts(value: Any) -> bool:
    return isinstance(value, str) and value.startswith('[{"type"')


def _from_events(events: list[Json], system: Any) -> Heard:
    """Messages told in events: `gen_ai.user.message` and the like, `gen_ai.choice`."""
    given: list[Any] = []
    came: list[Any] = []
    for event in events:
        name, about = str(event["name"]), event["attributes"]
        if name in ("gen_ai.content.prompt", "gen_ai.content.completion"):
            body = opened(about.get(name.replace("content.", "")))
            (given if name.endswith("prompt") else came).extend(
                body if isinstance(body, list) else [body] if body else []
            )
        elif name == "gen_ai.choice":
            came.append({"role": "assistant", **_told(opened(about.get("message")) or about)})
        elif name.endswith(".message"):
            given.append({"role": name.split(".")[1], **_told(about)})
        elif about.get("gen_ai.input.messages") or about.get("gen_ai.output.messages"):
            return _words(about, [])
    return heard(given, came, system=system)


def _told(about: Any) -> Json:
    if not isinstance(about, dict):
        return {"content": str(about)}
    told = {k: about[k] for k in ("content", "role", "name") if about.get(k) is not None}
    if about.get("tool_calls"):
        told |= {"content": told.get("content"), "tool_calls": opened(about["tool_calls"])}
    if about.get("id"):
        told["tool_call_id"] = about["id"]
    return told


def _usage(attributes: Json) -> Usage:
    def count(*names: str) -> int:
        for name in names:
            if isinstance(number := attributes.get(name), int | float):
                return int(number)
        return 0

    return Usage(
        input_tokens=count(
            "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "ai.usage.promptTokens"
        ),
        cached_tokens=count("gen_ai.usage.cache_read.input_tokens", "ai.usage.cachedInputTokens"),
        output_tokens=count(
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "ai.usage.completionTokens",
        ),
        reasoning_tokens=count(
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "ai.usage.reasoningTokens",
        ),
    )
