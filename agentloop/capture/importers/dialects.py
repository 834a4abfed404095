"""Messages as other tools write them, as the Chat Completions API would be sent them.

Read are: Chat Completions itself, Responses items, Anthropic's content blocks, Gemini's parts,
OpenTelemetry's GenAI parts, and the messages of the AI SDK, LangChain and Pydantic AI. Text and
argument strings are kept byte for byte; arguments that come as an object are written as JSON, in
their order. Reasoning is private to the model that thought it and no part of a message: it is
handed out beside them.
"""

from collections.abc import Mapping
from typing import Any

from agentloop.base.records import Json
from agentloop.base.records.message import verbatim
from agentloop.capture.importers import media

ROLES = {
    "ai": "assistant",
    "aimessage": "assistant",
    "aimessagechunk": "assistant",
    "assistant": "assistant",
    "developer": "developer",
    "function": "tool",
    "human": "user",
    "humanmessage": "user",
    "humanmessagechunk": "user",
    "model": "assistant",
    "system": "system",
    "systemmessage": "system",
    "systemmessagechunk": "system",
    "tool": "tool",
    "toolmessage": "tool",
    "toolmessagechunk": "tool",
    "user": "user",
}
"""What the roles are called elsewhere, in small letters."""

KINDS = {"system-prompt": "system", "user-prompt": "user", "instructions": "system"}
"""Pydantic AI's parts that are a message of their own."""

CHAT = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "function_call"}
"""The keys of a Chat Completions message."""

SILENT = {"annotations", "audio", "function_call", "name", "refusal", "tool_call_id", "tool_calls"}
"""Those that a client writes down as null, or empty, where they were not there."""

NAME = "\x00name"
"""Under this key a tool's message carries the name of its tool, until `Talk.linked`."""


