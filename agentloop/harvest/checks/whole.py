"""What only a whole file shows: rows that differ in their keys, teach one thing, or decline."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from agentloop.base.records import Fault, Method
from agentloop.base.records.fault import DPO_INPUT_KEYS, KTO_KEYS, SFT_KEYS
from agentloop.harvest.checks.doubts import declines
from agentloop.harvest.checks.prompts import answers, taught

DECLINED = 0.2
"""The share of answers that decline, above which a model learns to decline: from a set with 60 %
it did (OpenAI's guide)."""

MOST_SETS = 100
"""Sets of keys that are told apart."""

NAMED = 5
"""Lines that are named as examples."""


class Sighted(NamedTuple):
    """Where a set of keys was seen first."""

    line: int
    example: int


class Whole:
    """What is known of a file so far. Memory does not grow with it."""

    def __init__(self, method: Method) -> None:
        self.rows = 0
        self.answers = 0
        self.declined = 0
        self._method = method
        self._sets: dict[frozenset[str], Sighted] = {}
        self._sizes: dict[frozenset[str], int] = {}
        self._taught: set[str] = set()
        self._teaching = 0
        self._declining: list[int] = []

    @property
    def optional(self) -> frozenset[str]:
        """The keys that some rows have and some do not, of those that servers know."""
        if not self._sets or self._method is Method.RFT:
            return frozenset()
        return frozenset().union(*self._sets) - frozenset.intersection(*self._sets)

    def keys_of(self, row: Mapping[str, Any], line: int, example: int) -> None:
        """Note which keys a row has."""
        match self._method:
            case Method.SFT:
                if "messages" not in row:  # said already, and no row to compare with
                    return
                keys = frozenset(SFT_KEYS & row.keys())
            case Method.DPO:
                given = row.get("input")
                if not isinstance(given, Mapping):
                    return
                keys = frozenset(DPO_INPUT_KEYS & given.keys())
            case Method.KTO:
                keys = frozenset(KTO_KEYS & row.keys())
            case Method.RFT:
                keys = frozenset(row.keys() - {"tools"})
        if keys in self._sets or len(self._sets) < MOST_SETS:
            self._sets.setdefault(keys, Sighted(line, example))
            self._sizes[keys] = self._sizes.get(keys, 0) + 1

    def taught(self, row: Mapping[str, Any], line: int) -> None:
        """Note what a row without a fault teaches."""
        what = taught(row, self._method)
        self._teaching += 1
        if len(self._taught) < 2:  # two different ones are enough to know
            self._taught.add(what or f"nothing in {line}")
        learned = [answer for _, answer in answers(row, self._method)]
        if learned:
            last = learned[0] if self._method is Method.DPO else learned[-1]
            self.answers += 1
            if declines(last):
                self.declined += 1
                if len(self._declining) < NAMED:
                    self._declining.append(line)

    def mixed(self) -> Iterator[tuple[Fault, int, int]]:
        """For each set of keys but the first row's: a fault, the first line that has it, and the
        number of that row."""
        if len(self._sets) < 2:
            return
        first, *others = self._sets
        for keys in others:
            more, fewer = sorted(keys - first), sorted(first - keys)
            what = (
                f'the row contains an extra "{more[0]}"'
                if more
                else (f"the key {fewer[0]!r} is missing")
            )
            differing = ", ".join(sorted(keys ^ first))
            said = (
                f"{what}; it differs from row 1 in {differing}, as {self._sizes[keys]} of "
                f"{self.rows} rows do: write one set of keys"
            )
            yield Fault("mixed_keys", said), *self._sets[keys]

    def doubts(self) -> Iterator[Fault]:
        """What is doubtful about all rows together."""
        if self._teaching > 1 and len(self._taught) == 1:
            what = {
                Method.SFT: "all rows end with the same answer",
                Method.DPO: "all rows compare the same two outputs",
                Method.KTO: "all rows have the same answer and the same label",
                Method.RFT: "all rows have the same fields for the grader",
            }[self._method]
            yield Fault("same_output", f"{what}; that alone would be learned, whatever is asked")
        if self.declined > 1 and self.declined > DECLINED * self.answers:
            lines = ", ".join(map(str, self._declining))
            yield Fault(
                "refusal_share",
                f"{self.declined} of {self.answers} answers decline what was asked, at first in "
                f"lines {lines}; above {DECLINED:.0%} a model learns to decline",
            )
