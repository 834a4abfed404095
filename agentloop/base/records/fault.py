"""Faults: what is wrong with a row, one sentence each.

Source of the shapes: the published `FineTuneChatRequestInput`, `FineTunePreferenceRequestInput`
and `FineTuneReinforcementRequestInput` schemas. Those let much pass (`{}` is valid), so the
rules that servers enforce beyond them are here too. A row without a fault fits its schema.
Rows for KTO have the shape of TRL's unpaired preferences.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from agentloop.base.records.record import of_json
from agentloop.base.records.row import Method


class Fault(NamedTuple):
    """One thing wrong with a row."""

    code: str
    """A word that stays the same: for counting and for programs."""
    message: str
    """A sentence that says where, what, and what would be right."""


SFT_KEYS = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})
DPO_KEYS = frozenset({"input", "preferred_output", "non_preferred_output"})
DPO_INPUT_KEYS = frozenset({"messages", "tools", "parallel_tool_calls"})
KTO_KEYS = frozenset({"prompt", "completion", "label", "tools"})
SFT_ROLES = frozenset({"system", "user", "assistant", "tool", "function"})
RFT_ROLES = frozenset({"developer", "user", "assistant", "tool"})

PARTS: dict[str, tuple[str, ...]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text",),
    "function": (),
}
"""Role -> the content parts that it may have."""

PART_KEYS = {"image_url": ("url",), "input_audio": ("data", "format")}
"""Content part -> the texts that it must hold, where it is an object."""


def faults(row: Any, method: Method) -> list[Fault]:
    """Everything that makes `row` unfit for training by `method`; empty when it is fit."""
    if not isinstance(row, Mapping):
        return [Fault("not_an_object", f"a row is a JSON object, not {_kind(row)}")]
    match method:
        case Method.SFT:
            return list(_sft(row))
        case Method.DPO:
            return list(_dpo(row))
        case Method.RFT:
            return list(_rft(row))
        case Method.KTO:
            return list(_kto(row))


def _sft(row: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _extra(row, SFT_KEYS)
    messages = row.get("messages")
    if messages is None:
        yield Fault("missing_key", "the key 'messages' is missing")
        return
    found = list(_conversation(messages, SFT_ROLES))
    yield from found
    yield from _offered(row)
    if found:
        return
    if messages[-1]["role"] != "assistant":
        yield Fault(
            "ends_without_assistant",
            f"the last message is of role {messages[-1]['role']!r}; trim the row after the last "
            "assistant message",
        )
    if not any(m["role"] == "assistant" and m.get("weight", 1) for m in messages):
        yield Fault("nothing_to_learn", "no assistant message has a weight of 1")


def _dpo(row: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _extra(row, DPO_KEYS)
    for key in sorted(DPO_KEYS - row.keys()):
        yield Fault("missing_key", f"the key {key!r} is missing")
    if not row.keys() >= DPO_KEYS:
        return
    given = row["input"]
    if not isinstance(given, Mapping):
        yield Fault("bad_input", f"'input' is a JSON object with 'messages', not {_kind(given)}")
        return
    yield from _extra(given, DPO_INPUT_KEYS, inside="input")
    yield from _conversation(given.get("messages"), SFT_ROLES, "input.messages", whole=True)
    yield from _offered(given)
    for key in ("preferred_output", "non_preferred_output"):
        output = row[key]
        if not _is_list(output) or len(output) != 1:
            yield Fault("bad_output", f"{key!r} is a list of one assistant message")
            continue
        yield from _message(output[0], f"{key}[0]", frozenset({"assistant"}))
    if row["preferred_output"] == row["non_preferred_output"]:
        yield Fault("equal_outputs", "both outputs are the same; there is nothing to prefer")


def _rft(row: Mapping[str, Any]) -> Iterator[Fault]:
    messages = row.get("messages")
    if messages is None:
        yield Fault("missing_key", "the key 'messages' is missing")
        return
    found = list(_conversation(messages, RFT_ROLES))
    yield from found
    yield from _tools(row)
    if not found and messages[-1]["role"] != "user":
        yield Fault(
            "ends_without_user",
            f"the last message is of role {messages[-1]['role']!r}; a reinforcement row ends with "
            "the user's",
        )


def _kto(row: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _extra(row, KTO_KEYS)
    for key in ("prompt", "completion", "label"):
        if key not in row:
            yield Fault("missing_key", f"the key {key!r} is missing")
    if "prompt" in row:
        prompt, found = _written(row["prompt"], "prompt")
        yield from found
        yield from _conversation(prompt, SFT_ROLES, "prompt", whole=True)
    if "completion" in row:
        completion, found = _written(row["completion"], "completion")
        yield from found
        if not _is_list(completion) or len(completion) != 1:
            yield Fault("bad_output", "'completion' is a list of one assistant message")
        else:
            yield from _message(completion[0], "completion[0]", frozenset({"assistant"}))
    if "label" in row and not isinstance(row["label"], bool):
        yield Fault("bad_label", f"'label' is true or false, not {_kind(row['label'])}")
    yield from _tools(row)


def _written(messages: Any, at: str) -> tuple[Any, list[Fault]]:
    """Messages of TRL, in which arguments are objects, with these as texts; and a fault for each
    that was a text: a chat template would write it as a text in quotes."""
    if not _is_list(messages):
        return messages, []
    found: list[Fault] = []
    written = []
    for n, message in enumerate(messages):
        calls = message.get("tool_calls") if isinstance(message, Mapping) else None
        if _is_list(calls):
            where = f"{at}[{n}].tool_calls"
            said = [_as_text(call, f"{where}[{m}]", found) for m, call in enumerate(calls)]
            message = {**message, "tool_calls": said}
        written.append(message)
    return written, found


def _as_text(call: Any, at: str, found: list[Fault]) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, str) and _is_object(arguments):
        found.append(
            Fault("bad_arguments", f"{at}.function.arguments is an object here, not a JSON text")
        )
    elif isinstance(arguments, Mapping):
        return {**call, "function": {**function, "arguments": json.dumps(arguments)}}
    return call


# ---------------------------------------------------------------------- conversations


def _conversation(
    messages: Any, roles: frozenset[str], at: str = "messages", *, whole: bool = False
) -> Iterator[Fault]:
    """What is wrong with a list of messages, tool calls and their answers included; `whole` when
    its last message cannot be what is learned."""
    if not _is_list(messages) or not messages:
        yield Fault("bad_messages", f"'{at}' is a list of at least one message")
        return
    found = [
        fault
        for n, message in enumerate(messages)
        if not _is_text(message, roles)
        for fault in _message(message, f"{at}[{n}]", roles)
    ]
    yield from found
    if not found:
        yield from _answers(messages, at, whole=whole)


def _answers(messages: Sequence[Mapping[str, Any]], at: str, *, whole: bool) -> Iterator[Fault]:
    """Every tool call is answered before the talk goes on, and nothing else is answered."""
    open_calls: list[str] = []
    for n, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] in open_calls:
                open_calls.remove(message["tool_call_id"])
            else:
                yield Fault(
                    "tool_without_call",
                    f"{at}[{n}] answers {message['tool_call_id']!r}, which no "
                    "preceding message with 'tool_calls' asked for",
                )
            continue
        if open_calls:
            yield Fault(
                "unanswered_tool_call",
                f"{at}[{n}] comes before a tool message has answered {open_calls[0]!r}",
            )
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    if open_calls and (whole or messages[-1]["role"] == "tool"):
        yield Fault("unanswered_tool_call", f"no tool message answers {open_calls[0]!r}")


# ---------------------------------------------------------------------- one message


def _is_text(message: Any, roles: frozenset[str]) -> bool:
    """Whether a message is a text and nothing else, as most are; then it has no fault."""
    if not isinstance(message, dict):
        return False
    role, keys = message.get("role"), len(message)
    if type(message.get("content")) is not str or type(role) is not str or role not in roles:
        return False
    if role == "tool":
        return keys == 3 and type(message.get("tool_call_id")) is str
    return keys == 2 and role != "function"


def _message(message: Any, where: str, roles: frozenset[str]) -> Iterator[Fault]:
    if not isinstance(message, Mapping):
        yield Fault("bad_message", f"{where} is a JSON object, not {_kind(message)}")
        return
    role = message.get("role")
    if not isinstance(role, str) or role not in roles:
        known = ", ".join(sorted(roles))
        what = "has no role" if role is None else f"has the role {role!r}"
        yield Fault("bad_role", f"{where} {what}; one of: {known}")
        return
    yield from _content(message, role, where)
    weight = message.get("weight")
    if "weight" in message and (
        role != "assistant" or type(weight) is bool or weight not in (0, 1)
    ):
        yield Fault("bad_weight", f"{where}.weight is 0 or 1, and on assistant messages alone")
    if not isinstance(message.get("name", "" if role != "function" else None), str):
        yield Fault("bad_name", f"{where}.name is a text")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield Fault("missing_tool_call_id", f"{where} does not say which tool call it answers")
    if "tool_calls" in message:
        yield from _tool_calls(message["tool_calls"], role, where)
    if role == "assistant":
        yield from _rest(message, where)


def _content(message: Mapping[str, Any], role: str, where: str) -> Iterator[Fault]:
    content = message.get("content")
    if content is None:
        asks = message.get("tool_calls") or message.get("function_call")
        if not (role == "assistant" and asks):
            yield Fault("missing_content", f"{where} has no content")
    elif not isinstance(content, str):
        if not _is_list(content) or not content or not PARTS[role]:
            yield Fault("bad_content", f"{where}.content is a text or a list of parts")
            return
        for n, part in enumerate(content):
            if not _is_part(part, PARTS[role]):
                known = ", ".join(PARTS[role])
                yield Fault("bad_content", f"{where}.content[{n}] is no part of type: {known}")


def _is_part(part: Any, kinds: Sequence[str]) -> bool:
    """Whether `part` is a whole content part of one of these types."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        return False
    body = part.get(kind)
    if kind in ("text", "refusal"):
        return isinstance(body, str)
    if not isinstance(body, Mapping):
        return False
    if kind == "file":
        names = ("filename", "file_data", "file_id")
        return all(isinstance(body.get(name, ""), str) for name in names)
    if kind == "image_url" and body.get("detail", "auto") not in ("auto", "low", "high"):
        return False
    if kind == "input_audio" and body.get("format") not in ("wav", "mp3"):
        return False
    return all(isinstance(body.get(key), str) for key in PART_KEYS[kind])