class Talk:
    """Messages while they are put together.

    Args:
        exact: whether Chat Completions messages are as they went over the wire; else a content of
            one text part is the text.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self.said: list[Json] = []
        self.missing: list[str] = []
        """A sentence for each thing that has no form as a message."""
        self.thoughts: list[Any] = []
        """Reasoning, in the words or in the encrypted form that its model gave it."""
        self._turn: Json | None = None  # the assistant message that Responses items add to

    def add(self, item: Any, role: str = "user") -> None:
        """One message or item; a bare text is said by `role`."""
        turn, self._turn = self._turn, None
        if isinstance(item, str):
            self.said.append({"role": role, "content": item})
        elif not isinstance(item, Mapping):
            self.missing.append(f"a message is an object, not {item!r:.80}")
        elif "kwargs" in item and "lc" in item:  # LangChain, serialised
            kind = str((item.get("id") or ["human"])[-1])
            self.add({"type": kind, **item["kwargs"]})
        elif isinstance(item.get("message"), Mapping) and "role" not in item:
            self.add({"role": "assistant", **item["message"]})
        elif "part_kind" in item:
            self._parts(KINDS.get(str(item["part_kind"]), role), [item], item)
        elif self._role(item) and not self._is_item(item):
            self._message(str(self._role(item)), item)
        elif "toolCallId" in item and "type" not in item:  # the AI SDK's list of calls
            self._parts("assistant", [{"type": "tool-call", **item}], {})
        elif "parts" in item:  # Pydantic AI: a request's parts may have several roles
            self._whole(item, "assistant" if item.get("kind") == "response" else role)
        elif "text" in item and "type" not in item and item.keys() <= {"text", "role"}:
            self.said.append({"role": role, "content": item["text"]})
        else:
            self._turn = turn
            self._item(item, role)

    @staticmethod
    def _role(item: Mapping[str, Any]) -> str | None:
        named = item.get("role") or item.get("type")
        return ROLES.get(named.lower()) if isinstance(named, str) else None

    @staticmethod
    def _is_item(item: Mapping[str, Any]) -> bool:
        return item.get("type") == "message" and item.get("role") == "assistant"

    def _whole(self, item: Mapping[str, Any], role: str) -> None:
        if text := item.get("instructions"):
            self.said.append({"role": "system", "content": text})
        for part in item["parts"]:
            kind = str(part.get("part_kind")) if isinstance(part, Mapping) else ""
            if role == "assistant":
                break
            self._parts(KINDS.get(kind, role), [part], {})
        else:
            return
        self._parts("assistant", item["parts"], {})

    # ------------------------------------------------------------------ a message

    def _message(self, role: str, item: Mapping[str, Any]) -> None:
        content = item.get("content")
        shown = {key: value for key, value in item.items() if value or key not in SILENT}
        if shown.keys() <= CHAT and self._is_wire(shown) and role != "tool":
            self.said.append({**shown, "role": role if item["role"] == "model" else item["role"]})
            return
        if content is None and isinstance(item.get("parts"), list):
            content = item["parts"]
        if role == "tool" and not _holds_results(content):
            self._result(item.get("tool_call_id"), content, item.get("name"), item.get("toolId"))
            return
        calls = list(item.get("tool_calls") or ())
        if not calls and isinstance(item.get("additional_kwargs"), Mapping):
            calls = list(item["additional_kwargs"].get("tool_calls") or ())
        if calls and role != "assistant":
            self.missing.append(f"tool calls of the {role} are not the agent's")
            calls = []
        for name in ("reasoning", "reasoning_content"):
            if item.get(name):
                self.thoughts.append(item[name])
        parts: Any = [content] if isinstance(content, str | Mapping) else content or []
        self._parts(role, [*parts, *({"type": "tool_call", **call} for call in calls)], item)

    def _is_wire(self, item: Mapping[str, Any]) -> bool:
        """Whether a message is a Chat Completions message as it stands."""
        content = item.get("content")
        if "role" not in item or ("tool_calls" in item and item["role"] != "assistant"):
            return False
        wire = all(
            isinstance(call, Mapping)
            and isinstance(call.get("function"), Mapping)
            and isinstance(call["function"].get("arguments"), str)
            and isinstance(call.get("id"), str)
            for call in item.get("tool_calls", ())
        )
        return wire and (content is None or isinstance(content, str) or self._exact)

    def _parts(self, role: str, parts: list[Any], item: Mapping[str, Any]) -> None:
        """Content parts as the messages that they are: results of tools are messages apart."""
        content: list[Json] = []
        calls: list[Json] = []
        results = False
        for part in parts:
            match _kind(part):
                case "call" if role != "assistant":
                    self.missing.append(f"tool calls of the {role} are not the agent's")
                case "call":
                    calls.append(_call(part))
                case "result":
                    results = True
                    self._flush(role, content, [], item)
                    content = []
                    self._result(*_outcome(part))
                case "thought":
                    self.thoughts.append(part)
                case _:
                    if isinstance(part, Mapping) and isinstance(part.get("extras"), Mapping):
                        self.thoughts.append(dict(part["extras"]))
                    if isinstance(part, Mapping) and isinstance(part.get("content"), list):
                        content += [self._part(inner) for inner in part["content"]]
                    else:
                        content.append(self._part(part))
        if content or calls or not results:
            self._flush(role, content, calls, item, always=True)

    def _flush(
        self,
        role: str,
        content: list[Json],
        calls: list[Json],
        item: Mapping[str, Any],
        always: bool = False,
    ) -> None:
        if not (content or calls or always):
            return
        message: Json = {"role": role, "content": _joined(content, bare=not calls)}
        if isinstance(item.get("name"), str) and role in ("user", "system", "developer"):
            message["name"] = item["name"]
        if isinstance(item.get("refusal"), str):
            message["refusal"] = item["refusal"]
        refusals = [part["refusal"] for part in content if part.get("type") == "refusal"]
        if refusals:
            rest = [part for part in content if part.get("type") != "refusal"]
            message |= {"content": _joined(rest, bare=False), "refusal": refusals[-1]}
        if calls:
            message["tool_calls"] = calls
        self.said.append(message)

    def _part(self, part: Any) -> Json:
        known, why = media.part(part)
        if why:
            self.missing.append(why)
        return known

    def _result(self, id: Any, content: Any, name: Any = None, tool: Any = None) -> None:
        if not id and tool and not name:
            self.missing.append(f"a result of tool {tool!r} names no call")
            return
        if isinstance(content, list) and all(_kind(part) == "text" for part in content) and content:
            content = _joined([self._part(part) for part in content], bare=True)
        elif not isinstance(content, str):
            content = "" if content is None else verbatim(content).decode()
        message: Json = {"role": "tool", "content": content, "tool_call_id": str(id or "")}
        if name:
            message[NAME] = str(name)
        self.said.append(message)

    # ------------------------------------------------------------------ items of Responses

    def _item(self, item: Mapping[str, Any], role: str) -> None:
        match item.get("type"):
            case "message":
                content = item.get("content")
                parts = [content] if isinstance(content, str) else list(content or ())
                turn = self._turn
                self._turn = None
                if turn and turn.get("content") is None and "refusal" not in turn:
                    self.said.pop()
                    calls = [{"type": "tool_call", **call} for call in turn["tool_calls"]]
                    self._parts("assistant", [*parts, *calls], {})
                else:
                    self._parts("assistant", parts, {})
                self._turn = self.said[-1]
            case "function_call" | "custom_tool_call":
                given = item.get("arguments", item.get("input"))
                call = _tool_call(item.get("call_id") or item.get("id"), item.get("name"), given)
                if self._turn is None:
                    self._turn = {"role": "assistant", "content": None}
                    self.said.append(self._turn)
                self._turn.setdefault("tool_calls", []).append(call)
            case (
                "function_call_output"
                | "function_call_result"
                | "custom_tool_call_output"
                | "computer_call_output"
            ):
                self._turn = None
                self._result(item.get("call_id"), item.get("output"), item.get("name"))
            case "reasoning" | "thinking" | "redacted_thinking":
                self.thoughts.append(dict(item))
            case str() as kind if kind.endswith("_call"):  # run by the server, result unseen
                self._turn = None
                given = item.get("action") or item.get("arguments") or item.get("queries") or {}
                call = _tool_call(item.get("id"), item.get("name") or kind[:-5], given)
                self.said.append({"role": "assistant", "content": None, "tool_calls": [call]})
                self.missing.append(f"what {kind!r} gave the model is not told")
            case str() as kind if _kind(item) in ("call", "result", "text"):
                self._parts("assistant" if _kind(item) == "call" else role, [item], {})
            case kind:
                self.missing.append(f"an item of type {kind!r} has no form as a message")

    # ------------------------------------------------------------------ ids of calls

    def linked(self) -> list[Json]:
        """The messages, each tool's with the id of the call that it answers.

        Where no ids were given, a result answers the earliest call of its tool that has none yet.
        """
        open_calls: list[Json] = []
        asked: set[str] = set()
        count = 0
        for message in self.said:
            for call in message.get("tool_calls", ()):
                count += 1
                call["id"] = call["id"] or f"call_{count}"
                asked.add(call["id"])
                open_calls.append(call)
            if message["role"] != "tool":
                continue
            name = message.pop(NAME, None)
            message.setdefault("tool_call_id", "")
            if not message["tool_call_id"]:
                first = [c for c in open_calls if name in (None, c["function"]["name"])]
                message["tool_call_id"] = first[0]["id"] if first else ""
            id = message["tool_call_id"]
            if id not in asked and name:
                message["name"] = name
            open_calls = [c for c in open_calls if c["id"] != id]
        return self.said


def _joined(parts: list[Json], *, bare: bool) -> str | list[Json] | None:
    """A text as it is, else the parts; null beside tool calls."""
    if not parts:
        return "" if bare else None
    if len(parts) == 1 and parts[0].get("type") == "text":
        return str(parts[0]["text"]) or ("" if bare else None)
    if not bare and all(part == {"type": "text", "text": ""} for part in parts):
        return None
    return parts


def _kind(part: Any) -> str:
    """What a content part is, whoever wrote it: call, result, thought, text, or something else."""
    if isinstance(part, str):
        return "text"
    if not isinstance(part, Mapping):
        return "other"
    named = str(part.get("type") or part.get("part_kind") or "").replace("_", "-")
    if named in ("tool-call", "tool-use", "function") or _gemini(part, "call"):
        return "call"
    if named in ("tool-result", "tool-call-response", "tool-return") or _gemini(part, "response"):
        return "result"
    if named in ("reasoning", "thinking", "redacted-thinking") or part.get("thought") is True:
        return "thought"
    return "text" if named in ("text", "input-text", "output-text") else "other"


def _gemini(part: Mapping[str, Any], what: str) -> Any:
    return part.get(f"function_{what}") or part.get(f"function{what.title()}")


def _holds_results(content: Any) -> bool:
    return isinstance(content, list) and any(_kind(part) == "result" for part in content)


def _call(part: Mapping[str, Any]) -> Json:
    """A tool call, whoever wrote it."""
    given = _gemini(part, "call") or part
    function = given.get("function") if isinstance(given.get("function"), Mapping) else None
    inner: Mapping[str, Any] = function or given
    arguments = next(
        (inner[n] for n in ("arguments", "args", "input", "parameters") if n in inner), None
    )
    names = ("id", "toolCallId", "tool_call_id", "call_id")
    id = next((given[n] for n in names if given.get(n)), None)
    name = inner.get("name") or given.get("toolName") or given.get("tool_name")
    return _tool_call(id, name, arguments)


def _tool_call(id: Any, name: Any, arguments: Any) -> Json:
    if not isinstance(arguments, str):
        arguments = verbatim({} if arguments is None else arguments).decode()
    function = {"name": str(name or ""), "arguments": arguments}
    return {"id": str(id or ""), "type": "function", "function": function}


def _outcome(part: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Of a tool's result: the id of its call, its content, and the name of the tool."""
    given = _gemini(part, "response") or part
    id = next(
        (given[n] for n in ("tool_use_id", "toolCallId", "tool_call_id", "id") if given.get(n)),
        None,
    )
    content = next(
        (given[n] for n in ("content", "response", "result", "output") if n in given), None
    )
    if isinstance(content, Mapping) and content.keys() == {"type", "value"}:
        content = content["value"]
    name = next((given[n] for n in ("name", "toolName", "tool_name") if given.get(n)), None)
    return id, content, name
