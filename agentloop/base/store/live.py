"""What is live: aliases and running trials, as a process knows them from second to second."""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import NamedTuple, Self

from agentloop.base.errors import StoreError
from agentloop.base.records import Trial, Version
from agentloop.base.store.ledger import Ledger

log = logging.getLogger("agentloop.store")

NEWS_SECONDS = 1.0
"""How long a process goes on with what it knows before it looks again."""


class Serving(NamedTuple):
    """Who answers in a run, and because of which trial."""

    resolve: Callable[[str], Version | None]
    """Agent -> the version that serves it; None: the agent's own model."""
    trial: str | None = None
    arm: str | None = None


class Live:
    """Aliases and running trials, looked up anew every `NEWS_SECONDS`: a swap in one process is
    followed by all others without a restart. While the database cannot be asked, what was known
    last goes on: no run waits or fails for it.

    Args:
        clock: tells seconds that never go back.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._until = -inf
        self._versions: dict[str, Version] = {}
        self.aliases: Mapping[str, str | None] = {}
        """Agent -> version id, None for the agent's own model."""
        self.trials: Sequence[Trial] = ()

    def now(self) -> Self:
        """This object, not older than `NEWS_SECONDS`."""
        if self._clock() >= self._until:
            try:
                self._look()
            except StoreError as error:
                log.warning("which versions are live is not known anew: %s", error)
            self._until = self._clock() + NEWS_SECONDS
        return self

    def forget(self) -> None:
        """Look again at once: this process has just changed something."""
        self._until = -inf

    def version(self, id: str) -> Version:
        """The version of that id, or `NotFound`. Versions never change, so each is read once."""
        if id not in self._versions:
            self._versions[id] = self._ledger.version(id)
        return self._versions[id]

    def _look(self) -> None:
        aliases, trials = self._ledger.aliases(), self._ledger.trials(running=True)
        named = {*aliases.values(), *(id for t in trials for id in (t.candidate, t.control))}
        for id in named - {None}:
            self.version(str(id))  # read here, so that no run has to
        self.aliases, self.trials = aliases, trials
