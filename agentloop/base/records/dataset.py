"""A dataset: an immutable, hashed set of rows, the recipe that made it, and what was refused."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple, Self

from agentloop.base.records.example import Refusal, Refused
from agentloop.base.records.message import canonical, digest
from agentloop.base.records.record import Json, Record
from agentloop.base.records.row import Method, Row


class Funnel(NamedTuple):
    """How many of what went in came out: traces read, things considered, rows kept."""

    traces: int
    considered: int
    kept: int


class Noted:
    """What the notes of all rows say together."""

    def __init__(self) -> None:
        self.replaced: Counter[str] = Counter()
        """Kind of personal data -> how many places hold a pseudonym."""
        self.teaches: Counter[str] = Counter()
        """Tool (or label) -> how many rows to train on teach it; a row may teach several."""
        self.tokens: Counter[str] = Counter()
        """`train` and `valid` -> tokens of their rows; nothing where none were counted."""

    def count(self, split: str, note: Json) -> None:
        """One more row's note."""
        self.replaced.update(note.get("redactions", {}).get("kinds", {}))
        if split == "train":
            self.teaches.update(note.get("teaches", ()))
        if "tokens" in note:
            self.tokens[split] += note["tokens"]

    def update(self, other: "Noted") -> None:
        """The notes of other rows, counted elsewhere."""
        self.replaced.update(other.replaced)
        self.teaches.update(other.teaches)
        self.tokens.update(other.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Noted) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Dataset(Record):
    """Rows of one method. Two harvests of one store by one recipe give equal datasets."""

    method: Method
    agents: tuple[str, ...]
    """Whose calls the rows teach."""
    recipe: Json
    """Every knob of the harvest, so that it can be done again."""
    rows: tuple[Row, ...]
    """The rows to train on."""
    valid: tuple[Row, ...] = ()
    """The rows to validate with; no user, session or task is in both."""
    refused: tuple[Refused, ...] = ()
    traces_read: int = 0
    considered: int = 0
    grader: Json | None = None
    """RFT: the grader that the outcomes' references call for."""
    parent: str | None = None
    """The dataset that this one is a new harvest of."""

    @cached_property
    def id(self) -> str:
        """The method and the first 12 digits of the content's hash: `sft-3f09…`."""
        return str(self.manifest["dataset"])

    @cached_property
    def sha(self) -> str:
        """A hash of method, agents, recipe, grader and the bytes of both files."""
        return str(self.manifest["content_hash"])

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy whose hash is its own."""
        copy = super().model_copy(update=update, deep=deep)
        for name in ("id", "manifest", "sha"):
            vars(copy).pop(name, None)
        return copy

    @property
    def funnel(self) -> Funnel:
        return Funnel(self.traces_read, self.considered, len(self.rows) + len(self.valid))

    def reasons(self) -> dict[Refusal, int]:
        """How many were refused for each reason, the most frequent first."""
        return dict(Counter(refused.code for refused in self.refused).most_common())

    @cached_property
    def manifest(self) -> Json:
        """What `manifest.json` holds; see `manifest`."""
        noted = Noted()
        for row in (*self.rows, *self.valid):
            noted.count(row.split, row.note)
        return manifest(
            method=self.method,
            agents=self.agents,
            recipe=self.recipe,
            grader=self.grader,
            rows={"train": len(self.rows), "valid": len(self.valid)},
            funnel=self.funnel,
            refused=Counter(refused.code for refused in self.refused),
            noted=noted,
            shas={"train": file_sha(self.rows), "valid": file_sha(self.valid)},
            parent=self.parent,
        )


def manifest(
    *,
    method: Method,
    agents: Iterable[str],
    recipe: Json,
    grader: Json | None,
    rows: Mapping[str, int],
    funnel: Funnel,
    refused: Counter[Refusal],
    noted: Noted,
    shas: Mapping[str, str],
    parent: str | None,
) -> Json:
    """What `manifest.json` holds; no time and no path, so that equal harvests are equal.

    Args:
        rows, shas: of the files `train` and `valid`: lines, and the SHA-256 in hexadecimal.
        refused: how many for each reason.
        noted: what the rows' notes say together.
    """
    said = {
        "method": method.value,
        "agents": list(agents),
        "recipe": recipe,
        "grader": grader,
        "sha256": dict(shas),
    }
    content = content_hash(**said)
    return {
        "dataset": f"{method}-{content[:12]}",
        **said,
        "rows": dict(rows),
        "funnel": funnel._asdict(),
        "refused": {code.value: n for code, n in refused.most_common()},
        "replaced": dict(noted.replaced.most_common()),
        "teaches": dict(noted.teaches.most_common()),
        "tokens": dict(noted.tokens) or None,
        "content_hash": content,
        "parent": parent,
    }


CONTENT = ("method", "agents", "recipe", "grader", "sha256")
"""What of a manifest names a dataset."""


def content_hash(**said: Any) -> str:
    """The hash that names a dataset, of the `CONTENT` of its manifest."""
    return digest(canonical({name: said[name] for name in CONTENT}))


def jsonl(rows: Iterable[Row]) -> bytes:
    """The rows as a file: one line each, UTF-8, in order."""
    return "".join(f"{row.line}\n" for row in rows).encode()


def file_sha(rows: Iterable[Row]) -> str:
    """The SHA-256 of `jsonl(rows)`, in hexadecimal: what `sha256sum` prints for the file."""
    return sha256(jsonl(rows)).hexdigest()
