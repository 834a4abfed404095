"""The rooms as one process has them: opened when they are first entered, closed together.

Here is how they are wired; `loop.py` says in which order they are walked.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self
from weakref import finalize

from agentloop import feedback, harvest, jobs, trials
from agentloop.base.errors import NotFound
from agentloop.base.records import (
    AliasMove,
    Call,
    Difference,
    Erasure,
    Example,
    Json,
    Judged,
    Method,
    Opinion,
    Recipe,
    Refused,
    Version,
)
from agentloop.base.records.message import digest
from agentloop.base.settings import Settings
from agentloop.base.store import (
    Fork,
    InLedger,
    Live,
    Serving,
    Spans,
    Store,
    Stored,
    Writer,
    compare,
    recover,
)
from agentloop.harvest import Branch, Cleaning, Condition, Folder, Harvest, Redactor
from agentloop.trials import Versions

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from agentloop.capture import Capture, CapturingRunner, Recorder
    from agentloop.capture.telemetry import LiveExport, Telemetry


class Rooms:
    """Store, writer, recorder, runner, providers: what `AgentLoop` walks through.

    Args:
        database_url: where traces are kept; by default `AGENTLOOP_DATABASE_URL`, else
            `sqlite:///traces/loop.db`.
        settings: read from environment and `agentloop.toml` when absent.
        create: make a store that is not there yet; otherwise it is an error.
        durable: whether a run returns, and a stream ends, only when its trace is on disk:
            in the store or, when that takes nothing, in its journal.
        otel: have each run told, when it has ended, as OpenTelemetry's spans, and feedback and
            outcomes as events: True for the providers that the application has set for itself,
            another `TracerProvider`, or a `Telemetry`, which can ask for content too. A run inside
            a span of the application is part of it. `close` tells what waits: call it before the
            provider is shut down.
    """

    _instrumented: ClassVar["Rooms | None"] = None
    """The one, of all in this process, that plain runs go to."""

    def __init__(
        self,
        database_url: str | None = None,
        *,
        settings: Settings | None = None,
        create: bool = True,
        durable: bool = False,
        otel: "bool | TracerProvider | Telemetry" = False,
    ) -> None:
        self._telling = _told_to(otel)
        self.settings = settings or Settings.read()
        self.database_url = database_url or self.settings.database_url
        self.store = Store(self.database_url, create=create)
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
        self.uninstrument()
        self._live.close()
        if "_writer" in vars(self):
            self._writer.close()
        if self._telling is not None:
            self._telling.close()
        self._closing()

    def instrument(self, *, capture: "Capture | None" = None, consent: bool | None = None) -> Self:
        """Capture, from now on, what the SDK's own `Runner` runs in this process: runs of code
        that never heard of us. Once, however often it is called; `uninstrument` undoes it.

        Agents and run configurations stay as they are, other trace processors see what they saw
        before, and `trace_id` and `call_id` are on each result. A `group_id` is the session.

        Args:
            capture, consent: what `run` would be told, for all of them; None: as before, at first
                `full` and True.

        Raises:
            ConfigError: another store captures them already.
        """
        from agentloop.capture import instrument

        instrument(self._runner, capture=capture, consent=consent)
        Rooms._instrumented = self
        return self

    def uninstrument(self) -> None:
        """Leave plain runs alone again."""
        if "_runner" in vars(self):
            from agentloop.capture import undo

            undo(self._runner)
            if Rooms._instrumented is self:
                Rooms._instrumented = None

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
        self._closing = _finally(self, writer, self._telling, self.store)
        return writer

    @cached_property
    def _recorder(self) -> "Recorder":
        from agentloop.capture import Recorder

        overhear = self._telling.overheard if self._telling else None
        return Recorder(self._writer, self.store, overhear)

    @cached_property
    def _runner(self) -> "CapturingRunner":
        from agentloop.capture import CapturingRunner

        settle = self._writer.settle if self._durable else None
        return CapturingRunner(self._recorder, self._serve, settle)

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
        self._tell(said)

    def _tell(self, *said: Any) -> None:
        """Tell OpenTelemetry of feedback, where runs are told to it."""
        if self._telling is not None:
            for one in said:
                self._telling.said(one)

    def _agents(self, agent: str | Sequence[str]) -> tuple[str, ...]:
        self.flush()
        wanted = tuple(agent.split(",")) if isinstance(agent, str) else tuple(agent)
        known = self.store.names().agents
        for name in wanted:
            if name not in known:
                there = ", ".join(known) or "none has run yet"
                raise NotFound(f"no agent {name!r} in {self.store.name}; known: {there}")
        return wanted

    def _judged(
        self,
        agents: Sequence[str],
        *,
        held_out: bool,
        versions: Collection[str | None] | None = None,
        spans: Spans = False,
    ) -> Iterator[Judged]:
        self.flush()
        found = self.store.all_judged(
            agents=agents, held_out=held_out, versions=versions, spans=spans
        )
        return feedback.settle(found)

    def _branches(
        self, forks: Iterable[Fork], where: Condition | None = None
    ) -> Iterator[list[Branch]]:
        for fork in forks:
            settled = feedback.settle(judged for _, judged in fork.branches)
            ids = [call for call, _ in fork.branches]
            if made := harvest.branches(zip(ids, settled, strict=True), where):
                yield made

    def recipe(
        self,
        method: Method | str,
        *,
        agent: str | Sequence[str],
        redact: "bool | str | Json | Redactor" = True,
        **knobs: Any,
    ) -> Recipe:
        """The recipe of a harvest, as `harvest` takes its arguments and raises its errors."""
        return self._recipe(method, agent, Cleaning.asked(redact, knobs), knobs)

    def _recipe(
        self,
        method: Method | str,
        agent: str | Sequence[str],
        cleaning: Cleaning,
        knobs: Mapping[str, Any],
    ) -> Recipe:
        said = cleaning.recipe
        if callable(chosen := knobs.get("where")):
            said["where"] = harvest.named(chosen)
        return Recipe.asked(
            method,
            self._agents(agent),
            {**knobs, **said},
            good=self.settings.good,
            bad=self.settings.bad,
        )

    def _harvested(
        self,
        method: Method | str,
        agent: str | Sequence[str],
        redact: "bool | str | Json | Redactor",
        knobs: Mapping[str, Any],
        parent: str | None = None,
    ) -> Harvest:
        """A harvest, written down in the ledger; who asked for it closes it."""
        cleaning = Cleaning.asked(redact, knobs)
        recipe = self._recipe(method, agent, cleaning, knobs)
        as_of = self.ledger.point()
        found = self._found(recipe, chosen if callable(chosen := knobs.get("where")) else None)
        made = harvest.gather(
            harvest.drafted(found, recipe, cleaning),
            recipe,
            traces_read=self.store.count(),
            parent=parent,
        )
        try:
            self.ledger.put_rows(made.manifest, made.rows(), made.refused(), as_of=as_of)
        except BaseException:
            made.close()
            raise
        return made

    def _found(
        self, recipe: Recipe, chosen: Condition | None = None
    ) -> Iterable[Example | Refused]:
        """What the store holds that a recipe asks for, or a function of Python's."""
        agents = recipe.agents
        if chosen is None and recipe.where:
            chosen = harvest.where(recipe.where, outcomes=self.store.names().outcomes)
        contexts: Iterator[list[Branch]] = iter(())
        if recipe.method is Method.DPO:
            contexts = self._branches(self.store.forks(agents=agents), chosen)
        elif recipe.method is Method.KTO:
            contexts = self._branches(self.store.answered(agents=agents), chosen)
        elif recipe.method is Method.RFT:
            contexts = self._branches(self.store.contexts(agents=agents))
        spans = harvest.spans_for(recipe.method)
        judged = self._judged(agents, held_out=False, spans=spans)
        return harvest.found(recipe, judged=judged, contexts=contexts, where=chosen)

    def difference(self, a: str | Path, b: str | Path) -> Difference:
        """What lies between two datasets: ids, or folders that a harvest wrote.

        Raises:
            NotFound: there is no such dataset.
            RecordError: a folder is no harvest.
        """
        one, other = (
            Folder(Path(name)) if Path(name).is_dir() else InLedger(self.ledger, str(name))
            for name in (a, b)
        )
        return compare(one, other)

    def origin(self, dataset: str, row: str) -> "Origin":
        """Where a row came from: its traces, calls and opinions, as they are now.

        Args:
            row: a line of `train.jsonl` (`12`), of a file (`valid:3`), or the first digits of the
                hash of its line.

        Raises:
            NotFound: there is no such dataset, or no such row.
        """
        self.flush()
        stored = self.ledger.find_row(dataset, row)
        ids = stored.row.traces if stored.row else ()
        judged = tuple(feedback.settle(self.store.some_judged(ids)))
        calls = {call.id: call for one in judged for call in one.trace.calls}
        said = {opinion.id: opinion for one in judged for opinion in one.opinions}
        named_calls, named = (stored.row.calls, stored.row.opinions) if stored.row else ((), ())
        return Origin(
            dataset=dataset,
            stored=stored,
            judged=judged,
            calls=tuple(calls[id] for id in named_calls if id in calls),
            opinions=tuple(said[id] for id in named if id in said),
            versions=self.ledger.learners().get(dataset, ()),
        )

    def erase(self, *, user: str, confirm: bool = True) -> Erasure:
        """Erase a user: all of their runs, and what they wrote about the runs of others.

        Rows that were made from these lose what they said, in every dataset; such a dataset is no
        longer trained on, and `harvest_again` makes its next version. Scores that the user gave to
        runs of others stay, under a pseudonym. `left` names what an erasure cannot reach.

        Args:
            confirm: False to be told what would go, and change nothing.

        Raises:
            NotFound: nothing here is that user's.
        """
        self.flush()
        done = self.store.erase(user, confirm=confirm)
        if waiting := sorted(self._spill.glob("spill-*.journal")):
            files = ", ".join(str(file) for file in waiting)
            told = f"records that wait to be stored ({files}): erase again when they are"
            done = done.model_copy(update={"left": (*done.left, told)})
        return done

    def _move(self, move: AliasMove) -> AliasMove:
        self.ledger.move(move)
        self._live.forget()
        return move

    def provider(self, name: str, base_url: str | None = None) -> jobs.Provider:
        """The provider of that name."""
        if name == "local":
            base_url = base_url or self.settings.local_url
        return jobs.provider(name, **({"base_url": base_url} if base_url else {}))


class Origin(NamedTuple):
    """A row of a dataset, and where it came from. What is no longer stored is left out."""

    dataset: str
    stored: Stored
    judged: tuple[Judged, ...]
    """The traces that it was made from, with all that was said of them."""
    calls: tuple[Call, ...]
    """The calls whose outputs it teaches, or compares."""
    opinions: tuple[Opinion, ...]
    """The opinions that it rests on."""
    versions: tuple[str, ...]
    """The versions that learned from it."""


def id_of(version: Version | str) -> str:
    """The id of a version that was given as such, or by its id."""
    return version.id if isinstance(version, Version) else version


def _told_to(otel: "bool | TracerProvider | Telemetry") -> "LiveExport | None":
    """What tells runs to OpenTelemetry; None where nobody asked for it."""
    if otel is False:
        return None
    from agentloop.capture.telemetry import LiveExport, Telemetry

    return LiveExport(Telemetry.of(otel))


def _finally(loop: Rooms, writer: Writer, telling: "LiveExport | None", store: Store) -> Any:
    """Calls, at the latest when Python ends, what stores (and tells) everything that waits."""

    def close() -> None:
        writer.close()
        if telling is not None:
            telling.close()
        store.close()

    return finalize(loop, close)
