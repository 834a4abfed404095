"""Findings: one thing wrong with a file each; and the report that holds them, bounded."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from agentloop.base.records import Complaint, Json

MOST = 1_000
"""Findings of one code that a report keeps; all of them are counted."""


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """A server would refuse the file, or nothing could be learned from the row."""
    WARNING = "warning"
    """A server would take it, and teach something odd."""


class Finding(NamedTuple):
    """One thing wrong with a file, or doubtful about it."""

    level: Level
    line: int | None
    """From 1; None: the file as a whole."""
    code: str
    """A word that stays the same: for counting and for programs."""
    message: str
    """A sentence that says where, what, and what would be right."""
    file: Path
    provider: Complaint | None = None
    """What a server would say, where it would refuse."""

    @property
    def wire(self) -> Json:
        """The finding as a JSON object."""
        theirs = self.provider
        return {
            "level": self.level.value,
            "file": str(self.file),
            "line": self.line,
            "code": self.code,
            "message": self.message,
            "provider_code": theirs.code if theirs else None,
            "provider_message": theirs.message if theirs else None,
        }


class Report(NamedTuple):
    """What a check found."""

    rows: int
    """Lines that are rows, good or bad; empty lines are none."""
    findings: tuple[Finding, ...]
    """By line, then the whole files; of one code, the first 1,000."""
    counts: Mapping[str, int]
    """How many findings of each code there are, those that are not kept included."""
    errors: int
    """How many findings a provider would refuse the file for."""
    answers: int = 0
    """Answers that would be learned: of preferences, the preferred ones."""
    declined: int = 0
    """How many of the answers decline what was asked."""

    @property
    def fit(self) -> bool:
        """Whether a provider would take the file."""
        return not self.errors


class Findings:
    """What was found so far. Memory is bounded: of each code, the first `MOST` are kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors = 0
        self._kept: list[Finding] = []

    def add(self, finding: Finding) -> None:
        self.counts[finding.code] += 1
        self.errors += finding.level is Level.ERROR
        if self.counts[finding.code] <= MOST:
            self._kept.append(finding)

    def report(self, *, rows: int, answers: int, declined: int) -> Report:
        """All of it; the findings of a line in the order in which they came."""
        last = float("inf")
        ordered = sorted(self._kept, key=lambda f: last if f.line is None else f.line)
        return Report(rows, tuple(ordered), dict(self.counts), self.errors, answers, declined)
