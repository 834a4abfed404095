"""What this process knows to be stored: each call brings its whole context, and most of it is."""

from itertools import islice
from threading import Lock

from agentloop.base.store import changes
from agentloop.base.store.batch import Batch
from agentloop.base.store.database import Database
from agentloop.base.store.tree import Paths

REMEMBERED = 100_000
"""Nodes that are known to be stored, at most: 15 MB."""


class Memory:
    """Nodes, tool sets and conversations that need not be sent again. It holds for one era: what
    has been erased since is no longer there. Safe to use from several threads at once."""

    def __init__(self) -> None:
        self.known: dict[str, None] = {}
        self.paths = Paths()
        self.era: int | None = None
        self._lock = Lock()  # guards all three: the writer's thread and callers store at once

    def batch(self, database: Database, after: Batch | None = None) -> Batch:
        """A batch that leaves out what is known."""
        if self.era is None:
            self.forget(database)
        era = self.era  # first: what is forgotten after this makes the batch one of an earlier era
        return Batch(self.known, self.paths, after, era)

    def forget(self, database: Database) -> None:
        """Begin anew, in the era that it is now."""
        with database.read() as connection:
            era = changes.era(connection)
        with self._lock:
            self.era = era
            self.known.clear()
            self.paths.forget()

    def take(self, batch: Batch, era: int) -> None:
        """A batch was stored in that era."""
        with self._lock:
            if era != self.era:  # some of it may have been erased meanwhile
                return
            self.paths.stored(batch.paths)
            self.known |= dict.fromkeys(batch.named)
            for node in list(islice(self.known, max(0, len(self.known) - REMEMBERED))):
                del self.known[node]

    def after_fork(self) -> None:
        """A thread that is not here may have held the lock."""
        self._lock = Lock()
