"""The forms of TRL, made of rows in OpenAI's.

Source: TRL 1.16, "Dataset formats and types", conversational; and what its trainers do with them.

| rows | form | columns |
|---|---|---|
| sft | language-modeling | `messages` |
| sft with masked turns | prompt-completion | `prompt`, `completion`: a row for each learned turn |
| dpo | preference | `prompt`, `chosen`, `rejected` |
| dpo, kto | unpaired-preference | `prompt`, `completion`, `label` |
| rft | prompt-only | `prompt`, and a column for each field that a grader sees |

and `tools` in each, null where a row has none. Messages are as chat templates want them: arguments
of tool calls are objects, content is a text and never null, `developer` is `system`, a tool's
message has the tool's name. `parallel_tool_calls` is left out: templates know nothing of it.

TRL heeds no `weight`, so a masked turn would be learned. What it does heed, and what needs no
tokenizer, is that of a prompt with its completion the completion alone is learned.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from math import isfinite
from typing import Any

from agentloop.base.records import Json, Method


class Form(StrEnum):
    """What TRL calls its dataset types."""

    LANGUAGE_MODELING = "language-modeling"
    PROMPT_COMPLETION = "prompt-completion"
    PREFERENCE = "preference"
    UNPAIRED = "unpaired-preference"
    PROMPT_ONLY = "prompt-only"

    @classmethod
    def of(cls, method: Method, *, masked: bool = False) -> "Form":
        """The form for the rows of a method; `masked`: turns of some are not learned."""
        if method is Method.SFT and masked:
            return cls.PROMPT_COMPLETION
        return FORMS[method]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold messages."""
        return MESSAGES[self]


MESSAGES: dict[Form, tuple[str, ...]] = {
    Form.LANGUAGE_MODELING: ("messages",),
    Form.PROMPT_COMPLETION: ("prompt", "completion"),
    Form.PREFERENCE: ("prompt", "chosen", "rejected"),
    Form.UNPAIRED: ("prompt", "completion"),
    Form.PROMPT_ONLY: ("prompt",),
}

FORMS: dict[Method, Form] = {
    Method.SFT: Form.LANGUAGE_MODELING,
    Method.DPO: Form.PREFERENCE,
    Method.RFT: Form.PROMPT_ONLY,
    Method.KTO: Form.UNPAIRED,
}

TAKEN = frozenset(
    {
        *("prompt", "prompts", "completion", "completions", "completion_ids", "image", "images"),
        *("messages", "trainer_state", "log_extra", "log_metric", "environment", "environments"),
        *("chat_template_kwargs", "chosen", "rejected", "label"),
    }
)
"""Names by which GRPOTrainer, or a reward function of it, knows something else."""


class Left(StrEnum):
    """Why a row, or a turn of it, is not in an export. The sentence says what to do about it."""

    MEDIA = "media"
    OLDER_FORM = "older_form"
    FIRST_WORD = "first_word"
    NUMBER = "number"
    UNICODE = "unicode"

    @property
    def sentence(self) -> str:
        return SENTENCES[self]


SENTENCES = {
    Left.MEDIA: "It holds an image, audio or a file, which these forms keep beside the text; "
    "export it as openai.",
    Left.OLDER_FORM: "It has `function_call`, the form of 2023; say it as `tool_calls`.",
    Left.FIRST_WORD: "The assistant speaks first, so there is no prompt for what it says; put a "
    "system message before it.",
    Left.NUMBER: "It holds a number that other readers of JSON do not take, of more than 64 bits "
    "or infinite; say it as a text.",
    Left.UNICODE: "It holds half a character (a lone surrogate), of which other readers make none; "
    "leave it out.",
}


class Unfit(Exception):
    """A row that a form cannot hold."""

    def __init__(self, reason: Left) -> None:
        super().__init__(reason.sentence)
        self.reason = reason


