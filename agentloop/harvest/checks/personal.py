"""Personal data in a row: which kinds, and where; never what it is."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from agentloop.base.records import Fault, Method
from agentloop.harvest.redaction.escapes import read
from agentloop.harvest.redaction.redactor import LONGEST_LABELLED
from agentloop.harvest.redaction.walking import FEWEST_DIGITS, NO_TEXT

Personal = Callable[[str], Iterable[str]]
"""A text -> the kinds of personal data in it, e.g. `("email", "phone")`; empty when there is
none."""

REMEMBERED = 512
LONGEST_REMEMBERED = 64 << 10
"""How many texts that many rows hold (instructions, tools, keys) are looked at once, and how many
characters such a text has at most: 32 MB together."""

Path = tuple[str | int, ...]


class Text(NamedTuple):
    """A text of a row."""

    path: Path
    said: str
    shared: bool = False
    """Whether many rows are likely to hold it."""


class Look:
    """Looks for personal data at the texts that redaction looks at: what was harvested with
    redaction has none."""

    def __init__(self, kinds: Personal) -> None:
        self._kinds = kinds
        self._remembered = lru_cache(maxsize=REMEMBERED)(lambda text: tuple(kinds(read(text))))

    def fault(self, row: Mapping[str, Any], method: Method) -> Fault | None:
        """What to say of a row: each kind with the first place it is at; None: there is none."""
        places: dict[str, dict[Path, None]] = {}
        for text in _texts(row, method):
            for kind in self._in(text):
                places.setdefault(kind, {})[text.path] = None
        if not places:
            return None
        told = ", ".join(f"{kind} in {self._where(list(at))}" for kind, at in places.items())
        return Fault(
            "personal_data", f"the row holds personal data: {told}; redact it before it leaves"
        )

    def _in(self, text: Text) -> Iterable[str]:
        if text.shared and len(text.said) <= LONGEST_REMEMBERED:
            return self._remembered(text.said)
        return self._kinds(read(text.said))

    def _where(self, paths: list[Path]) -> str:
        first, *more = paths
        said = ""
        for part in first:
            if isinstance(part, int):
                said += f"[{part}]"
            else:  # a key may be somebody's address
                said += f".{'…' if self._remembered(part) else part}"
        others = f" and {len(more)} other place{'s' * (len(more) > 1)}" if more else ""
        return f"{said.removeprefix('.')}{others}"


def _texts(row: Mapping[str, Any], method: Method) -> Iterator[Text]:
    if method is Method.DPO:
        yield from _given(("input",), row["input"], ("messages",))
        for key in ("preferred_output", "non_preferred_output"):
            yield from _messages((key,), row[key])
    else:
        spoken = ("prompt", "completion") if method is Method.KTO else ("messages",)
        yield from _given((), row, spoken)


def _given(path: Path, given: Mapping[str, Any], spoken: Sequence[str]) -> Iterator[Text]:
    """What a model is given, and what beside it a grader is."""
    for key, value in given.items():
        if key in spoken:
            yield from _messages((*path, key), value)
        elif key in ("tools", "functions"):
            yield Text((*path, key), json.dumps(value, ensure_ascii=False), shared=True)
        else:
            yield Text((*path, key), key, shared=True)
            yield from _walk((*path, key), value, key)


def _messages(path: Path, messages: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    for n, message in enumerate(messages):
        yield from _message((*path, n), message)


def _message(path: Path, message: Mapping[str, Any]) -> Iterator[Text]:
    shared = message["role"] in ("system", "developer")
    for key, value in message.items():
        if key == "content" and isinstance(value, str):
            yield Text((*path, key), value, shared)
        elif key == "content":
            yield from _walk((*path, key), value, "", shared=shared)
        elif key == "tool_calls":
            for n, call in enumerate(value or ()):
                at = (*path, key, n, "function", "arguments")
                yield from _walk(at, call["function"]["arguments"], "")
        elif key not in NO_TEXT:
            yield from _walk((*path, key), value, key)


def _walk(path: Path, value: Any, label: str, *, shared: bool = False) -> Iterator[Text]:
    """The texts in a JSON value; what stands under a key is read with it, for a key tells what a
    number is."""
    if isinstance(value, str):
        short = label and len(value) <= LONGEST_LABELLED
        yield Text(path, f'"{label}": "{read(value)}' if short else value, shared)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield Text((*path, key), key, shared=True)
            if key not in NO_TEXT:
                yield from _walk((*path, key), inner, "" if key == "text" else key, shared=shared)
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _walk((*path, n), inner, label, shared=shared)
    elif isinstance(value, int) and abs(value) >= 10 ** (FEWEST_DIGITS - 1):
        yield Text(path, f'"{label}": {value}' if label else str(value), shared)
