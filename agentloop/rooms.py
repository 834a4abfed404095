"""The rooms as one process has them: opened when they are first entered, closed together.

Here is how they are wired; `loop.py` says in which order they are walked.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from weakref import finalize

from agentloop import feedback, harvest, jobs, trials
from agentloop.base.errors import NotFound
from agentloop.base.records import AliasMove, Judged, Version
from agentloop.base.records.message import digest
from agentloop.base.settings import Settings
from agentloop.base.store import Fork, Live, Serving, Store, Writer, recover
from agentloop.harvest import Branch, Condition
from agentloop.trials import Versions

if TYPE_CHECKING:
    from agentloop.capture import CapturingRunner, Recorder


class Rooms:
    """Store, writer, recorder, runner, providers: what `AgentLoop` walks through.

    Args:
        database_url: where traces are kept; by default `AGENTLOOP_DATABASE_URL`, else
            `sqlite:///traces/loop.db`.
        settings: read from environment and `agentloop.toml` when absent.
        create: make a store that is not there yet; otherwise it is an error.
        durable: whether `run` returns only when its trace is on disk.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        settings: Settings | None = None,
        create: bool = True,
        durable: bool = False,
    ) -> None:
        self.settings = settings or Settings.read()
        self.store = Store(database_url or self.settings.database_url, create=create)
        self.ledger = self.store.ledger
        self._durable = durable
        self._live = Live(self.ledger)
        # Each store has a folder of its own: what it refused belongs to no other.
        folder = f"spill-{digest(self.store.place.encode())[:12]}"
        self._spill = self.settings.spill_dir.absolute() / folder
        if self._spill.is_dir():
            recover(self.store, self._spill)
        self._closing: Any = finalize(self, self.store.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Store what waits, and give everything back."""
        if "_writer" in vars(self):
            self._writer.close()
        self._closing()

    def flush(self) -> None:
        """Return when everything that happened so far is stored."""
        if "_writer" in vars(self):
            self._writer.flush()

    def judged(
        self, *, agents: Sequence[str] | None = None, limit: int | None = None
    ) -> Iterator[Judged]:
        """The latest traces with what they settled at, newest first.

        Raises:
            NotFound: none of them has a call of one of `agents`.
        """
        self.flush()
        if agents is not None:
            agents = self._agents(agents)
        found = self.store.all_judged(agents=agents, newest_first=True, limit=limit)
        return feedback.settle(found)

    def judgement(self, trace_id: str) -> Judged:
        """One trace with what it settled at, or `NotFound`."""
        self.flush()
        return next(feedback.settle([self.store.judged(trace_id)]))

    @cached_property
    def _writer(self) -> Writer:
        writer = Writer(self.store, spill=self._spill)
        self._closing.detach()
        self._closing = _finally(self, writer, self.store)
        return writer

    @cached_property
    def _recorder(self) -> "Recorder":
        from agentloop.capture import Recorder

        return Recorder(self._writer)

    @cached_property
    def _runner(self) -> "CapturingRunner":
        from agentloop.capture import CapturingRunner

        return CapturingRunner(self._recorder, self._serve)

    def _serve(self, agent: str, *, unit: str, versions: Versions, held_out: bool) -> Serving:
        live = self._live.now()
        return trials.serve(live, agent, unit=unit, versions=versions, held_out=held_out)

    def _say(self, said: Any) -> None:
        """Store feedback: after its trace when that is still on its way, else at once."""
        if "_recorder" in vars(self) and self._recorder.may_be_on_its_way(said.trace_id):
            self._writer.submit(said)
        else:
            self.store.judged(said.trace_id)
            self.store.put(said)

    def _agents(self, agent: str | Sequence[str]) -> tuple[str, ...]:
        self.flush()
        wanted = tuple(agent.split(",")) if isinstance(agent, str) else tuple(agent)
        known = self.store.names().agents
        for name in wanted:
            if name not in known:
                there = ", ".join(known) or "none has run yet"
                raise NotFound(f"no agent {name!r} in {self.store.name}; known: {there}")
        return wanted

    def _judged(self, agents: Sequence[str], *, held_out: bool) -> Iterator[Judged]:
        self.flush()
        return feedback.settle(self.store.all_judged(agents=agents, held_out=held_out))

    def _branches(
        self, forks: Iterable[Fork], where: Condition | None = None
    ) -> Iterator[list[Branch]]:
        for fork in forks:
            settled = feedback.settle(judged for _, judged in fork.branches)
            ids = [call for call, _ in fork.branches]
            if made := harvest.branches(zip(ids, settled, strict=True), where):
                yield made

    def _move(self, move: AliasMove) -> AliasMove:
        self.ledger.move(move)
        self._live.forget()
        return move

    def provider(self, name: str, base_url: str | None = None) -> jobs.Provider:
        """The provider of that name."""
        if name == "local":
            base_url = base_url or self.settings.local_url
        return jobs.provider(name, **({"base_url": base_url} if base_url else {}))


def id_of(version: Version | str) -> str:
    """The id of a version that was given as such, or by its id."""
    return version.id if isinstance(version, Version) else version


def _finally(loop: Rooms, writer: Writer, store: Store) -> Any:
    """Calls, at the latest when Python ends, what stores everything that waits."""

    def close() -> None:
        writer.close()
        store.close()

    return finalize(loop, close)
