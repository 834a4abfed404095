"""What a detector finds in a text, and what a detector is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

KINDS = ("secret", "iban", "card", "email", "ip", "ssn", "phone")
"""What has a form of its own; of two that overlap, the one that is named first here stays."""


class Finding(NamedTuple):
    """Personal data, or a secret, in a text."""

    start: int
    end: int
    """`text[start:end]` is what was found; positions count characters."""
    kind: str
    """`email`, `phone`, `card`, `iban`, `ssn`, `ip`, `secret`; another detector may know more."""


class Detector(Protocol):
    """Finds personal data in a text. The same text gives the same findings."""

    @property
    def name(self) -> str:
        """Who it is, as it stands on each row."""

    @property
    def version(self) -> str:
        """Changes whenever some text gives other findings than before."""

    def find(self, text: str) -> Sequence[Finding]:
        """What is in `text`, in order, without overlaps."""


def apart(findings: Iterable[Finding]) -> list[Finding]:
    """The findings in order and without overlaps; of two that overlap the one named first stays.

    >>> apart([Finding(4, 9, "email"), Finding(0, 5, "phone"), Finding(0, 3, "ip")])
    [Finding(start=0, end=3, kind='ip'), Finding(start=4, end=9, kind='email')]
    """
    kept: list[Finding] = []
    for one in findings:
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return sorted(kept)
