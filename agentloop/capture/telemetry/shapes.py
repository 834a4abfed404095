"""Messages and tools in the shapes of the GenAI conventions, and back, whole.

A message there is a role and parts. Most chat messages fit; of one that does not (an empty content
beside a null one, an image with a setting of its own), the message as it went over the wire stands
beside the parts, so that what was told can be read again byte for byte.

Source: gen-ai-input-messages.json and its neighbours in the conventions' docs/gen-ai.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentloop.base.records import Json, Message
from agentloop.base.records.message import verbatim
from agentloop.capture.telemetry.names import EXACT

DATA_URL = re.compile(r"data:([\w.+/-]+);base64,([\w+/=]*)")

PLAIN = {"role", "content", "tool_calls", "tool_call_id"}
"""The keys of a chat message that the parts tell; others stand beside them."""

OURS = {"parts", "finish_reason", EXACT}
"""The keys that a message of the conventions has beside its role."""


def messages(said: Iterable[Message]) -> list[Json]:
    """Chat messages as the conventions have them."""
    return [_message(one.to_dict()) for one in said]


def answer(said: Message, finish_reason: str | None) -> list[Json]:
    """What a model said, and why it stopped: the conventions want a reason, known or not."""
    reason = finish_reason or ("tool_call" if said.calls else "stop")
    return [{**_message(said.to_dict()), "finish_reason": reason}]


def tools(offered: Iterable[Json]) -> list[Json]:
    """Tool schemas of a Chat Completions request as the conventions have them."""
    return [_tool(schema) for schema in offered]


def chat_messages(told: Sequence[Json]) -> list[Json]:
    """The chat messages that `messages` was given, or `answer`."""
    return [one[EXACT] if EXACT in one else _chat(one) for one in told]


def chat_tools(told: Sequence[Json]) -> list[Json]:
    """The tool schemas that `tools` was given."""
    return [one[EXACT] if EXACT in one else _schema(one) for one in told]


def _message(said: Json) -> Json:
    shaped = {"role": said["role"], "parts": list(_parts(said))}
    shaped |= {key: said[key] for key in said if key not in PLAIN | OURS}
    return shaped if _chat(shaped) == said else {**shaped, EXACT: said}


def _parts(said: Json) -> Iterable[Json]:
    content = said.get("content")
    if said["role"] == "tool":
        yield {
            "type": "tool_call_response",
            "id": said.get("tool_call_id"),
            "response": content,
        }
        return
    for part in [content] if isinstance(content, str) else content or ():
        yield _part(part)
    for call in said.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "tool_call",
            "id": call.get("id"),
            "name": function.get("name", ""),
            "arguments": _opened(function.get("arguments", "")),
        }


def _part(part: Any) -> Json:
    match part:
        case str():
            return {"type": "text", "content": part}
        case {"type": "text", "text": text}:
            return {"type": "text", "content": text}
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            if inline := DATA_URL.fullmatch(url):
                given = {"mime_type": inline[1], "content": inline[2]}
                return {"type": "blob", "modality": "image", **given}
            if not url.startswith("data:"):
                return {"type": "uri", "modality": "image", "uri": url}
    return dict(part) if isinstance(part, Mapping) and "type" in part else {"type": "other"}


def _opened(arguments: str) -> Any:
    """The arguments as an object where that tells every byte of them, else as they are."""
    try:
        read = json.loads(arguments)
        same = isinstance(read, dict) and verbatim(read).decode() == arguments
    except (ValueError, TypeError, RecursionError):
        return arguments
    return read if same else arguments


def _chat(told: Json) -> Json:
    """The chat message that a message of the conventions most likely was."""
    content: list[Json] = []
    calls: list[Json] = []
    said: Json = {"role": told["role"]}
    for part in told["parts"]:
        match part:
            case {"type": "tool_call_response", "id": id, "response": response}:
                said |= {"tool_call_id": id, "content": response}
            case {"type": "tool_call", "id": id, "name": name, "arguments": given}:
                text = given if isinstance(given, str) else verbatim(given).decode()
                function = {"name": name, "arguments": text}
                calls.append({"id": id, "type": "function", "function": function})
            case {"type": "text", "content": text}:
                content.append({"type": "text", "text": text})
            case {"type": "uri", "uri": url}:
                content.append({"type": "image_url", "image_url": {"url": url}})
            case {"type": "blob", "mime_type": mime, "content": data}:
                url = f"data:{mime};base64,{data}"
                content.append({"type": "image_url", "image_url": {"url": url}})
            case _:
                content.append(part)
    if len(content) == 1 and content[0]["type"] == "text":
        said["content"] = content[0]["text"]
    elif content:
        said["content"] = content
    elif "content" not in said:
        said["content"] = None
    if calls:
        said["tool_calls"] = calls
    return {**said, **{key: told[key] for key in told if key not in OURS | {"role"}}}


def _tool(schema: Json) -> Json:
    function = schema.get("function")
    if schema.get("type") == "function" and isinstance(function, Mapping):
        shaped = {"type": "function", **function}
    else:
        shaped = {**schema, "type": str(schema.get("type", "function"))}
    shaped.setdefault("name", shaped["type"])
    # The order of a tool's arguments is part of what the model saw.
    same = verbatim(_schema(shaped)) == verbatim(schema)
    return shaped if same else {**shaped, EXACT: schema}


def _schema(told: Json) -> Json:
    if told["type"] == "function":
        function = {key: value for key, value in told.items() if key != "type"}
        return {"type": "function", "function": function}
    return {key: value for key, value in told.items() if (key, value) != ("name", told["type"])}
