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
        return f"{self.method}-{self.sha[:12]}"

    @cached_property
    def sha(self) -> str:
        """A hash of method, agents, recipe, grader and all rows."""
        shas = [[row.split, row.sha] for row in (*self.rows, *self.valid)]
        identity = [self.method.value, self.agents, self.recipe, self.grader, shas]
        return digest(canonical(identity))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy whose hash is its own."""
        copy = super().model_copy(update=update, deep=deep)
        for name in ("id", "sha"):
            vars(copy).pop(name, None)
        return copy

    @property
    def funnel(self) -> Funnel:
        return Funnel(self.traces_read, self.considered, len(self.rows) + len(self.valid))

    def reasons(self) -> dict[Refusal, int]:
        """How many were refused for each reason, the most frequent first."""
        return dict(Counter(refused.code for refused in self.refused).most_common())

    @property
    def manifest(self) -> Json:
        """What `manifest.json` holds; no time and no path, so that equal harvests are equal."""
        return {
            "dataset": self.id,
            "method": self.method.value,
            "agents": list(self.agents),
            "recipe": self.recipe,
            "grader": self.grader,
            "rows": {"train": len(self.rows), "valid": len(self.valid)},
            "funnel": self.funnel._asdict(),
            "refused": {code.value: n for code, n in self.reasons().items()},
            "sha256": {"train": file_sha(self.rows), "valid": file_sha(self.valid)},
            "content_hash": self.sha,
            "parent": self.parent,
        }


def jsonl(rows: Iterable[Row]) -> bytes:
    """The rows as a file: one line each, UTF-8, in order."""
    return "".join(f"{row.line}\n" for row in rows).encode()


def file_sha(rows: Iterable[Row]) -> str:
    """The SHA-256 of `jsonl(rows)`, in hexadecimal: what `sha256sum` prints for the file."""
    return sha256(jsonl(rows)).hexdigest()
