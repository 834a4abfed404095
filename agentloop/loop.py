"""The loop on one page. The only file that knows in which order the rooms are walked.

    capture -> feedback -> harvest -> jobs -> registry -> trials -+
       ^                                                          |
       +------------------- a new live model --------------------+

Rooms never import each other. What one hands to the next passes through here, as records;
what must outlive this process passes through the store.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop import feedback, graders, harvest, jobs, registry, trials
from agentloop.base.errors import ConfigError, GateClosed, ProviderRefused, RecordError
from agentloop.base.records import (
    AliasMove,
    Dataset,
    Difference,
    Job,
    Json,
    Judged,
    Method,
    Plan,
    State,
    Version,
    new_id,
    now,
)
from agentloop.base.store import Lineage
from agentloop.harvest import Advice, Redactor
from agentloop.jobs.handle import TuningJob
from agentloop.rooms import Rooms, id_of
from agentloop.trials import LiveTrial

if TYPE_CHECKING:
    from agents import Agent
    from opentelemetry.trace import TracerProvider

    from agentloop.capture.importers import Imported, Problem
    from agentloop.capture.runner import Result, StreamedResult
    from agentloop.capture.telemetry import Telemetry


class AgentLoop(Rooms):
    """Agents that run, and become better from use. Used with `with`, or closed by `close`; what
    waits to be stored is stored at the latest when Python ends."""

    # ------------------------------------------------------------------ 1. run

    async def run(self, agent: "Agent[Any]", input: Any, **options: Any) -> "Result":
        """`Runner.run`, captured; `result.trace_id` names the trace.

        Takes what `Runner.run` takes, and: `user`, `session` (a name, or a `Session` of the SDK),
        `task_id`, `tags`, `held_out=True` for a run to measure with, `version` to have a certain
        version answer, `capture` (`full`; `metadata`: nothing that was said; `off`: nothing), and
        `consent=False` for a run that is kept for operations and never harvested.
        """
        return await self._runner.run(agent, input, options)

    def run_sync(self, agent: "Agent[Any]", input: Any, **options: Any) -> "Result":
        """`run`, for code that is not asynchronous."""
        return self._runner.run_sync(agent, input, options)

    def run_streamed(self, agent: "Agent[Any]", input: Any, **options: Any) -> "StreamedResult":
        """`Runner.run_streamed`, captured; see `run`."""
        return self._runner.run_streamed(agent, input, options)

    def import_file(
        self, file: Path, *, format: str = "auto", agent: str | None = None
    ) -> "Iterator[Imported | Problem]":
        """Store the traces of a file, and yield each, or why a line is none, as it is read."""
        from agentloop.capture.importers import import_file

        return import_file(file, self.store, format=format, agent=agent)

    def export_file(
        self, file: Path, *, agents: Sequence[str] | None = None, limit: int | None = None
    ) -> int:
        """Write traces, newest first, to a file that `import_file` reads; how many lines it has."""
        from agentloop.capture.importers import export_file

        return export_file(file, self.judged(agents=agents, limit=limit), agents=agents)

    def export_otel(
        self,
        otel: "bool | TracerProvider | Telemetry" = True,
        *,
        agents: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> int:
        """Tell stored traces, newest first, and what they were worth, as OpenTelemetry's spans and
        events under the GenAI conventions; how many they are. Told again they have the same ids.

        Args:
            otel: where to, and whether content too: as in `AgentLoop(otel=…)`, which tells runs as
                they end.

        Raises:
            ConfigError: no provider is given, and the application has set none.
        """
        from agentloop.capture.telemetry import Telemetry, export

        return export(self.judged(agents=agents, limit=limit), Telemetry.of(otel))

    # ------------------------------------------------------------------ 2. rate

    def rate(
        self,
        trace_id: str,
        verdict: str | float,
        *,
        by: str,
        call: str | None = None,
        comment: str | None = None,
    ) -> None:
        """Say what a run (or one `call` of it) was worth: `up`, `down`, or a score in [0, 1]."""
        self._say(feedback.opinion(trace_id, verdict, by=by, call=call, comment=comment))

    def correct(
        self,
        trace_id: str,
        said: str | Mapping[str, Any],
        *,
        by: str,
        call: str | None = None,
        comment: str | None = None,
    ) -> None:
        """Say what the agent should have said: its final answer, or what `call` should have been.

        `said` is a text, or a whole assistant message where the right answer is a tool call.
        """
        call = call or self.judgement(trace_id).answer_call
        if call is None:
            raise RecordError(f"trace {trace_id!r} has no answer that could be corrected")
        self._say(feedback.correction(trace_id, call, said, by=by, comment=comment))

    def outcome(self, trace_id: str, name: str, value: Any, *, reference: Any = None) -> None:
        """Say how a task ended: true, false, a number or a label; today or next month."""
        self._say(feedback.outcome(trace_id, name, value, reference=reference))

    def take_feedback(self, line: str) -> None:
        """Store what a JSON line says: `{"trace": …, "by": …, "thumbs": "up"}` and the like."""
        said = feedback.Line.from_line(line)
        answer = self.judgement(said.trace).answer_call
        told = [*said.said(answer=answer)]
        self.store.put(*told)
        self._tell(*told)

    # ------------------------------------------------------------------ 3. harvest

    def harvest(
        self,
        method: Method | str,
        *,
        agent: str | Sequence[str],
        redact: "bool | str | Json | Redactor" = True,
        **knobs: Any,
    ) -> Dataset:
        """The rows that the traces of an agent (or several) give for `sft`, `dpo`, `rft` or `kto`.

        The same store and arguments give the same dataset; it is written down in the ledger.

        Args:
            redact: personal data and secrets become pseudonyms in the rows, the store keeps them;
                `pii` looks for names and places too; a `Redactor` says what may stay.
            knobs: where, good, bad, limit, … : the fields of `Recipe`, which says what they do.
                `good` and `bad` are by default those of the settings; `against` is the file of a
                test set; `tokenizer` a model of OpenAI's, a folder with a tokenizer, or a function
                of a row's body. `where` may be a function of a `Judged` too; of that the recipe
                keeps the name alone.

        Raises:
            ConfigError: there is no such knob, or not for this method.
            EmptyHarvest: there is no row; the message says why most were refused.
        """
        with self._harvested(method, agent, redact, knobs) as made:
            return made.dataset()

    def harvest_to(
        self,
        folder: Path,
        method: Method | str,
        *,
        agent: str | Sequence[str],
        redact: "bool | str | Json | Redactor" = True,
        **knobs: Any,
    ) -> Json:
        """`harvest` into the five files of a folder, and what their manifest says. Memory does not
        grow with the rows."""
        with self._harvested(method, agent, redact, knobs) as made:
            harvest.write(made, folder)
            return made.manifest

    def harvest_again(
        self,
        dataset: str,
        *,
        folder: Path | None = None,
        against: Any = None,
        tokenizer: Any = None,
    ) -> Difference:
        """The next version of a dataset, by the same recipe from the store as it is today, and what
        has changed: `a` is the dataset that was, `b` the new one, whose `parent` it is.

        Args:
            folder: where the five files of the new one are to be written.
            against, tokenizer: the test set, and the tokenizer of a folder or a function: of these
                the recipe knows hash and name alone.

        Raises:
            ConfigError: the recipe has one of these, and it is not given.
            RecordError: nothing has changed; the dataset stays as it is, and loses its marks.
            EmptyHarvest: there is no row any more.
        """
        was = self.ledger.manifest(dataset)
        knobs = dict(was["recipe"])
        redact = knobs.pop("redact", True)
        knobs |= {"against": against} if against is not None else {}
        knobs |= {"tokenizer": tokenizer} if tokenizer is not None else {}
        with self._harvested(was["method"], was["agents"], redact, knobs, dataset) as made:
            new: str = made.manifest["dataset"]
            if new == dataset:
                raise RecordError(f"nothing has changed: {dataset} is what a harvest gives today")
            if folder is not None:
                harvest.write(made, folder)
        return self.difference(dataset, new)

    def advise(self, agent: str | Sequence[str]) -> Advice:
        """What to do next about an agent: prompt first, few-shot, SFT, DPO, RFT, or not yet; why,
        and what is missing for the others."""
        agents = self._agents(agent)
        newest_first = self.store.all_judged(agents=agents, held_out=False, newest_first=True)
        return harvest.advise(
            harvest.evidence(
                feedback.settle(newest_first),
                agents=agents,
                forks=self._branches(self.store.forks(agents=agents)),
                contexts=self._branches(self.store.contexts(agents=agents)),
                held_out=self._judged(agents, held_out=True),
                good=self.settings.good,
                bad=self.settings.bad,
            )
        )

    def calibrate(self, grader: Json, *, agent: str, **said: Any) -> graders.Calibration:
        """How far a grader agrees with people on an agent's answers; see `graders.calibrate`."""
        limit, agents = said.pop("limit", 500), self._agents(agent)
        judged = feedback.settle(self.store.all_judged(agents=agents, newest_first=True))
        rated = islice(harvest.answers(judged, agents=agents), limit)
        with graders.compile(grader) as compiled:
            return graders.calibrate(compiled, rated, **{"good": self.settings.good, **said})

    # ------------------------------------------------------------------ 4. tune

    def plan(
        self,
        dataset: Dataset | str,
        *,
        provider: str,
        base: str | Version,
        hyperparameters: Mapping[str, Any] | None = None,
        grader: Json | None = None,
        suffix: str | None = None,
        seed: int | None = None,
    ) -> Plan:
        """What training `base` on a dataset would do and cost, and what the provider would refuse.

        `base` is a model name, or a version to train on. Nothing is uploaded.
        """
        if isinstance(dataset, str):
            dataset = self.ledger.dataset(dataset)
        return jobs.plan(
            dataset,
            self.provider(provider),
            base=base.model if isinstance(base, Version) else base,
            hyperparameters=hyperparameters,
            grader=grader,
            suffix=suffix,
            seed=seed,
        )

    def tune(self, plan: Plan, *, confirm: bool = False) -> TuningJob:
        """Start the job of a plan. It is in the ledger before it is at the provider.

        A job of this plan that did not get there, or is not known to have, is taken up again: who
        tries again after a failure gets one job, and one bill.

        Raises:
            ProviderRefused: the plan has refusals, or the provider says no.
            ConfigError: the job would cost money and `confirm` is not given.
        """
        at = self.provider(plan.provider)
        if plan.refusals:
            raise ProviderRefused("; ".join(plan.refusals), provider=at.name)
        if at.capability.bills and not confirm:
            cost = f"about ${plan.usd:.2f}" if plan.usd is not None else "an unknown sum"
            raise ConfigError(f"this job costs {cost} at {at.name}; confirm it to go on")
        waiting = (
            job
            for job in self.ledger.jobs()
            if job.state is State.SUBMITTING and (job.plan, job.base_url) == (plan, at.base_url)
        )
        job = next(waiting, None) or Job(
            id=new_id("job"), plan=plan, created_at=now(), base_url=at.base_url
        )
        self.ledger.put_job(job)
        return TuningJob(job, at, self.ledger).submit(self.ledger.dataset(plan.dataset))

    def job(self, id: str) -> TuningJob:
        """A job that was started before, by our id or the provider's."""
        job = self.ledger.job(id)
        return TuningJob(job, self.provider(job.plan.provider, job.base_url), self.ledger)

    # ------------------------------------------------------------------ 5. release

    def register(self, job: TuningJob | str) -> Version:
        """The version that a finished job made."""
        handle = self.job(job) if isinstance(job, str) else job
        record = handle.refresh().record
        at = self.provider(record.plan.provider, record.base_url)
        parents = [v.id for v in self.ledger.versions() if v.model == record.plan.base_model]
        parent = parents[-1] if parents else None
        version = registry.of_job(record, base_url=at.base_url, api=at.api, parent=parent)
        self.ledger.put_version(version)
        return self.ledger.version(version.id)

    def adopt(self, model: str, *, provider: str) -> Version:
        """A version of a model that was not tuned here."""
        at = self.provider(provider)
        version = registry.of_model(model, provider=at.name, base_url=at.base_url, api=at.api)
        self.ledger.put_version(version)
        return version

    def gate(
        self,
        version: Version | str,
        *,
        agent: str,
        improves: str = "score",
        keeps: Mapping[str, float] | None = None,
        baseline: Version | str | None = None,
        **options: Any,
    ) -> registry.Gate:
        """May a version go live for an agent? Yes, or every reason why not.

        Compares its held-out runs with those of `baseline` (by default what is live now) on the
        same tasks; see `registry.gate`.
        """
        candidate = id_of(version)
        self.ledger.version(candidate)
        against = id_of(baseline) if baseline else registry.live(self.ledger.moves(agent))
        runs: dict[str | None, list[Judged]] = {}
        for one in self._judged([agent], held_out=True, versions={candidate, against}):
            runs.setdefault(one.trace.version, []).append(one)
        return registry.gate(
            candidate,
            against,
            runs.get(candidate, []),
            runs.get(against, []),
            improves=improves,
            keeps=keeps,
            good=self.settings.good,
            **options,
        )

    def swap(
        self, agent: str, version: Version | str | None, *, gate: registry.Gate | None = None
    ) -> AliasMove:
        """Make a version live for an agent; None: the agent's own model.

        Running processes follow within seconds; runs that have begun end as they began.

        Raises:
            GateClosed: a gate was given, and it is closed.
        """
        if gate is not None and not gate.open:
            raise GateClosed(f"{gate.version} may not go live: {'; '.join(gate.reasons)}")
        if version is not None:
            version = self.ledger.version(id_of(version)).id
        return self._move(registry.swap(agent, version))

    def rollback(self, agent: str) -> AliasMove:
        """Make live again what was live before."""
        return self._move(registry.rollback(agent, self.ledger.moves(agent)))

    def lineage(self, version: Version | str) -> Lineage:
        """What a version was made from: job, dataset, traces."""
        return self.ledger.lineage(id_of(version))

    # ------------------------------------------------------------------ 6. compare

    def trial(
        self,
        agent: str | Sequence[str],
        *,
        candidate: Version | str,
        control: Version | str | None = None,
        share: float = 0.1,
        metric: str = "score",
    ) -> LiveTrial:
        """Have a candidate serve a share of all users, beside what is live now.

        Args:
            agent: whose model the arm decides; of several, the one that runs begin with first.
            control: what it is compared with; by default what is live, `own` for the agents' own
                model.
            share: of the users (sessions, runs) that the candidate serves, in (0, 1).
            metric: the outcome that decides, or `score`.
        """
        agents = (agent,) if isinstance(agent, str) else tuple(agent)
        trial = trials.begin(
            agents,
            candidate=self.ledger.version(id_of(candidate)).id,
            control=self._control(agents[0], control),
            share=share,
            metric=metric,
            running=self.ledger.trials(running=True),
        )
        self.ledger.put_trial(trial)
        self._live.forget()
        return self.trial_of(trial.id)

    def trial_of(self, id: str) -> LiveTrial:
        """A trial that was started before."""

        def runs() -> Iterator[Judged]:
            self.flush()
            return feedback.settle(self.store.all_judged(trial=id))

        return LiveTrial(self.ledger.trial(id), self.ledger, runs, self.settings.good)

    def _control(self, agent: str, control: Version | str | None) -> str | None:
        if control is None:
            return registry.live(self.ledger.moves(agent))
        return None if control == "own" else self.ledger.version(id_of(control)).id


def instrument(database_url: str | None = None, **said: Any) -> AgentLoop:
    """Capture plain `Runner.run`, `run_sync` and `run_streamed` of this process in a store, and
    the loop that has it; see `AgentLoop.instrument`. Called again it gives the same loop."""
    there = AgentLoop._instrumented
    if not isinstance(there, AgentLoop):
        there = AgentLoop(database_url)
    elif database_url not in (None, there.database_url):
        raise ConfigError(f"plain runs go to {there.store.name} already; `uninstrument` that first")
    return there.instrument(**said)
