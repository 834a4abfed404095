"""Doubts: what servers let pass in a row and should not."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentloop.base.records import Fault, Method, RowRules
from agentloop.base.records.row import messages_of
from agentloop.base.records.rules import BYTES_PER_TOKEN, consecutive
from agentloop.harvest.checks.personal import Look
from agentloop.harvest.checks.prompts import answers, is_empty, text_of

ROW_TOKENS = 65_536
"""Tokens that OpenAI trains on, of a row."""

_CANNOT = (
    r"(?:can(?:no|')t|can not|will not|won't|(?:am |'m )?(?:un|not )able to|"
    r"(?:do not|don't) have the ability to)(?! (?:find|locate|see|identify)\b)"
)
"""To have found nothing is an answer."""
_HELP = (
    r"(?:help|assist|provide|answer|comply|fulfil|share|support|discuss|continue|create|generate|"
    r"give|do that|do this|process|complete)"
)
_DECLINES = re.compile(
    r"\b(?:sorry|apologi[sz]e|afraid|unfortunately)\b[^.?!\n]{0,80}?"
    rf"\bI(?:'m| am| currently)? ?(?:{_CANNOT}|can only)"
    rf"|\bI(?:'m| am| currently)? ?{_CANNOT} {_HELP}"
    r"|\bI (?:must|have to|need to|respectfully) decline\b"
    r"|\bas an? (?:AI|artificial intelligence|large language|language)\b[^.?!\n]{0,60}"
    rf"\bI (?:{_CANNOT}|do not|don't)",
    re.IGNORECASE,
)
_START = 300
"""Characters in which an answer that declines says so."""


def declines(message: Mapping[str, Any]) -> bool:
    """Whether an answer declines what was asked. It knows `refusal` and the usual English words;
    a tool call never declines."""
    if message.get("tool_calls") or message.get("function_call"):
        return False
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    if message.get("refusal") or any(p.get("type") == "refusal" for p in parts):
        return True
    return bool(_DECLINES.search(text_of(message)[:_START].replace("’", "'")))


def doubts(
    row: Mapping[str, Any],
    method: Method,
    *,
    size: int,
    rules: RowRules | None = None,
    look: Look | None = None,
) -> Iterator[Fault]:
    """What is doubtful about a row that has no fault.

    Args:
        size: the length of its line, in bytes.
        rules: of the service that it is for; without, what some services refuse is doubtful.
        look: for personal data; without, it is not looked for.
    """
    given = row["input"] if method is Method.DPO else row
    messages = messages_of(row, method)
    if rules is None or rules.consecutive_assistants:
        yield from consecutive(messages)
    roles = {message["role"] for message in messages}
    if method is Method.SFT and not roles & {"system", "developer"}:
        yield Fault("no_system", "there is no system message; in production there may be one")
    if method is not Method.RFT and "user" not in roles:
        yield Fault("no_user", "there is no user message; nobody asks for the answer")
    for where, answer in answers(row, method):
        if is_empty(answer):
            yield Fault("empty_output", f"{where} says nothing; silence would be learned")
    yield from _unknown_tools(given, row, method)
    if (
        rules is None
        and method is Method.DPO
        and any(a.get("tool_calls") for _, a in answers(row, method))
    ):
        yield Fault(
            "tool_calls_in_pair", "an output is a tool call; many services take texts alone"
        )
    limit = ROW_TOKENS if rules is None else rules.row_tokens
    if limit is not None and size // BYTES_PER_TOKEN > limit:
        yield Fault(
            "row_too_long",
            f"the row has about {size // BYTES_PER_TOKEN} tokens, {limit} are trained on; the end "
            "would be cut off, so split it at a turn",
        )
    if look is not None and (found := look.fault(row, method)):
        yield found


def _unknown_tools(
    given: Mapping[str, Any], row: Mapping[str, Any], method: Method
) -> Iterator[Fault]:
    """Calls that are learned, of tools that the row does not offer: in production the model would
    not see them. Calls in the context may be those of another agent."""
    offered = {tool["function"]["name"] for tool in given.get("tools") or ()}
    offered |= {function["name"] for function in given.get("functions") or ()}
    for _, message in answers(row, method):
        for call in message.get("tool_calls") or ():
            name = call["function"]["name"]
            if name not in offered:
                yield Fault(
                    "unknown_tool",
                    f"the tool {name!r} is called, but is not among the row's 'tools'; add it",
                )
                return
