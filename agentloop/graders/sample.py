"""What a model answered, in the form graders read: the `sample` namespace."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from agentloop.base.records import Json


def sample_of(message: Mapping[str, Any], choices: Sequence[Any] | None = None) -> Json:
    """The `sample` that graders see for one assistant chat message.

    >>> sample_of({"role": "assistant", "content": '{"n": 1}'})["output_json"]
    {'n': 1}

    Args:
        message: an assistant message in chat-completions form; text parts are joined.
        choices: the completion's `choices` as they came; one choice with `message` when absent.

    Returns:
        `output_text` (the empty string where the message has no text), `output_tools` (its tool
        calls, maybe none), `choices`, and `output_json` only where the whole text is JSON.
    """
    text = _text(message.get("content"))
    tools = list(message.get("tool_calls") or ())
    if choices is None:
        reason = "tool_calls" if tools else "stop"
        choices = [{"index": 0, "message": dict(message), "finish_reason": reason}]
    sample: Json = {"output_text": text, "output_tools": tools, "choices": list(choices)}
    with suppress(ValueError, RecursionError):
        # NaN and Infinity are Python's, not JSON's: a text with them is no JSON.
        sample["output_json"] = json.loads(text, parse_constant=_refuse)
    return sample


def _text(content: object) -> str:
    match content:
        case str():
            return content
        case list() | tuple():
            return "".join(_text(part.get("text")) for part in content if isinstance(part, Mapping))
        case _:
            return ""


def _refuse(constant: str) -> object:
    raise ValueError(constant)
