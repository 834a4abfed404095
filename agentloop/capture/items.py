"""The Agents SDK's Responses items as Chat Completions messages, and its tools as schemas."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from agents import FunctionTool, Handoff, ModelSettings, Tool
from agents.agent_output import AgentOutputSchemaBase
from agents.models.openai_responses import Converter

from agentloop.base.records import Json, Message
from agentloop.base.records.media import named
from agentloop.base.records.message import digest


class Said(NamedTuple):
    """Messages, and what had no form as a message."""

    messages: tuple[Message, ...]
    missing: tuple[str, ...]
    """One sentence for each item that could not be kept; empty when nothing is lost."""


def messages(items: str | Iterable[Any], system: str | None = None, *, chat: bool = False) -> Said:
    """What a model sees of `items`, as the Chat Completions API would be sent it.

    Text, images, files, function calls and their outputs are kept; argument strings and tool-call
    ids byte for byte. Reasoning is private to the model that thought it, and no part of a message.

    Args:
        chat: whether they are sent to that API, by the SDK, which leaves away of a tool's output
            what is no text.
    """
    talk = _Talk(chat)
    if system:
        talk.said.append({"role": "system", "content": system})
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        try:
            talk.add(_as_dict(item))
        except (AttributeError, KeyError, TypeError) as error:
            talk.missing.append(f"an item cannot be read: {type(error).__name__}: {error}")
    return Said(tuple(map(Message.model_validate, talk.said)), tuple(talk.missing))


def answer(items: Iterable[Any]) -> Said:
    """The one assistant message that a response is, and what of it could not be kept."""
    said = messages(items)
    if len(said.messages) > 1:
        said = Said(said.messages[:1], (*said.missing, "the response has several messages"))
    return said


class _Talk:
    """Messages while they are put together. What an assistant says in several items, one after the
    other, is one message, as the SDK has it too."""

    def __init__(self, chat: bool) -> None:
        self.said: list[Json] = []
        self.missing: list[str] = []
        self._chat = chat
        self._turn: Json | None = None  # the assistant message that the present items add to

    def add(self, item: Mapping[str, Any]) -> None:
        match item.get("type", "message"):
            case "message" if item.get("role") == "assistant":
                self._assistant(item)
            case "message":
                self._turn = None
                self.said.append({"role": item["role"], "content": self._content(item["content"])})
            case "function_call":
                function = {"name": item["name"], "arguments": item["arguments"] or "{}"}
                call = {"id": item["call_id"], "type": "function", "function": function}
                turn = self._turn or self._new_turn(content=None)
                turn.setdefault("tool_calls", []).append(call)
            case "function_call_output":
                self._turn = None
                output = self._output(item["output"])
                said = {"role": "tool", "tool_call_id": item["call_id"], "content": output}
                self.said.append(said)
            case "reasoning":
                pass
            case kind:
                self.missing.append(f"an item of type {kind!r} has no Chat Completions form")

    def _assistant(self, item: Mapping[str, Any]) -> None:
        content = item.get("content")
        if (
            isinstance(content, str) or content is None
        ):  # as a caller writes it, not as a model does
            self._new_turn(content=content)
            self._turn = None
            return
        texts = [part["text"] for part in content if "text" in part]
        refusals = [part["refusal"] for part in content if part.get("type") == "refusal"]
        said: Json = {"content": "\n".join(texts)} if texts else {}
        said |= {"refusal": refusals[-1]} if refusals else {}
        turn = self._turn
        if turn and "tool_calls" in turn and turn.get("content") is None and "refusal" not in turn:
            turn.update(said)
        else:
            self._new_turn(**said)

    def _new_turn(self, **fields: Any) -> Json:
        self._turn = {"role": "assistant", **fields}
        self.said.append(self._turn)
        return self._turn

    def _output(self, output: Any) -> Any:
        parts = self._content(output)
        if self._chat and isinstance(parts, list):
            return [part for part in parts if part["type"] == "text"] or OMITTED
        return parts

    def _content(self, content: Any) -> Any:
        """Text as it is, or the parts under their Chat Completions names."""
        if content is None or isinstance(content, str):
            return content or ""
        return [self._part(part) for part in content]

    def _part(self, part: Mapping[str, Any]) -> Json:
        kind = str(part.get("type"))
        match kind:
            case "input_text" | "output_text" | "text":
                return {"type": "text", "text": part["text"]}
            case "input_image" if part.get("image_url"):
                detail = part.get("detail") or "auto"
                image = {"url": part["image_url"], "detail": DETAILS.get(detail, detail)}
                return {"type": "image_url", "image_url": image}
            case "input_file" if part.get("file_data") or part.get("file_id"):
                names = ("file_data", "filename", "file_id")
                return {"type": "file", "file": {n: part[n] for n in names if part.get(n)}}
            case "input_audio":
                return {"type": "input_audio", "input_audio": dict(part["input_audio"])}
            case "image_url" | "file":  # Chat Completions' own form
                return dict(part)
        self.missing.append(f"a content part of type {kind!r} has no Chat Completions form")
        return {"type": kind}


DETAILS = {"original": "high"}
"""The detail of an image that Chat Completions does not know, and the nearest that it does."""

OMITTED = "[tool output omitted]"
"""What the SDK sends to Chat Completions where a tool's output has no text."""


