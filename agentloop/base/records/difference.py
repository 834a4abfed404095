"""What lies between two datasets: rows, recipe, refusals."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agentloop.base.records.record import Json, Record


class RowPlace(Record):
    """Where a row stands."""

    file: str
    """`train.jsonl` or `valid.jsonl`."""
    line: int
    """From 1."""
    trace: str | None = None
    """The first of the traces it was made from; None where that was erased, or is not told."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" ({self.trace})" if self.trace else "")


class Moved(Record):
    """A row that is in both, but on another side of the split; or one that says something else."""

    a: RowPlace
    b: RowPlace
    what: tuple[str, ...] = ()
    """Where the two differ, as `messages.2.content`; empty when a row only moved."""


class Difference(Record):
    """What lies between the datasets `a` and `b`. The order of rows is not looked at.

    Counts are of all rows; the lists hold the first of each kind.
    """

    a: str
    b: str
    both: int
    """Rows with the same bytes, those that moved included."""
    moved: int
    """Of these, such that train in one and validate in the other."""
    changed: int
    """Rows of the same calls (else of the same traces) that say something else."""
    only_a: int
    only_b: int
    moved_rows: tuple[Moved, ...] = ()
    changed_rows: tuple[Moved, ...] = ()
    only_a_rows: tuple[RowPlace, ...] = ()
    only_b_rows: tuple[RowPlace, ...] = ()
    recipe: dict[str, tuple[Any, Any]] = {}
    """Knob -> its two values, where they differ; `method`, `agents` and `grader` are here, too."""
    refused: dict[str, tuple[int, int]] = {}
    """Code -> how many were refused for it, where the two differ."""
    funnel: dict[str, tuple[int, int]] = {}
    """Traces, considered, kept: where the two differ."""

    @property
    def same(self) -> bool:
        """Whether both have the same rows on the same sides."""
        return not (self.moved or self.changed or self.only_a or self.only_b)


def between(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ, with both; None where there is none.

    >>> between({"good": 0.8, "limit": 5}, {"good": 0.9, "limit": 5, "bad": 0.1})
    {'good': (0.8, 0.9), 'bad': (None, 0.1)}
    """
    return {
        key: (a.get(key), b.get(key)) for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)
    }


def differing(a: Json, b: Json) -> tuple[str, ...]:
    """Where two rows differ: keys, and in lists of messages their places, from 0.

    >>> differing({"messages": [{"role": "user", "content": "hi"}]},
    ...           {"messages": [{"role": "user", "content": "ho"}], "tools": []})
    ('messages.0.content', 'tools')
    """
    found = tuple(_differing(a, b, ()))
    return found or (("order of keys",) if json.dumps(a) != json.dumps(b) else ())


_DEEP = 4
"""`input.messages.3.content` is deep enough to be found."""


def _differing(a: Any, b: Any, way: tuple[str, ...]) -> Iterator[str]:
    if len(way) < _DEEP and isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if key not in a or key not in b:
                yield ".".join((*way, key))
            else:
                yield from _differing(a[key], b[key], (*way, key))
    elif len(way) < _DEEP and isinstance(a, list) and isinstance(b, list):
        for n in range(max(len(a), len(b))):
            if n >= len(a) or n >= len(b):
                yield ".".join((*way, str(n)))
            else:
                yield from _differing(a[n], b[n], (*way, str(n)))
    elif json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):  # 1 is not true here
        yield ".".join(way)
