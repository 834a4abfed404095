"""Balance: what rows teach, counted, and no more of one thing than is wanted."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from statistics import median_low
from typing import Any, NamedTuple

from agentloop.base.errors import ConfigError
from agentloop.base.records import (
    DPOExample,
    Example,
    KTOExample,
    Message,
    RFTExample,
    SFTExample,
)
from agentloop.harvest.rewards import REFERENCE

NO_TOOL = "(no tool)"
"""What a row teaches that calls nothing."""
OTHER = "(other)"
"""A reference that is no label: a longer text, a number, a structure."""
LONGEST_LABEL = 64
"""Characters."""


def teaches(example: Example) -> tuple[str, ...]:
    """The classes of a row, sorted: the tools that it teaches to call, or that it teaches none; of
    a task, what its reference says: the tool of a call, or a label; of an answer that was judged
    alone, whether it was good."""
    match example:
        case SFTExample():
            weights = iter(example.weights)
            answers = [m for m in example.context if m.role == "assistant"]
            return _tools([*(m for m in answers if next(weights, 1)), example.output])
        case DPOExample():
            return _tools([example.preferred])
        case KTOExample():
            return ("good" if example.label else "bad",)
        case RFTExample():
            return (_label(example.fields.get(REFERENCE)),)
    raise TypeError(f"no class is known of a {type(example).__name__}")


def _tools(answers: Sequence[Message]) -> tuple[str, ...]:
    names = {call.function.name for message in answers for call in message.calls}
    return tuple(sorted(names)) or (NO_TOOL,)


def _label(reference: Any) -> str:
    match reference:
        case bool():
            return str(reference).lower()
        case str() if len(reference) <= LONGEST_LABEL and "\n" not in reference:
            return reference
        case {"name": str(tool), "arguments": _}:
            return tool
    return OTHER


class Cap(NamedTuple):
    """How many rows of one class are enough: so many, or so many times the median class."""

    rows: int | None = None
    times: int | None = None

    @classmethod
    def of(cls, said: int | str) -> "Cap":
        """The cap that somebody asked for: `200`, or `3x` the median class.

        >>> Cap.of(200), Cap.of("3x")
        (Cap(rows=200, times=None), Cap(rows=None, times=3))

        Raises:
            ConfigError: it is neither.
        """
        text = str(said)
        number = text.removesuffix("x")
        if not (number.isascii() and number.isdigit() and int(number) > 0):
            raise ConfigError(f"balance is rows a class, as 200, or as 3x the median, not {said!r}")
        return cls(times=int(number)) if text.endswith("x") else cls(rows=int(number))

    def most(self, sizes: Mapping[str, int]) -> int:
        """How many rows of a class stay, given how large each class is.

        >>> Cap.of("3x").most({"find": 900, "refund": 10, "cancel": 4})
        30
        """
        if self.rows is not None:
            return self.rows
        return ceil((self.times or 1) * median_low(sizes.values()))


class Balance:
    """Rows by what they teach, while they come, and then which are more than enough.

    A row that teaches several things belongs to the rarest of them: leaving it out would cost that
    one most. Of a class the first rows stay, so more rows later take none away.

    Memory holds 4 bytes a row.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, ...], int] = {}
        self._rows = array("I")

    def take(self, taught: tuple[str, ...]) -> None:
        """One more row."""
        self._rows.append(self._kinds.setdefault(taught, len(self._kinds)))

    def over(self, cap: Cap, counted: Sequence[int]) -> Iterator[tuple[int, str]]:
        """The numbers, from 0, of rows that are more than enough, each with its class.

        Args:
            counted: of each row, in order, whether it is there; the others are in no class.
        """
        if not any(counted):
            return
        kinds = list(self._kinds)
        here = [n for n, there in enumerate(counted) if there]
        taught: Counter[str] = Counter()
        for n in here:
            taught.update(kinds[self._rows[n]])
        rarest = [min(kind, key=lambda name: (taught[name], name)) for kind in kinds]
        classes = Counter(rarest[self._rows[n]] for n in here)
        most = cap.most(classes)
        kept: Counter[str] = Counter()
        for n in here:
            name = rarest[self._rows[n]]
            kept[name] += 1
            if kept[name] > most:
                yield n, name
