"""Media: images, files and audio that messages carry as base64, told apart from what is said.

A store keeps each medium once, by its hash, and in the message a reference in its place; whoever
reads the message gets it whole again, byte for byte. Where a medium stands a second time (what a
step says of itself) its hash and size stand for it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agentloop.base.records.message import digest
from agentloop.base.records.record import Json

LEAST = 1_000
"""Characters from which on base64 is kept apart; less is no longer than its reference."""

REFERENCE = "$media"
"""The key of a reference: `{"$media": hash, "bytes": size, "type": "image/png"}` stands where the
APIs have a text."""


class Shelved(NamedTuple):
    """A message with references, and what they refer to."""

    said: Json
    media: Mapping[str, str]
    """Hash -> the text that stood there: base64, or a `data:` URL."""


PLACES = {
    "image_url": ("image_url", "url"),
    "file": ("file", "file_data"),
    "input_audio": ("input_audio", "data"),
}
"""Content part -> the object and the key of it that hold its medium."""


def shelve(said: Json) -> Shelved:
    """A message as a store keeps it; `unshelve` is the inverse."""
    media: dict[str, str] = {}

    def refer(text: Any) -> Any:
        if not isinstance(text, str) or len(text) < LEAST or not _MEDIUM.fullmatch(text):
            return text
        hash = digest(text.encode())
        media[hash] = text
        kind = _kind(text)
        return {REFERENCE: hash, "bytes": size(text)} | ({"type": kind} if kind else {})

    return Shelved(_changed(said, refer), media)


def references(said: Json) -> set[str]:
    """The hashes of all media of a message that `shelve` made."""
    found: set[str] = set()

    def note(value: Any) -> Any:
        if isinstance(value, dict) and REFERENCE in value:
            found.add(value[REFERENCE])
        return value

    _changed(said, note)
    return found


def unshelve(said: Json, media: Mapping[str, str]) -> Json:
    """The message that `shelve` was given.

    Raises:
        KeyError: a medium is not among `media`.
    """

    def back(value: Any) -> Any:
        return media[value[REFERENCE]] if isinstance(value, dict) and REFERENCE in value else value

    return _changed(said, back)


def _changed(said: Json, change: Callable[[Any], Any]) -> Json:
    content = said.get("content")
    if not isinstance(content, list):
        return said
    return {**said, "content": [_part(part, change) for part in content]}


def _part(part: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(part, dict) or part.get("type") not in PLACES:
        return part
    outer, inner = PLACES[part["type"]]
    holder = part.get(outer)
    if not isinstance(holder, dict) or inner not in holder:
        return part
    return {**part, outer: {**holder, inner: change(holder[inner])}}


def size(text: str) -> int:
    """The bytes that base64 is of, whether or not `data:` stands before it."""
    base64 = text.rpartition(",")[2]
    return len(base64) * 3 // 4 - base64[-2:].count("=")


def _kind(text: str) -> str | None:
    return text[5:].partition(";")[0] if text.startswith("data:") else None


def named(value: Any) -> Any:
    """A JSON value in which hash and size stand for each medium, wherever it stands."""
    match value:
        case str() if len(value) >= LEAST:
            return _MEDIUM.sub(_name, value)
        case dict():
            return {key: named(part) for key, part in value.items()}
        case list() | tuple():
            return [named(part) for part in value]
    return value


def _name(found: "re.Match[str]") -> str:
    text = found[0]
    if len(text) < LEAST:
        return text
    return f"[{_kind(text) or 'base64'}, {size(text)} bytes, {digest(text.encode())}]"


_MEDIUM = re.compile(r"(?:data:[^\s,;\"']*(?:;[^\s,;\"']*)*;base64,)?[A-Za-z0-9+/_-]{700,}={0,2}")
