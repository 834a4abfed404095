"""Parcels: what happens in runs is handed to the writer together, and not one by one."""

import os
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Protocol
from weakref import WeakSet

from agentloop.base.store import WEIGHT, Storable, Work, made

ROOM = 64_000
"""Bytes of a parcel, as those who bring what is in it weigh it. It takes up so much of what may
wait from its first piece on; a piece that is heavier has one of its own."""


class Sink(Protocol):
    """What takes what is to be stored: a `Writer`."""

    def submit(self, work: Work, weight: int = WEIGHT) -> bool: ...


class Parcel:
    """Work that waits in the writer's line together. It is filled until it is full or the writer
    gets to it."""

    __slots__ = ("_close", "room", "work")

    def __init__(self, first: Work, room: int, close: "Callable[[Parcel], None]") -> None:
        self.work = [first]
        self._close = close
        self.room = room

    def __len__(self) -> int:
        return len(self.work)

    def __call__(self) -> Iterator[Storable]:
        self._close(self)
        for piece in self.work:
            yield from made(piece)


class Parcels:
    """Fills one parcel after the other. Handing something over costs the caller a lock that nobody
    holds for long, and only the first piece of a parcel wakes the writer. Nothing waits longer for
    it: a parcel is in line from its first piece on."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        self._parcel: Parcel | None = None
        self._lock = Lock()
        """Held while a piece is added, or the writer closes a parcel."""
        self._turn = Lock()
        """Held while a new parcel is brought: in line they stand in the order they are filled."""

    def add(self, piece: Work, weight: int = WEIGHT) -> None:
        """Have `piece` stored soon, after what this thread added before."""
        with self._lock:
            parcel = self._parcel
            if parcel is not None and parcel.room >= weight:
                parcel.work.append(piece)
                parcel.room -= weight
                return
        with self._turn:
            self._bring(piece, weight)

    def _bring(self, piece: Work, weight: int) -> None:
        with self._lock:  # somebody may have been faster
            parcel = self._parcel
            if parcel is not None and parcel.room >= weight:
                parcel.work.append(piece)
                parcel.room -= weight
                return
            # Unfilled until it is in line: what is lost with it is known to be one piece.
            parcel = Parcel(piece, 0, self._closed)
            self._parcel = parcel
        kept = self._sink.submit(parcel, max(weight, ROOM))
        with self._lock:
            if self._parcel is parcel:
                self._parcel = parcel if kept else None
                parcel.room = ROOM - weight

    def _closed(self, parcel: Parcel) -> None:
        """The writer has got to it: what comes now is for the next."""
        with self._lock:
            if self._parcel is parcel:
                self._parcel = None


_open: WeakSet[Parcels] = WeakSet()


def _after_fork() -> None:
    """A fork takes no writer along: what is being filled is its parent's to store."""
    for parcels in list(_open):
        parcels._begin()


os.register_at_fork(after_in_child=_after_fork)
