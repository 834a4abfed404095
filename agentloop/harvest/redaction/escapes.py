"""JSON as text: what it says is read, and written again at the places that change alone."""

import json
import re
from bisect import bisect_right
from typing import NamedTuple

from agentloop.harvest.redaction.finding import KINDS

PAIR = r"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
ESCAPE = re.compile(rf"{PAIR}|\\u[0-9A-Fa-f]{{4}}|\\.")
NUMBER = re.compile(r"[1-9][0-9]*(?:\.[0-9]+)?")
KEY = re.compile(r"\s*:")
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


class Edit(NamedTuple):
    """A piece of a text, and what comes in its place."""

    start: int
    end: int
    new: str
    kind: str = ""
    """Of what was found there. Keys of objects change for what has a form of its own alone: a word
    that looks like a name may be the name of a field."""


class JsonText:
    """A JSON text, as written and as read.

    >>> text = JsonText(r'{"to": "ann\\u0040work.org\\n"}')
    >>> text.said.index("@"), text.edited([Edit(8, 20, "person1@example.com")])
    (11, '{"to": "person1@example.com\\\\n"}')
    """

    def __init__(self, written: str) -> None:
        self.written = written
        self._after: list[int] = [0]
        """Where, in what is read, each piece between two escapes begins; `_shift` beside it: how
        much further on that is in what is written."""
        self._shift: list[int] = [0]
        pieces, at, read = [], 0, 0
        for match in ESCAPE.finditer(written) if "\\" in written else ():
            meant = json.loads(f'"{match[0]}"')
            pieces += [written[at : match.start()], meant]
            read += match.start() - at + len(meant)
            at = match.end()
            self._after.append(read)
            self._shift.append(at - read)
        self.said = "".join([*pieces, written[at:]])
        """The text with its escapes read; its positions are those of findings."""

    def fitting(self, edits: list[Edit]) -> list[Edit]:
        """Those after which it is JSON still: they stay within a string, or put a number in the
        place of one."""
        strings = [match.span() for match in STRING.finditer(self.written)]
        return [edit for edit in edits if self._fits(edit, strings)]

    def edited(self, edits: list[Edit]) -> str:
        """What is written, with pieces of what is read replaced: every other byte stays."""
        pieces, at = [], 0
        for edit in edits:
            start, end = self._place(edit.start), self._place(edit.end)
            pieces += [self.written[at:start], json.dumps(edit.new, ensure_ascii=False)[1:-1]]
            at = end
        return "".join([*pieces, self.written[at:]])

    def _place(self, position: int) -> int:
        """Where a position of what is read is in what is written."""
        piece = bisect_right(self._after, position) - 1
        return position + self._shift[piece]

    def _fits(self, edit: Edit, strings: list[tuple[int, int]]) -> bool:
        start, end = self._place(edit.start), self._place(edit.end)
        at = bisect_right(strings, (start, end)) - 1
        if at >= 0 and strings[at][0] < start < strings[at][1]:
            is_key = KEY.match(self.written, strings[at][1]) is not None
            return end < strings[at][1] and not (is_key and edit.kind not in KINDS)
        return NUMBER.fullmatch(edit.new) is not None


def is_json(text: str) -> bool:
    """Whether a text is JSON: an object, an array or a string."""
    if text[:1] not in '{["' and text[:16].lstrip()[:1] not in ("{", "[", '"'):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read(text: str) -> str:
    """What a text says: without escapes, when it is JSON.

    >>> read(r'["\\u0040"]'), read(r"\\u0040")
    ('["@"]', '\\\\u0040')
    """
    return JsonText(text).said if "\\" in text and is_json(text) else text
