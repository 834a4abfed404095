"""Every text of an example, looked at or changed; what does not change stays the same object."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

from agentloop.base.records import (
    DPOExample,
    Example,
    Json,
    KTOExample,
    Message,
    RFTExample,
    SFTExample,
)
from agentloop.base.records.message import ToolCall, verbatim

E = TypeVar("E", bound=Example)
S = TypeVar("S", bound=Sequence[Any])


class Use(Enum):
    """What becomes of a text."""

    KEPT = "kept"
    SHARED = "shared"
    """It is kept, and many rows have it."""
    DRAFT = "draft"
    """Many rows have it; it is only asked whether it would change."""


class Change(Protocol):
    """Gives the text that comes in place of another: itself, where nothing is to change."""

    def __call__(self, text: str, /, *, label: str = "", use: "Use" = Use.KEPT) -> str:
        """`label` is the key under which the text stands, which may tell what it is."""


NO_TEXT = frozenset(
    {"detail", "file_id", "format", "id", "mime_type", "role", "tool_call_id", "type"}
)
"""Keys whose values name things of the protocol."""
FEWEST_DIGITS = 7
"""A number with fewer is nobody's telephone, card or account."""


def changed(example: E, change: Change) -> E:
    """The example with every text of it as `change` gives it. Ids, roles, names of tools and what
    is known beside the row (unit, traces) are no texts.

    Tools are looked at as one JSON text; only when `change` would change that, one by one.
    """
    update: Json = {}
    update["context"] = _all(example.context, lambda one: _message(one, change))
    for name in ANSWERS.get(type(example), ()):
        update[name] = _message(getattr(example, name), change)
    if example.tools:
        whole = verbatim(example.tools).decode()
        if change(whole, use=Use.DRAFT) is not whole:
            update["tools"] = _all(example.tools, lambda one: _value(one, change, ""))
    if isinstance(example, RFTExample):
        update["fields"] = _value(example.fields, change, "")
    update = {name: new for name, new in update.items() if new is not getattr(example, name)}
    return example.model_copy(update=update) if update else example


ANSWERS: dict[type[Example], tuple[str, ...]] = {
    SFTExample: ("output",),
    DPOExample: ("preferred", "rejected"),
    KTOExample: ("answer",),
}
"""Where an example has messages beside its context."""


def _message(message: Message, change: Change) -> Message:
    update: Json = {}
    extra = message.model_extra
    use = Use.SHARED if message.role in ("system", "developer") else Use.KEPT
    if isinstance(message.content, str):
        update["content"] = change(message.content, use=use)
    elif message.content:
        update["content"] = _value(message.content, change, "")
    if message.tool_calls:
        update["tool_calls"] = _all(message.tool_calls, lambda one: _call(one, change))
    there = message.__dict__
    if extra:
        update |= {k: _value(v, change, k) for k, v in extra.items() if k not in NO_TEXT}
        there = {**there, **extra}
    update = {name: new for name, new in update.items() if new is not there[name]}
    return message.model_copy(update=update) if update else message


def _call(call: ToolCall, change: Change) -> ToolCall:
    arguments = change(call.function.arguments)
    if arguments is call.function.arguments:
        return call
    function = call.function.model_copy(update={"arguments": arguments})
    return call.model_copy(update={"function": function})


def _value(value: Any, change: Change, label: str) -> Any:
    """A JSON value with its texts changed, keys of objects and long whole numbers included."""
    if isinstance(value, str):
        return change(value, label=label)
    if isinstance(value, dict):
        new = {
            change(key): inner if key in NO_TEXT else _value(inner, change, key)
            for key, inner in value.items()
        }
        same = all(a is b and value[a] is new[b] for a, b in zip(value, new, strict=False))
        return value if same and len(value) == len(new) else new
    if isinstance(value, list):
        return _all(value, lambda one: _value(one, change, label))
    if isinstance(value, int) and abs(value) >= 10 ** (FEWEST_DIGITS - 1):
        text = str(value)
        new_text = change(text, label=label)
        return int(new_text) if new_text is not text and new_text.isdigit() else value
    return value


def _all(values: S, change: Callable[[Any], Any]) -> S:
    new = [change(one) for one in values]
    if all(a is b for a, b in zip(values, new, strict=True)):
        return values
    return type(values)(new)  # type: ignore[call-arg]
