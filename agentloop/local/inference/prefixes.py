"""Beginnings that were computed before: most requests of an agent share system prompt and tools."""

from collections.abc import Sequence

import numpy as np

from agentloop.local.inference.rows import Snapshot

Tokens = np.ndarray[tuple[int], np.dtype[np.int64]]

WORTH = 16
"""Shared tokens below which copying is not worth it."""


def shared(a: Tokens, b: Tokens) -> int:
    """How many tokens two sequences begin with in common."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length


def tokens(ids: Sequence[int]) -> Tokens:
    """`ids` in the form that `shared` compares fast."""
    return np.asarray(ids, dtype=np.int64)


class Prefixes:
    """Snapshots of finished rows, the ones used longest ago dropped first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        """In bytes."""
        self._held: list[tuple[Tokens, Snapshot, int]] = []
        """Sequence, its keys and values, their bytes; the last used last."""

    def longest(self, wanted: Tokens) -> tuple[int, Snapshot | None]:
        """The snapshot that shares the longest beginning with `wanted`, and its length."""
        best, at = 0, -1
        for n, (held, _, _) in enumerate(self._held):
            if (length := shared(held, wanted)) > best:
                best, at = length, n
        if best < WORTH:
            return 0, None
        entry = self._held.pop(at)
        self._held.append(entry)
        return best, entry[1]

    def wants(self, finished: Tokens) -> bool:
        """Whether nothing held begins with the whole of `finished`."""
        return all(shared(held, finished) < len(finished) for held, _, _ in self._held)

    def keep(self, finished: Tokens, snapshot: Snapshot) -> None:
        """Hold a finished row; what it continues is dropped."""
        size = sum(k.nbytes + v.nbytes for k, v in snapshot)
        if size > self._capacity:
            return
        self._held = [entry for entry in self._held if shared(entry[0], finished) < len(entry[0])]
        self._held.append((finished, snapshot, size))
        total = sum(size for _, _, size in self._held)
        while total > self._capacity:
            total -= self._held.pop(0)[2]
