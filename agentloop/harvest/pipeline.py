"""The harvest as a pipeline: examples become drafts, each on its own; then the whole decides.

    found -> draft (test set, redaction, length, checks)   one by one, on any machine
          -> gather (duplicates, leaks, balance, limit)    in the order of the traces, in one place
          -> lines, meta, refusals, manifest               as often as they are wanted

What is gathered lies in a file, so memory holds a hash for each row (and 1.7 kB where near
duplicates are looked for) and no row.
"""

import json
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Generic, NamedTuple, Self, TypeVar

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
from agentloop.base.records.dataset import Noted
from agentloop.base.records.masses import in_masses
from agentloop.base.records.message import verbatim
from agentloop.base.store import RowLine
from agentloop.harvest.balance import Balance, Cap
from agentloop.harvest.rewards import grader
from agentloop.harvest.rows import Cleaning, Draft, draft
from agentloop.harvest.splits import SIDES, Apart, Kept, Sides

IN_MEMORY = 32 << 20
"""Bytes of drafts beyond which they go to a file."""

TOGETHER = 50
"""So many are written there at a time."""


def drafted(
    found: Iterable[Example | Refused], recipe: Recipe, cleaning: Cleaning
) -> Iterator[Draft | Refused]:
    """The first half: what was found, each as a draft or a refusal. Nothing here knows of a second
    example, so it may be done for parts of a store anywhere, and the parts joined in order."""
    for item in found:
        yield item if isinstance(item, Refused) else draft(item, recipe, cleaning)


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
    """What only all rows together decide: which are said twice, leak or are too many, on which side
    each stands, and what the file's rows have in common. It needs of a draft no line.

    `take` is asked of all in order; then `settle`; then `settled` of those that it kept.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._seen: dict[str, str] = {}
        self._needs: list[frozenset[str]] = []
        self._shared: dict[frozenset[str], frozenset[str]] = {}
        self._references: list[Any] = []
        self._apart = Apart(recipe.near) if recipe.near else None
        self._balance = Balance()
        self._sides = Sides(recipe.method)
        self._late: dict[int, tuple[Refusal, str | None]] = {}
        self._beyond: int | None = None
        self.considered = 0
        self.reasons: Counter[Refusal] = Counter()

    def take(self, item: Draft | Refused) -> Draft | Refused:
        """The next of all, in the order of their traces: the draft, or why it is left out."""
        self.considered += 1
        kept = item if isinstance(item, Refused) else self._kept(item)
        if isinstance(kept, Refused):
            self.reasons[kept.code] += 1
        return kept

    def _kept(self, one: Draft) -> Draft | Refused:
        if (before := self._seen.get(one.identity)) is not None:
            return one.refused(Refusal.DUPLICATE, f"the same as in trace {before}")
        row = Kept(len(self._needs), one.traces[0])
        if self._apart is not None and one.outline is not None:
            why = self._apart.take(row, one.split, one.outline)
            if why is not None:
                return one.refused(*why)
        self._seen[one.identity] = row.trace
        self._needs.append(self._shared.setdefault(one.needs, one.needs))
        self._references.append(one.reference)
        self._balance.take(one.teaches)
        self._sides.see(row, one.unit, one.split, one.outline)
        return one._replace(outline=None)

    def settle(self) -> None:
        """There are no more.

        Raises:
            EmptyHarvest: there is no row to train on; the message counts the reasons.
        """
        self._seen.clear()
        self._sides.settle(self._recipe.valid_share)
        if self._apart is not None:
            for row, one in self._sides.moved:
                self._apart.validates(row, one)
            for n, trace in self._apart.leaks.items():
                said = f"nearly the same as in trace {trace}, which validates"
                self._late[n] = (Refusal.LEAK, said)
            self._apart = None
        if self._recipe.balance is not None:
            train = bytearray(n not in self._late and self._sides.trains(n) for n in self._numbers)
            for n, name in self._balance.over(Cap.of(self._recipe.balance), train):
                self._late[n] = (Refusal.TOO_COMMON, name)
        self.reasons.update(code for code, _ in self._late.values())
        if self._recipe.limit is not None:
            here = (n for n in self._numbers if n not in self._late)
            self._beyond = next(islice(here, self._recipe.limit, None), None)
            if self._beyond is not None:
                self.reasons[Refusal.TOO_MANY] += 1 + sum(1 for _ in here)
        here = (n for n in self._numbers if self._stays(n))
        sides = Counter("train" if self._sides.trains(n) else "valid" for n in here)
        if not sides["train"] and (not sides["valid"] or self._recipe.valid_share < 1.0):
            raise self._nothing(sides["valid"])

    def late(self, n: int) -> tuple[Refusal, str | None] | None:
        """Why the draft that was kept as number `n`, from 0, is left out after all; None: it is
        not."""
        if n in self._late:
            return self._late[n]
        return None if self._stays(n) else (Refusal.TOO_MANY, None)

    def settled(self, n: int, one: Draft) -> Draft | Refused:
        """The draft that was kept as number `n`, or that it is left out after all."""
        why = self.late(n)
        return one if why is None else one.refused(*why)

    def side(self, one: Draft) -> str:
        """`train` or `valid`; to be asked when all is settled."""
        return self._sides.of(one.unit, one.split)

    @property
    def _numbers(self) -> range:
        return range(len(self._needs))

    def _stays(self, n: int) -> bool:
        return n not in self._late and (self._beyond is None or n < self._beyond)

    @cached_property
    def keys(self) -> frozenset[str]:
        """The optional keys that every row has."""
        needs = {self._needs[n] for n in self._numbers if self._stays(n)}
        return frozenset().union(*needs)

    @property
    def grader(self) -> Json | None:
        """RFT: the grader that the references call for."""
        if self._recipe.method is not Method.RFT:
            return None
        there = [said for n, said in enumerate(self._references) if self._stays(n)]
        return grader([said for said in there if said is not None])

    def _nothing(self, validating: int) -> EmptyHarvest:
        agents = ", ".join(self._recipe.agents)
        if not self.considered:
            method = self._recipe.method
            return EmptyHarvest(
                f"nothing to harvest: no {method} candidates in the traces of {agents}"
            )
        ((code, n),) = self.reasons.most_common(1)
        row = f"no row to train on, and {validating} to validate with," if validating else "no row"
        return EmptyHarvest(
            f"{row} from {self.considered} candidates of {agents}; most often ({n}): "
            f"{code.value}. {code.sentence}"
        )


class Tally:
    """What a manifest counts: lines, their bytes, and what is noted of them."""

    def __init__(self) -> None:
        self.rows = dict.fromkeys(SIDES, 0)
        self.noted = Noted()
        self._shas = {side: sha256() for side in SIDES}

    def count(self, side: str, line: bytes, note: Json) -> None:
        """One more line of a side, in order."""
        self.rows[side] += 1
        self._shas[side].update(line + b"\n")
        self.noted.count(side, note)

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
            noted=self.noted,
            shas={side: self.sha(side) for side in SIDES},
            parent=parent,
        )


class Harvest:
    """What a harvest gave, in a temporary file: closed with `with` or `close`."""

    def __init__(self, recipe: Recipe, traces_read: int, parent: str | None) -> None:
        self.recipe, self._parent, self._read = recipe, parent, traces_read
        self._whole = Whole(recipe)
        self._sides = {side: _Spool[Line]() for side in SIDES}
        self._left_out = _Spool[Refused]()
        self.manifest: Json = {}
        """What `manifest.json` holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for spool in self._sides.values():
            spool.close()
        self._left_out.close()

    # ------------------------------------------------------------------ out

    def lines(self, split: str) -> Iterator[Line]:
        """The rows of `train` or `valid`, in order."""
        return iter(self._sides[split])

    def rows(self) -> Iterator[RowLine]:
        """The same as the ledger takes them, those that train first."""
        for side in SIDES:
            for line in self.lines(side):
                yield RowLine(line.record, line.sha256, line.traces)

    def refused(self) -> Iterator[Refused]:
        """What gave no row, in order."""
        return iter(self._left_out)

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
        with in_masses(), closing(_Spool[Draft | Refused]()) as kept:
            for item in items:
                kept.put(whole.take(item))
            whole.settle()
            for one in _settled(kept, whole):
                if isinstance(one, Refused):
                    self._left_out.put(one)
                else:
                    side = whole.side(one)
                    self._sides[side].put(line := Line.of_draft(one, side, whole.keys))
                    tally.count(side, line.text.encode(), line.note)
        self.manifest = tally.manifest(self.recipe, whole, traces=self._read, parent=self._parent)


def _settled(kept: Iterable[Draft | Refused], whole: Whole) -> Iterator[Draft | Refused]:
    n = 0
    for item in kept:
        if isinstance(item, Draft):
            yield whole.settled(n, item)
            n += 1
        else:
            yield item


T = TypeVar("T")


class _Spool(Generic[T]):
    """Things in the order they were put, in a file when they are many."""

    def __init__(self) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._parts = 0
        self._next: list[T] = []

    def put(self, thing: T) -> None:
        self._next.append(thing)
        if len(self._next) >= TOGETHER:
            self._write()

    def __iter__(self) -> Iterator[T]:
        """All of them, from the first; one walk at a time, and nothing put meanwhile."""
        self._write()
        self._file.seek(0)
        for _ in range(self._parts):
            yield from pickle.load(self._file)  # noqa: S301 - what this process has written

    def _write(self) -> None:
        if self._next:
            pickle.dump(self._next, self._file, pickle.HIGHEST_PROTOCOL)
            self._parts += 1
            self._next = []

    def close(self) -> None:
        self._file.close()