def _rest(message: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """What only an assistant message may have beside content and tool calls."""
    if not isinstance(message.get("refusal"), str | None):
        yield Fault("bad_content", f"{where}.refusal is a text")
    audio = message.get("audio")
    if audio is not None and not (isinstance(audio, Mapping) and isinstance(audio.get("id"), str)):
        yield Fault("bad_content", f"{where}.audio needs an 'id'")
    call = message.get("function_call")
    if call is not None:
        yield from _function(call, f"{where}.function_call")


def _tool_calls(calls: Any, role: str, where: str) -> Iterator[Fault]:
    if role != "assistant":
        yield Fault("bad_tool_calls", f"{where} has tool calls, but the role {role!r}")
        return
    if not _is_list(calls) or not calls:
        yield Fault("bad_tool_calls", f"{where}.tool_calls is a list of at least one call")
        return
    for n, call in enumerate(calls):
        at = f"{where}.tool_calls[{n}]"
        if not isinstance(call, Mapping) or not isinstance(call.get("id"), str):
            yield Fault("bad_tool_calls", f"{at} needs an 'id' and a 'function'")
        elif call.get("type") != "function":
            yield Fault("bad_tool_calls", f"{at}.type is 'function'")
        else:
            yield from _function(call.get("function"), f"{at}.function")


def _function(function: Any, at: str) -> Iterator[Fault]:
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        yield Fault("bad_tool_calls", f"{at} needs a 'name'")
    elif not isinstance(function.get("arguments"), str):
        yield Fault("bad_arguments", f"{at}.arguments is a JSON text, not an object")
    elif not _is_object(function["arguments"]):
        yield Fault("bad_arguments", f"{at}.arguments is not the JSON of an object")


# ---------------------------------------------------------------------- tools on offer


def _offered(row: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _tools(row)
    if not isinstance(row.get("parallel_tool_calls", True), bool):
        yield Fault("bad_tools", "'parallel_tool_calls' is true or false")
    if "functions" in row:
        functions = row["functions"]
        if not _is_list(functions) or not 1 <= len(functions) <= 128:
            yield Fault("bad_tools", "'functions' is a list of 1 to 128 functions")
            return
        for n, function in enumerate(functions):
            yield from _schema(function, f"functions[{n}]")


def _tools(row: Mapping[str, Any]) -> Iterator[Fault]:
    if "tools" not in row:
        return
    if not _is_list(row["tools"]):
        yield Fault("bad_tools", f"'tools' is a list, not {_kind(row['tools'])}")
        return
    for n, tool in enumerate(row["tools"]):
        if not isinstance(tool, Mapping) or tool.get("type") != "function":
            yield Fault("bad_tools", f"tools[{n}].type is 'function'")
        else:
            yield from _schema(tool.get("function"), f"tools[{n}].function")


def _schema(function: Any, at: str) -> Iterator[Fault]:
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        yield Fault("bad_tools", f"{at} needs a 'name'")
    elif not isinstance(function.get("description", ""), str):
        yield Fault("bad_tools", f"{at}.description is a text")
    elif not isinstance(function.get("parameters", {}), Mapping):
        yield Fault("bad_tools", f"{at}.parameters is a JSON schema")
    elif not isinstance(function.get("strict"), bool | None):
        yield Fault("bad_tools", f"{at}.strict is true or false")


# ---------------------------------------------------------------------- small words


def _extra(row: Mapping[str, Any], known: frozenset[str], inside: str = "") -> Iterator[Fault]:
    for key in sorted(row.keys() - known):
        place = f"'{inside}' contains" if inside else "the row contains"
        yield Fault("extra_key", f'{place} an extra "{key}"; known: {", ".join(sorted(known))}')


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_object(text: str) -> bool:
    try:
        return isinstance(of_json(text), dict)
    except (ValueError, RecursionError):
        return False


def _kind(value: Any) -> str:
    names = {str: "a text", list: "a list", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
