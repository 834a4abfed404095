"""Splits: which rows a model is validated with, decided by who they come from, and no row on one
side that is nearly one on the other."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from agentloop.base.records import Method, Refusal
from agentloop.harvest.duplicates import Near, Outline

SIDES = ("train", "valid")


def split(unit: str, *, share: float) -> str:
    """`valid` for about `share` of all units, `train` for the others.

    The unit alone decides: not the row, the day or how many rows there are. So a user's rows stay
    on one side as data grows, and nothing that is selected later moves a line.

    Args:
        unit: a user, a session, a task.
        share: of the units, in [0, 1].

    >>> split("u7", share=0.0), split("u7", share=1.0)
    ('train', 'valid')
    """
    return "valid" if position(unit) < share else "train"


def position(unit: str) -> float:
    """Where a unit stands in [0, 1), evenly spread over units."""
    return int.from_bytes(blake2b(unit.encode(), digest_size=8).digest(), "big") / 2**64


class Kept(NamedTuple):
    """A row that was kept: its number, from 0, and its first trace."""

    n: int
    trace: str


class Apart:
    """No two rows of a side that are nearly the same, and none that trains nearly as one validates.

    Of two rows on one side the later is left out. Of two across the line it is always the one to
    train on, whichever came first: there are more of them, a validation that lost its rows to what
    trains would shrink as data grows, and that a row is measured must not depend on what else was
    said. When a row to validate with comes after what is nearly it, that one leaks in hindsight;
    what was left out because of it stays out.
    """

    def __init__(self, threshold: float) -> None:
        self._near: dict[str, Near[Kept]] = {side: Near(threshold) for side in SIDES}
        self.leaks: dict[int, str] = {}
        """Numbers of rows kept to train on that are nearly one that validates, and its trace."""

    def take(self, row: Kept, side: str, one: Outline) -> tuple[Refusal, str] | None:
        """Keep a row, or say why not."""
        validating = self._near["valid"]
        twin = validating.first(one) if side == "train" else None
        if twin is not None:
            return Refusal.LEAK, f"nearly the same as in trace {twin.trace}, which validates"
        twin = self._near[side].first(one)
        if twin is not None:
            return Refusal.NEAR_DUPLICATE, f"nearly the same as in trace {twin.trace}"
        if side == "valid":
            self.validates(row, one)
        self._near[side].keep(row, one)
        return None

    def validates(self, row: Kept, one: Outline) -> None:
        """That a row validates: what trains and is nearly the same leaks."""
        for other in self._near["train"].alike(one):
            if other.n != row.n:
                self.leaks.setdefault(other.n, row.trace)


class Sides:
    """Which rows train and which validate, once all are known.

    The unit decides (`split`), but for two cases: of few units chance may have taken all to
    validate, and reinforcement, which needs rows to validate with, may have got none. Then its
    first unit by position does.
    """

    def __init__(self, method: Method) -> None:
        self._reinforced = method is Method.RFT
        self._units: dict[str, str] = {}
        self._splits = bytearray()
        self._first: str | None = None
        self._of_first: dict[int, tuple[Kept, Outline | None]] = {}
        self._all: str | None = None

    def see(self, row: Kept, unit: str, split: str, one: Outline | None) -> None:
        """A row that was kept, the next by number."""
        self._units[unit] = split
        self._splits.append(split == "valid")
        if self._reinforced:
            if self._first is None or position(unit) < position(self._first):
                self._first, self._of_first = unit, {}
            if unit == self._first:
                self._of_first[row.n] = (row, one)

    def settle(self, valid_share: float) -> None:
        """There are no more."""
        there = set(self._units.values())
        if there == {"valid"} and valid_share < 1.0:
            self._all = "train"
        validated = "valid" in there and self._all is None
        if not self._reinforced or validated or len(self._units) < 2:
            self._first, self._of_first = None, {}
        self._units.clear()

    @property
    def moved(self) -> Iterator[tuple[Kept, Outline]]:
        """Rows that validate although they were to train."""
        return ((row, one) for row, one in self._of_first.values() if one is not None)

    def trains(self, n: int) -> bool:
        """Whether the row with this number trains; to be asked when all is settled."""
        return n not in self._of_first and (self._all == "train" or not self._splits[n])

    def of(self, unit: str, split: str) -> str:
        """The side of a unit that `split` put on a side; to be asked when all is settled."""
        return "valid" if unit == self._first else self._all or split
