"""Beginnings that were computed before: most requests of an agent share system prompt and tools.

Sequences are kept sorted, so the one that shares most with a new one stands beside its place.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from agentloop.local.inference.rows import Snapshot

WORTH = 16
"""Shared tokens below which copying is not worth it."""

_WIDTH = 4
"""Bytes of a token, the highest first: then bytes are ordered as tokens are."""


def tokens(ids: Sequence[int]) -> bytes:
    """`ids` in the form that is sorted and compared."""
    return np.asarray(ids, dtype=">u4").tobytes()


def shared(a: bytes, b: bytes, width: int = _WIDTH) -> int:
    """How many elements of `width` bytes two sequences begin with in common."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length // width
    ours, theirs = (np.frombuffer(x, f"u{width}", length // width) for x in (a, b))
    return int((ours != theirs).argmax())


class Beginnings:
    """A sorted set of sequences, each with something that tells it from its equals."""

    def __init__(self) -> None:
        self._sorted: list[tuple[bytes, int]] = []

    def add(self, sequence: bytes, id: int) -> None:
        """Take one in."""
        insort(self._sorted, (sequence, id))

    def remove(self, sequence: bytes, id: int) -> None:
        """Leave one out that was taken in."""
        del self._sorted[bisect_left(self._sorted, (sequence, id))]

    def before(self, wanted: bytes) -> bytes | None:
        """The last one that is ordered before `wanted`."""
        at = bisect_left(self._sorted, (wanted,))
        return self._sorted[at - 1][0] if at else None

    def nearest(self, wanted: bytes) -> tuple[int, int]:
        """How many tokens the one that shares most begins with in common, and its id.

        >>> known = Beginnings()
        >>> known.add(tokens([1, 2, 3]), 7)
        >>> known.add(tokens([1, 5]), 8)
        >>> known.nearest(tokens([1, 2, 4]))
        (2, 7)
        """
        at = bisect_left(self._sorted, (wanted,))
        best, whose = 0, -1
        for sequence, id in self._sorted[max(at - 1, 0) : at + 1]:
            if (length := shared(sequence, wanted)) > best:
                best, whose = length, id
        return best, whose


class _Held(NamedTuple):
    sequence: bytes
    snapshot: Snapshot
    size: int
    """In bytes."""


class Prefixes:
    """Snapshots of finished rows, the ones used longest ago dropped first. None begins another."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        """In bytes."""
        self._held: OrderedDict[int, _Held] = OrderedDict()
        """By number; the last used last."""
        self._order = Beginnings()
        self._numbers: dict[bytes, int] = {}
        self._made = 0
        self._size = 0

    def longest(self, wanted: bytes) -> tuple[int, Snapshot | None]:
        """The snapshot that shares the longest beginning with `wanted`, and its length."""
        length, number = self._order.nearest(wanted)
        if length < WORTH:
            return 0, None
        self._held.move_to_end(number)
        return length, self._held[number].snapshot

    def wants(self, finished: bytes) -> bool:
        """Whether nothing held begins with the whole of `finished`."""
        return self._order.nearest(finished)[0] * _WIDTH < len(finished)

    def keep(self, finished: bytes, snapshot: Snapshot) -> None:
        """Hold a finished row that is wanted; what it continues is dropped."""
        size = sum(k.nbytes + v.nbytes for k, v in snapshot)
        if size > self._capacity:
            return
        # Whatever it continues is just before it: what stood between would continue that too.
        earlier = self._order.before(finished)
        if earlier is not None and finished.startswith(earlier):
            self._drop(self._numbers[earlier])
        self._made += 1
        self._held[self._made] = _Held(finished, snapshot, size)
        self._numbers[finished] = self._made
        self._order.add(finished, self._made)
        self._size += size
        while self._size > self._capacity:
            self._drop(next(iter(self._held)))

    def _drop(self, number: int) -> None:
        held = self._held.pop(number)
        self._order.remove(held.sequence, number)
        del self._numbers[held.sequence]
        self._size -= held.size
