"""What is live: aliases and running trials, as a process knows them from second to second."""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf
from threading import Thread
from time import monotonic
from typing import NamedTuple, Self

from agentloop.base.records import Trial, Version
from agentloop.base.store.ledger import Ledger

log = logging.getLogger("agentloop.store")

NEWS_SECONDS = 1.0
"""How long a process goes on with what it knows before it looks again."""


PATIENCE = 0.25
"""Seconds that a run waits for a database that does not answer, at most; not again before it has
answered in that time."""

KNOWN = 1_000
"""Versions that a process remembers, at most."""


class Serving(NamedTuple):
    """Who answers in a run, and because of which trial."""

    resolve: Callable[[str], Version | None]
    """Agent -> the version that serves it; None: the agent's own model."""
    trial: str | None = None
    arm: str | None = None


class Live:
    """Aliases and running trials, looked up anew every `NEWS_SECONDS`: a swap in one process is
    followed by all others without a restart. While the database cannot be asked, what was known
    last goes on: no run fails for it, and one run waits `PATIENCE` for a database that does not
    answer, the others not at all.

    Args:
        clock: tells seconds that never go back.
        patience: see `PATIENCE`.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._patience = patience
        self._until = -inf
        self._looking: Thread | None = None
        self._round = 0
        """Looks so far: of two at once, the later knows better."""
        self._told = False
        """Whether it was said that the database cannot be asked."""
        self._slow = False
        """Whether the last look took longer than anybody waits."""
        self._versions: dict[str, Version] = {}
        self.aliases: Mapping[str, str | None] = {}
        """Agent -> version id, None for the agent's own model."""
        self.trials: Sequence[Trial] = ()

    def now(self) -> Self:
        """This object, not older than `NEWS_SECONDS` while the database answers in time."""
        if self._clock() >= self._until:
            if self._looking is None or not self._looking.is_alive():
                self._round += 1
                look = Thread(
                    target=self._look, args=[self._round], name="agentloop-live", daemon=True
                )
                self._looking = look
                look.start()
                if not self._slow:
                    look.join(self._patience)
                    self._slow = look.is_alive()
            self._until = self._clock() + NEWS_SECONDS
        return self

    def forget(self) -> None:
        """Look again at once: this process has just changed something."""
        self._until = -inf
        self._looking = None

    def close(self) -> None:
        """Let a look that goes on come to its end, if it does within `PATIENCE`."""
        if self._looking is not None:
            self._looking.join(self._patience)

    def version(self, id: str) -> Version:
        """The version of that id, or `NotFound`. Versions never change, so each is read once."""
        found = self._versions.pop(id, None) or self._ledger.version(id)
        self._versions[id] = found  # last, as the one that was asked for last
        if len(self._versions) > KNOWN:
            self._versions.pop(next(iter(self._versions)), None)
        return found

    def _look(self, round: int) -> None:
        """Ask the database, however long that takes: in a thread of its own."""
        began = monotonic()
        try:
            aliases, trials = self._ledger.aliases(), self._ledger.trials(running=True)
            named = {*aliases.values(), *(id for t in trials for id in (t.candidate, t.control))}
            for id in named - {None}:
                self.version(str(id))  # read here, so that no run has to
        except Exception as error:  # noqa: BLE001 - whatever it is, no run fails for it
            if not self._told:
                log.warning(
                    "which versions are live is not known anew, what was known goes on: %s", error
                )
            self._told = True
        else:
            self._told = False
            if round == self._round:
                self.aliases, self.trials = aliases, trials
        self._slow = monotonic() - began >= self._patience
