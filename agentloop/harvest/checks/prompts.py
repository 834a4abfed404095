"""Prompts and answers of a row: what must not be on both sides of a split, and what is learned."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from agentloop.base.records import Method
from agentloop.base.records.message import canonical
from agentloop.base.records.row import messages_of

RESERVED = frozenset({"messages", "tools"})
"""The keys of a row for reinforcement that are not its own fields."""


class Prompts(NamedTuple):
    """What a row asks, as digests. Instructions, tools, weights and the ids of tool calls do not
    count: the same question in another frame is the same question."""

    turns: tuple[str, ...]
    """What stood before each answer in the row, the last one included."""
    last: str | None
    """What stood before the answer that ends it; None: nothing was asked."""


def prompts(row: Mapping[str, Any], method: Method) -> Prompts:
    """The prompts of a row without a fault."""
    messages = messages_of(row, method)
    so_far, turns = blake2b(digest_size=16), []
    numbers: dict[str, int] = {}
    asked = False
    for message in messages:
        if message["role"] == "assistant" and asked:
            turns.append(so_far.copy().hexdigest())
        if message["role"] in ("system", "developer"):
            continue
        so_far.update(canonical(_bare(message, numbers)))
        asked = True
    if method is not Method.SFT:
        turns += [so_far.hexdigest()] if asked else []
    return Prompts(tuple(turns), turns[-1] if turns else None)


def _bare(message: Mapping[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """The message without what does not count; `numbers` are the ids of tool calls so far."""
    bare = {k: v for k, v in message.items() if k not in ("weight", "name") and v is not None}
    if calls := message.get("tool_calls"):
        bare["tool_calls"] = [
            [numbers.setdefault(call["id"], len(numbers)), call["function"]] for call in calls
        ]
    if "tool_call_id" in bare:
        bare["tool_call_id"] = numbers.get(bare["tool_call_id"], -1)
    return bare


def answers(row: Mapping[str, Any], method: Method) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each answer stands that is learned, and the answer: for reinforcement there is none.
    Of a preference, both outputs; of what was judged, what was good."""
    if method is Method.DPO:
        for key in ("preferred_output", "non_preferred_output"):
            yield f"{key}[0]", row[key][0]
    elif method is Method.KTO:
        if row["label"]:
            yield "completion[0]", row["completion"][0]
    elif method is Method.SFT:
        for n, message in enumerate(row["messages"]):
            if message["role"] == "assistant" and message.get("weight", 1):
                yield f"messages[{n}]", message


def text_of(message: Mapping[str, Any]) -> str:
    """What a message says in words."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    return "".join(
        part.get("text") or part.get("refusal") or "" for part in parts if isinstance(part, Mapping)
    )


def is_empty(message: Mapping[str, Any]) -> bool:
    """Whether an answer says nothing and calls nothing."""
    acts = message.get("tool_calls") or message.get("function_call") or message.get("refusal")
    return not acts and not message.get("audio") and not text_of(message).strip()


def taught(row: Mapping[str, Any], method: Method) -> str | None:
    """A digest of what a row rewards: its last answer, its two outputs, or the fields that a
    grader sees; None when a row for reinforcement has no fields."""
    match method:
        case Method.SFT:
            learned = [message for _, message in answers(row, method)]
            what: Any = _bare(learned[-1], {}) if learned else None
        case Method.DPO:
            what = [_bare(message, {}) for _, message in answers(row, method)]
        case Method.KTO:
            what = [_bare(row["completion"][0], {}), row["label"]]
        case Method.RFT:
            what = {k: v for k, v in row.items() if k not in RESERVED} or None
    return None if what is None else blake2b(canonical(what), digest_size=16).hexdigest()
