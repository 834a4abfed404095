"""What a model heard and what it said, found in the `input` and `output` that a tracer wrote down.

Tracers keep the arguments and the result of the function that they wrapped, so messages stand
under many names: a request's `messages`, `prompt` or `contents`, a response's `choices`, `output`,
`generations`, and so on. What holds no message is no conversation; nothing is made up.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agentloop.base.records import Json, Message
from agentloop.capture.importers.dialects import Talk
from agentloop.capture.importers.reading import UNREADABLE, unreadable

SYSTEM = ("system", "system_prompt", "instructions", "system_instruction", "systemInstruction")
"""Where a request keeps its system prompt, when it is beside the messages."""

LISTS = (
    "message_history",
    "messages",
    "prompt",
    "contents",
    "input",
    "new_message",
    "chat_history",
)
"""Where a request keeps its messages."""


class Heard(NamedTuple):
    """One model call, as messages."""

    heard: tuple[Message, ...] = ()
    said: tuple[Message, ...] = ()
    """One message of the assistant, or a whole exchange that it went through."""
    tools: tuple[Json, ...] = ()
    thoughts: tuple[Any, ...] = ()
    missing: tuple[str, ...] = ()
    """A sentence for each thing that is not in the messages; empty when nothing is lost."""

    @property
    def found(self) -> bool:
        """Whether there is any message at all."""
        return bool(self.heard or self.said)


def heard(input: Any, output: Any, *, exact: bool = False, system: Any = None) -> Heard:
    """The messages of a call, from what went in and what came out.

    Args:
        exact: see `Talk`.
        system: the system prompt, where it stands apart from the input.
    """
    talk = Talk(exact=exact)
    tools: list[Json] = []
    given = opened(input)
    if system:
        _system(talk, system)
    try:
        _input(talk, given, tools)
        before = len(talk.said)
        _output(talk, opened(output), tools)
        said = talk.linked()
        messages = tuple(Message.model_validate(message) for message in said)
    except UNREADABLE as error:
        return Heard(missing=(f"no messages: {unreadable(error)}",))
    if before and messages[before : 2 * before] == messages[:before]:
        talk.missing.append("the output repeats the input")
    return Heard(
        messages[:before],
        messages[before:],
        tuple(tools),
        tuple(talk.thoughts),
        tuple(dict.fromkeys(talk.missing)),
    )


def opened(value: Any) -> Any:
    """A value that may be JSON in a text, as what it says; any other as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def schemas(given: Iterable[Any]) -> list[Json]:
    """Tool schemas of any API, as the `tools` of a Chat Completions request."""
    found: list[Json] = []
    for item in given:
        tool = opened(item)
        if not isinstance(tool, Mapping):
            continue
        declared = tool.get("function_declarations") or tool.get("functionDeclarations")
        if declared:
            found += schemas(declared)
        elif isinstance(tool.get("function"), Mapping) or "name" not in tool:
            found.append({k: v for k, v in tool.items() if v is not None})
        elif tool.get("type") == "custom":
            named = {k: v for k, v in tool.items() if k != "type" and v is not None}
            found.append({"type": "custom", "custom": named})
        else:
            names = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema")
            function: Json = {"name": tool["name"]}
            if tool.get("description") is not None:
                function["description"] = tool["description"]
            schema = next((opened(tool[n]) for n in names if tool.get(n)), None)
            if schema is not None:
                function["parameters"] = schema
            if tool.get("strict") is not None:
                function["strict"] = tool["strict"]
            found.append({"type": "function", "function": function})
    return found


def _input(talk: Talk, given: Any, tools: list[Json]) -> None:
    if isinstance(given, str):
        talk.add(given)
    elif isinstance(given, list):
        if given and all(isinstance(inner, list) for inner in given):  # LangChain's batches
            if len(given) > 1:
                talk.missing.append(f"{len(given) - 1} more conversations of a batch")
            given = given[0]
        for item in given:
            if _is_offer(item):
                tools += schemas([item.get("content") or item])
            elif isinstance(item, Mapping) and item.get("type") == "additional_tools":
                tools += schemas(item.get("tools") or ())
            else:
                talk.add(item)
    elif isinstance(given, Mapping):
        _request(talk, given, tools)


def _is_offer(item: Any) -> bool:
    """Whether an item of a list of messages is a tool's schema, as LangChain puts them there."""
    inner = item.get("content") if isinstance(item, Mapping) else None
    if isinstance(inner, Mapping) and item.get("role") == "tool":
        return inner.get("type") == "function" and "function" in inner
    return isinstance(item, Mapping) and item.get("type") == "function" and "function" in item


