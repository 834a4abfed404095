"""Fixes of a row that are safe: afterwards it says what it said, in the form that servers take.

| what | fix | why it is safe |
|---|---|---|
| another spelling of a key (`preferred_completion`) | the right one | the value stays |
| an extra key | left out | servers refuse it and never learn from it; the value is in the log |
| `null` where a key may only be absent | left out | both say nothing |
| `tools` as a JSON text, an output without its list | as a list | the same list, written out |
| `arguments` as an object; as an empty text | as JSON text; `{}` | the same arguments |
| a tool call or tool without `type` | `function` | there is no other type |
| `developer` where servers know `system`, or the other way round | the known one | one meaning |
| `weight` true, false; on what is not the assistant's | 1, 0; left out | nothing else is learned |
| messages after the last assistant's (SFT) | cut off | nothing of them is learned |
| the answer that ends a row for reinforcement | cut off | the model answers itself there |
| keys that other rows of the file have | `tools: []`, `parallel_tool_calls: true` | the defaults |
| `parallel_tool_calls` where a service refuses the key | left out | it would not be heeded |

Not fixed, for it would be a guess: what a broken line meant, a missing answer of a tool, a weight
between 0 and 1, which of two answers to join, a missing text.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from agentloop.base.records import Json, Method, RowRules
from agentloop.base.records.fault import DPO_INPUT_KEYS, DPO_KEYS, KTO_KEYS, SFT_KEYS

KEYS = {Method.SFT: SFT_KEYS, Method.DPO: DPO_KEYS, Method.KTO: KTO_KEYS}
"""Method -> the keys of its rows; those of reinforcement are free."""

OUTPUTS = {
    Method.DPO: ("preferred_output", "non_preferred_output"),
    Method.KTO: ("completion",),
}
"""Method -> where an answer stands in a list of its own."""

SPELLINGS = {
    "preferred_completion": "preferred_output",
    "non_preferred_completion": "non_preferred_output",
}
"""Another spelling that was once published -> the one that servers take."""

MEANINGFUL = frozenset(
    {
        *(SFT_KEYS | DPO_KEYS | SPELLINGS.keys() | {"prompt", "completion", "chosen", "rejected"}),
        *("function_call", "conversations", "instruction", "output", "label", "response_format"),
    }
)
"""Keys that say what is to be learned, in some format; a row without them is another row."""

ABSENT_KEYS = ("tools", "parallel_tool_calls", "functions")


class Change(NamedTuple):
    """One thing that was changed in a row."""

    code: str
    """The code of the fault that it mends."""
    did: str
    """A sentence that says what was done."""
    was: Any
    """What stood there."""


def fixed(
    row: Json,
    method: Method,
    *,
    rules: RowRules | None = None,
    optional: frozenset[str] = frozenset(),
) -> list[Change]:
    """Mend a row in place, as far as that is safe; what was changed, in order.

    Args:
        optional: keys that other rows of the file have, and that all rows must have then.
    """
    return list(_fixes(row, method, rules or RowRules(), optional))


def _fixes(
    row: Json, method: Method, rules: RowRules, optional: frozenset[str]
) -> Iterator[Change]:
    yield from _keys(row, method)
    given = row.get("input") if method is Method.DPO else row
    if isinstance(given, dict):
        yield from _offered(given, method, rules, optional)
        messages = given.get("prompt" if method is Method.KTO else "messages")
        if isinstance(messages, list):
            for n, message in enumerate(messages):
                yield from _message(message, f"messages[{n}]", method)
            yield from _end(messages, method)
    for key in OUTPUTS.get(method, ()):
        if isinstance(output := row.get(key), dict):
            row[key] = [output]
            yield Change("bad_output", f"put {key!r} into a list", output)
        if isinstance(outputs := row.get(key), list):
            for n, message in enumerate(outputs):
                yield from _message(message, f"{key}[{n}]", method)


def _keys(row: Json, method: Method) -> Iterator[Change]:
    if method is Method.RFT:  # its keys are free
        return
    if method is Method.DPO:
        for old, new in SPELLINGS.items():
            if old in row and new not in row:
                row[new] = row.pop(old)
                yield Change("extra_key", f"renamed {old!r} to {new!r}", old)
    known = KEYS[method]
    for key in sorted(row.keys() - known - MEANINGFUL):
        yield Change("extra_key", f"left out the key {key!r}", row.pop(key))


def _offered(
    given: Json, method: Method, rules: RowRules, optional: frozenset[str]
) -> Iterator[Change]:
    if method is Method.DPO:
        for key in sorted(given.keys() - DPO_INPUT_KEYS - MEANINGFUL):
            yield Change("extra_key", f"left out 'input.{key}'", given.pop(key))
    for key in ABSENT_KEYS:
        if key in given and given[key] is None:
            del given[key]
            yield Change("bad_tools", f"left out {key!r}, which was null", None)
    tools = given.get("tools")
    if isinstance(tools, str) and isinstance(parsed := _json(tools), list):
        given["tools"] = parsed
        yield Change("bad_tools", "wrote the JSON text 'tools' out as a list", tools)
    for n, tool in enumerate(given["tools"] if isinstance(given.get("tools"), list) else ()):
        yield from _typed(tool, f"tools[{n}]", "bad_tools")
    if not rules.parallel_tool_calls and "parallel_tool_calls" in given:
        was = given.pop("parallel_tool_calls")
        yield Change("key_not_taken", "left out 'parallel_tool_calls'", was)
    defaults: Json = {"tools": [], "parallel_tool_calls": True}
    for key, value in defaults.items():
        taken = key != "parallel_tool_calls" or rules.parallel_tool_calls
        if method is not Method.RFT and key in optional and key not in given and taken:
            given[key] = value
            yield Change(
                "mixed_keys", f"added {key!r}: {json.dumps(value)}, as other rows have it", None
            )


def _end(messages: list[Any], method: Method) -> Iterator[Change]:
    roles = [m.get("role") if isinstance(m, dict) else None for m in messages]
    if method is Method.SFT and "assistant" in roles:
        last = max(n for n, role in enumerate(roles) if role == "assistant")
        if cut := messages[last + 1 :]:
            del messages[last + 1 :]
            said = f"cut {len(cut)} message(s) off after the last assistant message"
            yield Change("ends_without_assistant", said, cut)
    if method is Method.RFT and roles[-2:] == ["user", "assistant"]:
        said = "cut off the answer at the end; the model is to give it"
        yield Change("ends_without_user", said, messages.pop())


def _message(message: Any, where: str, method: Method) -> Iterator[Change]:
    if not isinstance(message, dict):
        return
    wrong, right = ("system", "developer") if method is Method.RFT else ("developer", "system")
    if message.get("role") == wrong:
        message["role"] = right
        yield Change("bad_role", f"made {where} a message of role {right!r}", wrong)
    for key in ("name", "tool_calls", "tool_call_id", "function_call", "weight"):
        if key in message and message[key] is None:
            del message[key]
            code = "bad_tool_calls" if key == "tool_calls" else f"bad_{key}"
            yield Change(code, f"left out {where}.{key}, which was null", None)
    if message.get("tool_calls") == []:
        del message["tool_calls"]
        yield Change("bad_tool_calls", f"left out {where}.tool_calls, which was empty", [])
    yield from _weight(message, where)
    calls = message.get("tool_calls")
    for n, call in enumerate(calls if isinstance(calls, list) else ()):
        at = f"{where}.tool_calls[{n}]"
        yield from _typed(call, at, "bad_tool_calls")
        if isinstance(call, dict):
            function = call.get("function")
            if method is Method.KTO:
                yield from _object(function, f"{at}.function")
            else:
                yield from _arguments(function, f"{at}.function")
    if method is not Method.KTO:
        yield from _arguments(message.get("function_call"), f"{where}.function_call")


def _weight(message: Json, where: str) -> Iterator[Change]:
    weight = message.get("weight")
    if "weight" in message and message.get("role") != "assistant":
        del message["weight"]
        yield Change("bad_weight", f"left out {where}.weight; only answers have one", weight)
    elif type(weight) is bool:
        message["weight"] = int(weight)
        yield Change("bad_weight", f"wrote {where}.weight as {int(weight)}", weight)


def _typed(thing: Any, where: str, code: str) -> Iterator[Change]:
    if isinstance(thing, dict) and "type" not in thing and isinstance(thing.get("function"), dict):
        thing["type"] = "function"
        yield Change(code, f"added {where}.type: 'function'", None)


def _arguments(function: Any, where: str) -> Iterator[Change]:
    if not isinstance(function, dict) or "arguments" not in function:
        return
    was = function["arguments"]
    if isinstance(was, Mapping):
        function["arguments"] = json.dumps(was, ensure_ascii=False)
        yield Change("bad_arguments", f"wrote {where}.arguments as JSON text", was)
    elif isinstance(was, str) and not was.strip():
        function["arguments"] = "{}"
        yield Change("bad_arguments", f"wrote {where}.arguments, which were empty, as {{}}", was)


def _object(function: Any, where: str) -> Iterator[Change]:
    was = function.get("arguments") if isinstance(function, dict) else None
    if isinstance(was, str) and isinstance(parsed := _json(was.strip() or "{}"), dict):
        function["arguments"] = parsed
        yield Change("bad_arguments", f"wrote {where}.arguments out as an object", was)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
