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
from pathlib import Path
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
        harvest.take(items)
    except BaseException:
        harvest.close()
        raise
    return harvest


_META = {"file", "line", "sha256", "split", "traces", "calls", "opinions", "producers"}
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

    @classmethod
    def of_draft(cls, one: Draft, side: str, keys: frozenset[str]) -> "Line":
        """The line of a draft on a side of a file whose rows have these optional keys."""
        text = one.line(keys)
        return cls(
            text,
            side,
            sha256(text.encode()).hexdigest(),
            one.traces,
            one.calls,
            one.opinions,
            one.producers,
            one.note,
        )

    @classmethod
    def of_meta(cls, text: str, meta: Json) -> "Line":
        """The line that `rows.meta.jsonl` tells of."""
        note = {name: value for name, value in meta.items() if name not in _META}
        traces, calls, opinions, producers = (tuple(meta[name]) for name in _SAID[:-1])
        side, sha = meta["split"], meta["sha256"]
        return cls(text, side, sha, traces, calls, opinions, producers, note)

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


class Whole:
    """What only all rows together decide: which are said twice or are too many, on which side each
    stands, and what the file's rows have in common. It needs of a draft no line."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._seen: dict[str, str] = {}
        self._keys: set[str] = set()
        self._sides = _Sides()
        self._references: list[Any] = []
        self.considered = 0
        self.reasons: Counter[Refusal] = Counter()

    def take(self, item: Draft | Refused) -> Draft | Refused:
        """The next of all, in the order of their traces: the draft, or why it is left out."""
        self.considered += 1
        kept = item if isinstance(item, Refused) else self._kept(item)
        if isinstance(kept, Refused):
            self.reasons[kept.code] += 1
            return kept
        self._keys |= kept.needs
        self._sides.see(kept)
        if kept.reference is not None:
            self._references.append(kept.reference)
        return kept

    def settle(self) -> None:
        """There are no more."""
        self._sides.settle(self._recipe)
        self._seen.clear()

    def side(self, one: Draft) -> str:
        """`train` or `valid`; to be asked when all is settled."""
        return self._sides.of(one)

    @property
    def keys(self) -> frozenset[str]:
        """The optional keys that every row has."""
        return frozenset(self._keys)

    @property
    def grader(self) -> Json | None:
        """RFT: the grader that the references call for."""
        return grader(self._references) if self._recipe.method is Method.RFT else None

    def refuse_nothing(self) -> EmptyHarvest:
        """The error that there is no row; it counts the reasons."""
        agents = ", ".join(self._recipe.agents)
        if not self.considered:
            method = self._recipe.method
            return EmptyHarvest(
                f"nothing to harvest: no {method} candidates in the traces of {agents}"
            )
        ((code, n),) = self.reasons.most_common(1)
        return EmptyHarvest(
            f"no row from {self.considered} candidates of {agents}; most often ({n}): "
            f"{code.value}. {code.sentence}"
        )

    def _kept(self, one: Draft) -> Draft | Refused:
        if (before := self._seen.get(one.identity)) is not None:
            return one.refused(Refusal.DUPLICATE, f"the same as in trace {before}")
        if self._recipe.limit is not None and len(self._seen) >= self._recipe.limit:
            return one.refused(Refusal.TOO_MANY)
        self._seen[one.identity] = one.traces[0]
        return one


class Tally:
    """What a manifest counts: lines, their bytes, what was replaced in them."""

    def __init__(self) -> None:
        self.rows = dict.fromkeys(SIDES, 0)
        self.replaced: Counter[str] = Counter()
        self._shas = {side: sha256() for side in SIDES}

    def count(self, side: str, line: bytes, note: Json) -> None:
        """One more line of a side, in order."""
        self.rows[side] += 1
        self._shas[side].update(line + b"\n")
        self.replaced.update(note.get("redactions", {}).get("kinds", {}))

    def read(self, side: str, files: Iterable[Path]) -> None:
        """Hash the bytes of all lines of a side, where others have counted them."""
        for file in files:
            with file.open("rb") as lines:
                while some := lines.read(1 << 20):
                    self._shas[side].update(some)

    def sha(self, side: str) -> str:
        """The SHA-256 of the lines so far, in hexadecimal."""
        return self._shas[side].hexdigest()

    def manifest(self, recipe: Recipe, whole: Whole, *, traces: int, parent: str | None) -> Json:
        """What `manifest.json` holds."""
        return manifest(
            method=recipe.method,
            agents=recipe.agents,
            recipe=recipe.knobs,
            grader=whole.grader,
            rows=self.rows,
            funnel=Funnel(traces, whole.considered, sum(self.rows.values())),
            refused=whole.reasons,
            replaced=self.replaced,
            shas={side: self.sha(side) for side in SIDES},
            parent=parent,
        )


class Harvest:
    """What a harvest gave, in a temporary file: closed with `with` or `close`."""

    def __init__(self, recipe: Recipe, traces_read: int, parent: str | None) -> None:
        self.recipe, self._parent, self._read = recipe, parent, traces_read
        self._whole = Whole(recipe)
        self._drafts, self._refused = _Spool(), _Spool()
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
        keys = self._whole.keys
        for one in self._drafts:
            if self._whole.side(one) == split:
                yield Line.of_draft(one, split, keys)

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
            considered=self._whole.considered,
            grader=self.manifest["grader"],
            parent=self._parent,
        )

    # ------------------------------------------------------------------ in

    def take(self, items: Iterable[Draft | Refused]) -> None:
        """Take all that there is, and settle what only the whole can say."""
        whole, tally = self._whole, Tally()
        for item in items:
            kept = whole.take(item)
            (self._refused if isinstance(kept, Refused) else self._drafts).put(kept)
        whole.settle()
        keys = whole.keys
        for one in self._drafts:
            tally.count(whole.side(one), one.line(keys).encode(), one.note)
        self.manifest = tally.manifest(self.recipe, whole, traces=self._read, parent=self._parent)
        if not any(tally.rows.values()):
            raise whole.refuse_nothing()


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