def _request(talk: Talk, given: Mapping[str, Any], tools: list[Json]) -> None:
    config = given.get("config") if isinstance(given.get("config"), Mapping) else {}
    for place in (config or {}, given):
        offered = place.get("tools")
        tools += schemas(offered if isinstance(offered, list) else ())
        for name in SYSTEM:
            if place.get(name):
                _system(talk, place[name])
    before = len(talk.said)
    for name in LISTS:
        if given.get(name) and (name != "input" or _holds_messages(given[name])):
            _input(talk, opened(given[name]), tools)
            break
    if isinstance(given.get("user_prompt"), str):
        talk.add(given["user_prompt"])
    if len(talk.said) == before and _is_message(given):
        talk.add(given)


def _system(talk: Talk, given: Any) -> None:
    given = opened(given)
    if isinstance(given, Mapping):
        given = given.get("parts") or [given]
    parts = [given] if isinstance(given, str) else given
    talk.add({"role": "system", "content": given} if isinstance(given, str) else
             {"role": "system", "parts": list(parts)})  # fmt: skip


def _output(talk: Talk, given: Any, tools: list[Json]) -> None:
    """What came out, whatever wraps it."""
    if isinstance(given, str):
        if given:
            talk.add(given, "assistant")
    elif isinstance(given, list):
        _outputs(talk, given)
    elif isinstance(given, Mapping):
        tools += schemas(given["tools"] if isinstance(given.get("tools"), list) else ())
        _response(talk, given, tools)


def _outputs(talk: Talk, given: list[Any]) -> None:
    if given and all(isinstance(inner, list) for inner in given):
        given = given[0]
    if given and all(isinstance(i, Mapping) and "toolCallId" in i for i in given):
        calls = [{"type": "tool-call", **item} for item in given if "role" not in item]
        if len(calls) == len(given):  # the AI SDK's list of calls is one message
            talk.add({"role": "assistant", "content": calls})
            return
    for item in given:
        if (
            isinstance(item, Mapping)
            and isinstance(item.get("output"), list)
            and "type" not in item
        ):
            _outputs(talk, item["output"])  # a whole response of the Responses API
        else:
            talk.add(item, "assistant")


def _response(talk: Talk, given: Mapping[str, Any], tools: list[Json]) -> None:
    inner = given.get("response")
    if isinstance(inner, Mapping) and (inner.get("messages") or inner.get("parts")):
        _response(talk, inner, tools)
    elif isinstance(given.get("choices"), list) and given["choices"]:
        if len(given["choices"]) > 1:
            talk.missing.append(f"{len(given['choices']) - 1} more choices of the response")
        talk.add(given["choices"][0], "assistant")
    elif isinstance(given.get("generations"), list):
        for generation in _first(given["generations"]):
            talk.add(generation, "assistant")
    elif isinstance(given.get("candidates"), list) and given["candidates"]:
        _response(talk, given["candidates"][0], tools)
    elif isinstance(given.get("messages"), list):
        _outputs(talk, given["messages"])
    elif isinstance(given.get("output"), list):
        _outputs(talk, given["output"])
    elif isinstance(given.get("content"), Mapping) and "parts" in given["content"]:
        talk.add(given["content"], "assistant")
    elif _is_message(given):
        talk.add(given, "assistant")
    elif given.keys() & {"finishReason", "finish_reason", "toolCalls", "steps", "usage"}:
        _ai_sdk(talk, given)
    elif given.keys() & {"text", "answer", "result"}:
        talk.missing.append(f"the output is no message: its keys are {', '.join(map(str, given))}")


def _ai_sdk(talk: Talk, given: Mapping[str, Any]) -> None:
    """The AI SDK's result: parts, or a text beside reasoning and calls."""
    parts = given.get("content")
    if not isinstance(parts, list):
        steps = given.get("steps")
        last = steps[-1] if isinstance(steps, list) and steps else {}
        parts = last.get("content") if isinstance(last, Mapping) else None
    if not isinstance(parts, list):
        thought = given.get("reasoning") or given.get("reasoningText")
        parts = [{"type": "reasoning", "text": thought}] if thought else []
        parts += [{"type": "text", "text": given["text"]}] if given.get("text") else []
        parts += [{"type": "tool-call", **call} for call in given.get("toolCalls") or ()]
    if parts:
        talk.add({"role": "assistant", "content": parts})


def _first(given: list[Any]) -> list[Any]:
    return given[0] if given and isinstance(given[0], list) else given


def _is_message(given: Mapping[str, Any]) -> bool:
    return (
        isinstance(given.get("role"), str)
        or ("lc" in given and "kwargs" in given)
        or (isinstance(given.get("message"), Mapping))
        or (isinstance(given.get("parts"), list))
    )


def _holds_messages(given: Any) -> bool:
    given = opened(given)
    return isinstance(given, str) or (
        isinstance(given, list) and any(isinstance(item, Mapping) for item in given)
    )
