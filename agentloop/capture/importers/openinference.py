"""Spans under the OpenInference conventions, as Phoenix and its instrumentations write them.

Messages stand in numbered attributes, `llm.input_messages.0.message.content`. What the
instrumentations leave away there (an empty `{}` as arguments; calls numbered on across messages) is
understood. Where there are none, `input.value` and `output.value` are read.

Source: Arize-ai/openinference, spec/semantic_conventions.md.
"""

import re
from typing import Any

from agentloop.base.records import Json, SpanKind
from agentloop.base.records.trace import Usage
from agentloop.capture.importers.runs import Asked
from agentloop.capture.importers.turns import Heard, heard, opened, schemas

KINDS = {
    "AGENT": SpanKind.AGENT,
    "GUARDRAIL": SpanKind.GUARDRAIL,
    "LLM": SpanKind.CALL,
    "TOOL": SpanKind.TOOL,
}
"""What their kinds of spans are to us."""

MESSAGE = re.compile(r"llm\.(input|output)_messages\.(\d+)\.message\.(.+)")
CALL = re.compile(r"tool_calls\.(\d+)\.tool_call\.(id|function\.name|function\.arguments)")
CONTENT = re.compile(r"contents\.(\d+)\.message_content\.(.+)")
OFFER = re.compile(r"llm\.tools\.(\d+)\.tool\.json_schema")

ECHOES = {"id", "created_at", "instructions", "model", "base_url", "object", "usage", "messages"}
"""What stands among the invocation parameters and is no setting."""


def kind(attributes: Json) -> SpanKind | None:
    """What a span is; None when these conventions do not say."""
    named = attributes.get("openinference.span.kind")
    return KINDS.get(str(named).upper(), SpanKind.OTHER) if named else None


def asked(attributes: Json, error: str | None) -> Asked:
    """What a span tells of its model call."""
    words = _words(attributes)
    offers = sorted((int(m[1]), n) for n in attributes if (m := OFFER.fullmatch(n)))
    if offers:
        words = words._replace(tools=tuple(schemas(attributes[name] for _, name in offers)))
    given = opened(attributes.get("llm.invocation_parameters"))
    given = given if isinstance(given, dict) else {}
    if not words.tools and isinstance(given.get("tools"), list):
        words = words._replace(tools=tuple(schemas(given["tools"])))
    model = attributes.get("llm.model_name")
    settings = {
        k: v for k, v in given.items() if v is not None and k not in ECHOES and k != "tools"
    }
    return Asked(
        words,
        model=given.get("model") or model,
        served_model=model,
        settings=settings,
        usage=_usage(attributes),
        finish_reason=attributes.get("llm.finish_reason"),
        error=error if not words.said else None,
    )


def _words(attributes: Json) -> Heard:
    told, came = _messages(attributes, "input"), _messages(attributes, "output")
    given: Any = told
    value = opened(attributes.get("output.value"))
    if isinstance(value, dict) and value.keys() <= {"text", "finish_reason"} and "text" in value:
        value = [{"role": "assistant", "content": value["text"]}]
    if not told:
        given = attributes.get("input.value")
    elif told[0].get("role") == "system" and len(told) == 1:  # the rest stands in the value
        rest = opened(attributes.get("input.value"))
        given = [*told, *rest] if isinstance(rest, list) else told
    return heard(given, came or value)


def _messages(attributes: Json, which: str) -> list[Json]:
    """The messages of numbered attributes, in their order."""
    messages: dict[int, Json] = {}
    calls: dict[tuple[int, int], dict[str, Any]] = {}
    parts: dict[tuple[int, int], Json] = {}
    for name, value in attributes.items():
        found = MESSAGE.fullmatch(name)
        if not found or found[1] != which:
            continue
        place, key = int(found[2]), found[3]
        message = messages.setdefault(place, {"role": "assistant"})
        if inner := CALL.fullmatch(key):
            calls.setdefault((place, int(inner[1])), {})[inner[2]] = value
        elif inner := CONTENT.fullmatch(key):
            parts.setdefault((place, int(inner[1])), {})[inner[2]] = value
        elif key in ("role", "content", "tool_call_id", "name"):
            message[key] = value
    for (place, _), part in sorted(parts.items()):
        messages[place].setdefault("parts", []).append(_part(part))
    for (place, _), call in sorted(calls.items()):
        function = {
            "name": call.get("function.name", ""),
            "arguments": call.get("function.arguments", "{}"),
        }
        made = {"id": str(call.get("id", "")), "type": "function", "function": function}
        messages[place].setdefault("tool_calls", []).append(made)
    return [_whole(messages[place]) for place in sorted(messages)]


def _whole(message: Json) -> Json:
    parts = message.pop("parts", None)
    if parts and message.get("content") is None:
        message["content"] = parts
    return {"content": None, **message} if message["role"] == "assistant" else message


def _part(part: Json) -> Json:
    image = part.get("image.image.url")
    if image:
        return {"type": "image_url", "image_url": {"url": image}}
    return {"type": part.get("type", "text"), **{k: v for k, v in part.items() if k != "type"}}


def _usage(attributes: Json) -> Usage:
    def count(name: str) -> int:
        number = attributes.get(f"llm.token_count.{name}")
        return int(number) if isinstance(number, int | float) else 0

    return Usage(
        input_tokens=count("prompt"),
        cached_tokens=count("prompt_details.cache_read"),
        output_tokens=count("completion"),
        reasoning_tokens=count("completion_details.reasoning"),
    )
