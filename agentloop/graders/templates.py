"""Templates: `{{ item.answer }}` and `{{ sample.output_tools[0].function.arguments }}`.

A template is looked up, never run: it has paths and nothing else, neither filters nor calls, and
what it inserts is not read again as a template.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from agentloop.base.errors import GraderError

NAMESPACES = ("item", "sample")

_HOLE = re.compile(r"\{\{([^{}]*)\}\}")
_PATH = re.compile(r"(\w+)((?:\.[\w$-]+|\[\d+\])+)")
_STEP = re.compile(r"\.([\w$-]+)|\[(\d+)\]")
_SHAPE = "write {{ item.name }} or {{ sample.name }}, with .name and [0] to go deeper"


class Unresolved(LookupError):
    """The data has nothing at the path; the message is the path."""


class _Path(NamedTuple):
    text: str
    namespace: str
    steps: tuple[str | int, ...]

    def find(self, spaces: Mapping[str, object]) -> object:
        here = spaces[self.namespace]
        for step in self.steps:
            if isinstance(step, str):
                if not isinstance(here, Mapping) or step not in here:
                    raise Unresolved(self.text)
                here = here[step]
            else:
                if not isinstance(here, list | tuple) or step >= len(here):
                    raise Unresolved(self.text)
                here = here[step]
        return here


class Template:
    """A text with holes, checked once and rendered often.

    >>> Template("{{ item.who }} says {{ sample.output_json.n[1] }}").render(
    ...     {"item": {"who": "Ann"}, "sample": {"output_json": {"n": [1, 2]}}}
    ... )
    'Ann says 2'

    Args:
        text: literal text, and in double braces paths that start at `item` or `sample`.
        where: the field it stands in, for the sentence of a refusal.

    Raises:
        GraderError: a hole is not closed, is no path, or names another namespace.
    """

    def __init__(self, text: str, *, where: str = "template") -> None:
        self._parts: list[str | _Path] = []
        end = 0
        for hole in _HOLE.finditer(text):
            self._literal(text[end : hole.start()], where)
            self._parts.append(_path(hole[1].strip(), where))
            end = hole.end()
        self._literal(text[end:], where)

    def render(self, spaces: Mapping[str, object]) -> str:
        """The text, with strings put in as they are and everything else as JSON.

        Raises:
            Unresolved: the data has nothing at one of the paths (null is something).
            ValueError, TypeError, RecursionError: what is there cannot be written as JSON.
        """
        return "".join(
            part if isinstance(part, str) else _written(part.find(spaces)) for part in self._parts
        )

    def _literal(self, text: str, where: str) -> None:
        # A lone }} is text: nested JSON ends with it. A lone {{ is a hole somebody left open.
        if "{{" in text:
            raise GraderError(f"{where}: {_short(text[text.index('{{') :])} is no path; {_SHAPE}")
        if text:
            self._parts.append(text)


def _path(text: str, where: str) -> _Path:
    match = _PATH.fullmatch(text)
    if match is None:
        raise GraderError(f"{where}: {_short('{{' + text + '}}')} is no path; {_SHAPE}")
    if match[1] not in NAMESPACES:
        raise GraderError(
            f"{where}: {_short('{{' + text + '}}')} starts at {match[1]!r}; "
            "the only namespaces are item and sample"
        )
    steps = tuple(name or int(index) for name, index in _STEP.findall(match[2]))
    return _Path(text, match[1], steps)


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