def read(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        Unfit: a number in it is too large for others.
    """
    return json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_real)


def written(value: Any) -> str:
    """A value as JSON that can be encoded as UTF-8.

    Raises:
        Unfit: it holds a lone surrogate.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit(Left.UNICODE) from None
    return text


def is_masked(row: Json) -> bool:
    """Whether a turn of the row is not learned."""
    return any(m["role"] == "assistant" and not m.get("weight", 1) for m in row["messages"])


def fields(row: Json) -> Iterator[tuple[str, Any]]:
    """What a grader sees beside messages and tools (RFT)."""
    return ((key, value) for key, value in row.items() if key not in ("messages", "tools"))


def reshaped(row: Json, form: Form, *, as_json: frozenset[str] = frozenset()) -> Iterator[Json]:
    """The rows of a form that one row in OpenAI's makes: one, or as many as it has turns that are
    learned, or one for each side of a pair.

    Args:
        as_json: fields of RFT rows that are to be JSON texts.

    Raises:
        Unfit: the form cannot hold it, or not all of it: what was given before stays right.
    """
    match form:
        case Form.LANGUAGE_MODELING:
            yield {"messages": _plain(row["messages"]), **_offered(row)}
        case Form.PROMPT_COMPLETION:
            yield from _turns(row)
        case Form.PREFERENCE:
            prompt, good, bad, tools = _pair(row)
            yield {"prompt": prompt, "chosen": [good], "rejected": [bad], **tools}
        case Form.UNPAIRED if "label" in row:
            messages = _plain([*row["prompt"], *row["completion"]])
            prompt, said = messages[: len(row["prompt"])], messages[len(row["prompt"]) :]
            yield {"prompt": prompt, "completion": said, "label": row["label"], **_offered(row)}
        case Form.UNPAIRED:
            prompt, good, bad, tools = _pair(row)
            yield {"prompt": prompt, "completion": [good], "label": True, **tools}
            yield {"prompt": prompt, "completion": [bad], "label": False, **tools}
        case Form.PROMPT_ONLY:
            told = {k: json.dumps(v) if k in as_json else v for k, v in fields(row)}
            yield {"prompt": _plain(row["messages"]), **_offered(row), **told}


def _turns(row: Json) -> Iterator[Json]:
    messages, tools = _plain(row["messages"]), _offered(row)
    learned = [
        n
        for n, message in enumerate(row["messages"])
        if message["role"] == "assistant" and message.get("weight", 1)
    ]
    for n in learned:
        if n:
            yield {"prompt": messages[:n], "completion": [messages[n]], **tools}
    if 0 in learned:
        raise Unfit(Left.FIRST_WORD)


def _pair(row: Json) -> tuple[list[Json], Json, Json, Json]:
    given = row["input"]
    good, bad = row["preferred_output"][-1], row["non_preferred_output"][-1]
    prompt = _plain(given["messages"])
    return prompt, _plain([good])[0], _plain([bad])[0], _offered(given)


def _offered(given: Json) -> Json:
    """An empty list of tools is none: some templates introduce the tools that then do not come."""
    if given.get("functions"):
        raise Unfit(Left.OLDER_FORM)
    return {"tools": given["tools"] or None} if "tools" in given else {}


def _plain(messages: Sequence[Mapping[str, Any]]) -> list[Json]:
    names: dict[str, str] = {}
    return [_message(message, names) for message in messages]


def _message(message: Mapping[str, Any], names: dict[str, str]) -> Json:
    role = message["role"]
    if role == "function" or message.get("function_call"):
        raise Unfit(Left.OLDER_FORM)
    if message.get("audio"):
        raise Unfit(Left.MEDIA)
    new: Json = {"role": "system" if role == "developer" else role, "content": _text(message)}
    if calls := message.get("tool_calls"):
        names.update({call["id"]: call["function"]["name"] for call in calls})
        new["tool_calls"] = [_call(call) for call in calls]
    elif role == "tool" and (name := names.get(message["tool_call_id"])):
        new["name"] = name
    for key, value in message.items():
        if value is not None and key not in ("refusal", "tool_calls", "weight"):
            new.setdefault(key, value)
    return new


def _call(call: Mapping[str, Any]) -> Json:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = read(arguments)
    return {**call, "function": {**function, "arguments": arguments}}


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not content:
        return str(message.get("refusal") or "")
    if any(part["type"] not in ("text", "refusal") for part in content):
        raise Unfit(Left.MEDIA)
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _whole(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise Unfit(Left.NUMBER)
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise Unfit(Left.NUMBER)
    return number
