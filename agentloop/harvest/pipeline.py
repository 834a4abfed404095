"""The harvest as a pipeline: examples become drafts, each on its own; then the whole decides.

    found -> draft (redaction, checks, split)   one by one, on any machine
          -> gather (duplicates, limit, sides)  in the order of the traces, in one place
          -> lines, meta, refusals, manifest    as often as they are wanted

What is gathered lies in a file, so memory holds a hash for each row and no row.
"""

import json
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO, Any, NamedTuple, Self

from agentloop.base.errors import EmptyHarvest
from agentloop.base.records import (
    Dataset,
    Example,
    Funnel,
    Json,
    Method,
    Recipe,
    Refusal,
    Refused,
    Row,
    manifest,
)
from agentloop.base.records.message import verbatim
from agentloop.harvest.redaction import Redactor
from agentloop.harvest.rewards import grader
from agentloop.harvest.rows import Draft, draft
from agentloop.harvest.splits import position

SIDES = ("train", "valid")

IN_MEMORY = 32 << 20
"""Bytes of drafts beyond which they go to a file."""


def drafted(
    found: Iterable[Example | Refused], recipe: Recipe, redactor: Redactor | None
) -> Iterator[Draft | Refused]:
    """The first half: what was found, each as a draft or a refusal. Nothing here knows of a second
    example, so it may be done for parts of a store anywhere, and the parts joined in order."""
    for item in found:
        yield item if isinstance(item, Refused) else draft(item, recipe, redactor)


def gather(
    items: Iterable[Draft | Refused],
    recipe: Recipe,
    *,
    traces_read: int = 0,
    parent: str | None = None,
) -> "Harvest":
    """The second half: the whole, of drafts and refusals in the order of their traces.

    Raises:
        EmptyHarvest: there is no row; the message counts the reasons.
    """
    harvest = Harvest(recipe, traces_read, parent)
    try:
        harvest._take(items)
        harvest._settle()
    except BaseException:
        harvest.close()
        raise
    return harvest


_SAID = ("traces", "calls", "opinions", "producers", "note")


class Line(NamedTuple):
    """A row as it is written: its line, and what is said of it beside."""

    text: str
    split: str
    sha256: str
    traces: tuple[str, ...]
    calls: tuple[str, ...]
    opinions: tuple[str, ...]
    producers: tuple[str, ...]
    note: Json

    @classmethod
    def of(cls, row: Row) -> "Line":
        """The line of a record."""
        return cls(
            row.line,
            row.split,
            row.line_sha,
            row.traces,
            row.calls,
            row.opinions,
            row.producers,
            row.note,
        )

    @property
    def record(self) -> str:
        """What `row.to_line()` is, without a record in between."""
        said = {name: getattr(self, name) for name in _SAID}
        beside = verbatim({"split": self.split, **said}).decode()
        return f'{{"body":{self.text},{beside[1:]}'

    @property
    def row(self) -> Row:
        """The same as a record."""
        return Row(
            body=json.loads(self.text),
            split=self.split,
            traces=self.traces,
            calls=self.calls,
            opinions=self.opinions,
            producers=self.producers,
            note=self.note,
        )


