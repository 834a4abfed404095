"""What waits in memory: bounded in number and in bytes, whatever is thrown at it."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Condition
from typing import Generic, TypeVar

from agentloop.base.store.batch import Storable

CAPACITY = 20_000
"""How much work may wait. More makes the caller wait, then goes to the journal."""

ROOM = 64_000_000
"""Bytes of work that may wait, as `submit` is told of them. So much, at most, may also be on its
way to the journal, and so much be held where even the journal takes nothing."""

T = TypeVar("T")


class Waiting(Generic[T]):
    """First in, first out, between threads.

    Args:
        capacity: how many may wait.
        room: bytes that may wait, as those who bring them weigh them. Something heavier is taken
            when nothing else waits.
    """

    def __init__(self, capacity: int, room: int) -> None:
        self._capacity = capacity
        self._room = room
        self._items: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._undone = 0
        self._lock = Condition()
        self._sleepers = 0
        """Threads that wait for something to be there, or to be gone."""
        self._enough = 1
        """How much is worth waking a thread for that has time."""
        self._hurry = False
        """Whether somebody waits for what is in line."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def undone(self) -> bool:
        """Whether something waits, or was taken and is not dealt with yet: see `done`."""
        return self._undone > 0

    def done(self, number: int) -> None:
        """Say that so many of those that were taken are dealt with."""
        with self._lock:
            self._undone -= number

    def put(self, item: T, weight: int = 0, *, timeout: float = 0.0) -> bool:
        """Add `item`, after at most `timeout` seconds; False when there was no room."""
        with self._lock:
            if not self._fits(weight) and timeout > 0:
                self._sleepers += 1
                self._lock.wait_for(lambda: self._fits(weight), timeout)
                self._sleepers -= 1
            if not self._fits(weight):
                return False
            self._add(item, weight)
            return True

    def push(self, item: T) -> None:
        """Add `item`, whether there is room or not: for the few that say where a batch ends. Who
        lingers goes on at once."""
        with self._lock:
            self._hurry = True
            self._add(item, 0)

    def linger(self, number: int, seconds: float) -> None:
        """Return when so many are in line or somebody is in a hurry, or when there is something and
        `seconds` have passed since."""
        with self._lock:
            number = min(number, self._capacity)
            self._sleepers += 1
            self._lock.wait_for(lambda: self._items)
            self._enough = number
            self._lock.wait_for(lambda: len(self._items) >= number or self._hurry, seconds)
            self._sleepers -= 1
            self._enough = 1

    def get(self) -> tuple[T, int]:
        """The first in line and its weight; waits until there is one."""
        with self._lock:
            while not self._items:
                self._sleepers += 1
                self._lock.wait()
                self._sleepers -= 1
            item, weight = self._items.popleft()
            self._weight -= weight
            self._hurry = self._hurry and bool(self._items)
            if self._sleepers:
                self._lock.notify_all()
            return item, weight

    def drain(self) -> list[T]:
        """All that waits."""
        with self._lock:
            items = [item for item, _ in self._items]
            self._items.clear()
            self._weight = 0
            self._undone -= len(items)
            self._lock.notify_all()
            return items

    def _fits(self, weight: int) -> bool:
        return not self._items or (
            len(self._items) < self._capacity and self._weight + weight <= self._room
        )

    def _add(self, item: T, weight: int) -> None:
        self._items.append((item, weight))
        self._weight += weight
        self._undone += 1
        if self._sleepers and (len(self._items) >= self._enough or self._hurry):
            self._lock.notify_all()


class Held:
    """Records in memory, bounded in number and in bytes."""

    def __init__(self, capacity: int, room: int) -> None:
        self._capacity = capacity
        self._room = room
        self._records: deque[tuple[Storable, int]] = deque()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Storable]:
        return (record for record, _ in self._records)

    @property
    def full(self) -> bool:
        return len(self._records) >= self._capacity or self._weight >= self._room

    def take(self, records: Sequence[Storable]) -> int:
        """Keep as many of the first of `records` as there is room for; how many that were."""
        for n, record in enumerate(records):
            if self.full:
                return n
            weight = len(record.to_line())
            self._records.append((record, weight))
            self._weight += weight
        return len(records)

    def first(self, number: int) -> list[Storable]:
        return [*islice(self, number)]

    def drop(self, number: int) -> None:
        """Let go of so many of the first."""
        for _ in range(min(number, len(self._records))):
            self._weight -= self._records.popleft()[1]

    def clear(self) -> None:
        self._records.clear()
        self._weight = 0