def tool_schemas(tools: Iterable[Tool], handoffs: Iterable[Handoff[Any, Any]]) -> tuple[Json, ...]:
    """Every tool and handoff on offer, as the `tools` of a Chat Completions request. A hosted tool
    has no form there; it stands as it is sent to the Responses API, without its secrets."""
    schemas: list[Json] = []
    for tool in tools:
        if isinstance(tool, FunctionTool):
            schemas.append(
                _function(
                    tool.name,
                    tool.description or "",
                    tool.params_json_schema,
                    tool.strict_json_schema,
                )
            )
        else:
            schemas.append(_hosted(tool))
    schemas += [
        _function(h.tool_name, h.tool_description, h.input_json_schema, h.strict_json_schema)
        for h in handoffs
    ]
    return tuple(schemas)


def response_format(schema: AgentOutputSchemaBase | None) -> Json | None:
    """The `response_format` of a Chat Completions request; None for plain text."""
    if schema is None or schema.is_plain_text():
        return None
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "final_output",
            "strict": schema.is_strict_json_schema(),
            "schema": schema.json_schema(),
        },
    }


def settings(given: ModelSettings) -> Json:
    """The settings that were set, and none that may hold a secret or says nothing about what the
    model saw."""
    plain = replace(
        given,
        extra_headers=None,
        extra_query=None,
        extra_body=None,
        extra_args=None,
        retry=None,
        timeout=None,
    )
    kept = _set(plain.to_json_dict())
    extra = {name: value for name, value in (given.extra_args or {}).items() if _is_json(value)}
    extra.pop("prompt_cache_key", None)
    return {**kept, **extra}


def _hosted(tool: Tool) -> Json:
    try:
        (sent,) = Converter.convert_tools([tool], []).tools
        kept: Json = json.loads(json.dumps(sent))
    except Exception:  # noqa: BLE001 - some are sent only beside others; the SDK's words for it
        return {"type": tool.name}
    return {name: value for name, value in kept.items() if name not in SECRETS}


SECRETS = ("authorization", "headers")
"""What a hosted MCP tool tells its server, and nobody else is to know."""


def aside(items: Iterable[Any]) -> tuple[Json, ...]:
    """What a model did beside what it said, as the server told it: what it thought, and its calls
    of hosted tools. Media in it are named by hash and size, and so is what is encrypted."""
    told = (dict(_as_dict(item)) for item in items)
    return tuple(_told(item) for item in told if item.get("type") not in SAID)


SAID = ("message", "function_call", "function_call_output")
"""The items that are messages, or part of one."""


def _told(item: Json) -> Json:
    sealed = item.get("encrypted_content")
    if isinstance(sealed, str):
        mark = digest(sealed.encode())
        item = {**item, "encrypted_content": f"[encrypted, {len(sealed)} characters, {mark}]"}
    kept: Json = named(item)
    return kept


def _set(given: Mapping[str, Any]) -> Json:
    """What of settings was set, and so what of `reasoning` was."""
    kept = {name: value for name, value in given.items() if value is not None}
    if isinstance(thinking := kept.get("reasoning"), dict):
        kept["reasoning"] = {name: value for name, value in thinking.items() if value is not None}
    return kept


def _function(name: str, description: str, parameters: Any, strict: bool) -> Json:
    function = {
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": strict,
    }
    return {"type": "function", "function": function}


def _as_dict(item: Any) -> Mapping[str, Any]:
    if isinstance(item, Mapping):
        return item
    dumped: Mapping[str, Any] = item.model_dump(exclude_unset=True)
    return dumped


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


Items = str | Sequence[Any]