class Harvest:
    """What a harvest gave, in a temporary file: closed with `with` or `close`."""

    def __init__(self, recipe: Recipe, traces_read: int, parent: str | None) -> None:
        self.recipe, self._parent = recipe, parent
        self._read, self._considered = traces_read, 0
        self._drafts, self._refused = _Spool(), _Spool()
        self._reasons: Counter[Refusal] = Counter()
        self._counts = {"train": 0, "valid": 0}
        self._keys: frozenset[str] = frozenset()
        self._seen: dict[str, str] = {}
        self._sides = _Sides()
        self._references: list[Any] = []
        self.manifest: Json = {}
        """What `manifest.json` holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._drafts.close()
        self._refused.close()

    # ------------------------------------------------------------------ out

    def lines(self, split: str) -> Iterator[Line]:
        """The rows of `train` or `valid`, in order."""
        for one in self._drafts:
            side = self._sides.of(one)
            if side == split:
                text = one.line(self._keys)
                yield Line(
                    text,
                    side,
                    sha256(text.encode()).hexdigest(),
                    one.traces,
                    one.calls,
                    one.opinions,
                    one.producers,
                    one.note,
                )

    def refused(self) -> Iterator[Refused]:
        """What gave no row, in order."""
        yield from self._refused

    def dataset(self) -> Dataset:
        """The whole in memory, as a record."""
        return Dataset(
            method=self.recipe.method,
            agents=self.recipe.agents,
            recipe=self.recipe.knobs,
            rows=tuple(line.row for line in self.lines("train")),
            valid=tuple(line.row for line in self.lines("valid")),
            refused=tuple(self.refused()),
            traces_read=self._read,
            considered=self._considered,
            grader=self.manifest["grader"],
            parent=self._parent,
        )

    # ------------------------------------------------------------------ in

    def _take(self, items: Iterable[Draft | Refused]) -> None:
        keys: set[str] = set()
        for item in items:
            self._considered += 1
            kept = item if isinstance(item, Refused) else self._kept(item)
            if isinstance(kept, Refused):
                self._reasons[kept.code] += 1
                self._refused.put(kept)
                continue
            keys |= kept.needs
            self._sides.see(kept)
            if kept.reference is not None:
                self._references.append(kept.reference)
            self._drafts.put(kept)
        self._keys = frozenset(keys)

    def _kept(self, one: Draft) -> Draft | Refused:
        if (before := self._seen.get(one.identity)) is not None:
            return one.refused(Refusal.DUPLICATE, f"the same as in trace {before}")
        if self.recipe.limit is not None and len(self._seen) >= self.recipe.limit:
            return one.refused(Refusal.TOO_MANY)
        self._seen[one.identity] = one.traces[0]
        return one

    def _settle(self) -> None:
        recipe = self.recipe
        self._sides.settle(recipe)
        self._seen.clear()
        shas = {"train": sha256(), "valid": sha256()}
        replaced: Counter[str] = Counter()
        for one in self._drafts:
            side = self._sides.of(one)
            self._counts[side] += 1
            shas[side].update(one.line(self._keys).encode() + b"\n")
            replaced.update(one.note.get("redactions", {}).get("kinds", {}))
        self.manifest = manifest(
            method=recipe.method,
            agents=recipe.agents,
            recipe=recipe.knobs,
            grader=grader(self._references) if recipe.method is Method.RFT else None,
            rows=self._counts,
            funnel=Funnel(self._read, self._considered, sum(self._counts.values())),
            refused=self._reasons,
            replaced=replaced,
            shas={side: sha.hexdigest() for side, sha in shas.items()},
            parent=self._parent,
        )
        if not sum(self._counts.values()):
            raise EmptyHarvest(self._nothing())

    def _nothing(self) -> str:
        agents = ", ".join(self.recipe.agents)
        if not self._considered:
            method = self.recipe.method
            return f"nothing to harvest: no {method} candidates in the traces of {agents}"
        ((code, n),) = self._reasons.most_common(1)
        return (
            f"no row from {self._considered} candidates of {agents}; most often ({n}): "
            f"{code.value}. {code.sentence}"
        )


class _Sides:
    """Which rows train and which validate, once all are known.

    The unit decides (`splits.split`), but for two cases: of few units chance may have taken all to
    validate, and reinforcement, which needs rows to validate with, may have got none.
    """

    def __init__(self) -> None:
        self._units: dict[str, str] = {}
        self._rows = 0
        self._all: str | None = None
        self._moved: str | None = None

    def see(self, one: Draft) -> None:
        self._units[one.unit] = one.split
        self._rows += 1

    def settle(self, recipe: Recipe) -> None:
        sides = set(self._units.values())
        if sides == {"valid"} and recipe.valid_share < 1.0:
            self._all = "train"
        alone = self._all == "train" or sides == {"train"}
        if recipe.method is Method.RFT and alone and self._rows > 1:
            self._moved = min(self._units, key=position)
        self._units.clear()

    def of(self, one: Draft) -> str:
        if one.unit == self._moved:
            return "valid"
        return self._all or one.split


class _Spool:
    """Things in the order they were put, in a file when they are many."""

    def __init__(self) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._end = 0

    def put(self, thing: Any) -> None:
        pickle.dump(thing, self._file, pickle.HIGHEST_PROTOCOL)
        self._end += 1

    def __iter__(self) -> Iterator[Any]:
        """All of them, from the first; one walk at a time."""
        self._file.seek(0)
        for _ in range(self._end):
            yield pickle.load(self._file)  # noqa: S301 - what this process has written

    def close(self) -> None:
        self._file.close()
