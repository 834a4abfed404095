"""The demo's story: the loop, turned three times, once for each method.

    traffic on the base -> SFT -> traffic on its result -> DPO -> RFT -> a trial against the base

Each step says what it does before it does it, and what came of it, well or not.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from agents import Agent, OpenAIProvider
from openai import AsyncOpenAI

from agentloop.base.errors import AgentloopError
from agentloop.base.records import Dataset, Interval, Tally, Version
from agentloop.jobs.handle import TuningJob
from agentloop.loop import AgentLoop
from agentloop.registry import Gate
from agentloop.ui.demo import agents, traffic
from agentloop.ui.demo.requests import SEASONS, Request, requests
from agentloop.ui.demo.shop import Shop

CREW = ("support", "billing")
"""The two agents, which one model serves."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. All seeds are fixed."""

    first: int = 300
    """Requests that the base answers, each twice."""
    second: int = 150
    """Requests that the SFT version answers, each `again` times."""
    again: int = 3
    third: int = 300
    """Requests that the DPO version answers."""
    held_out: int = 250
    """Requests in words that nobody learned from, which every version is measured on."""
    season: int = 250
    """New requests in the words of the last season, which RFT is measured on besides."""
    trial: int = 200
    """New requests of the trial."""
    corrections: int = 12
    """Answers that customers word anew after the first traffic."""
    put_right: int = 90
    """Failed conversations in which the shop's staff say which call would have been right."""
    rows: Mapping[str, int] = field(default_factory=lambda: {"sft": 300, "dpo": 250, "rft": 400})
    hyperparameters: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"sft": {}, "dpo": {}, "rft": {}}
    )


FULL = Scale()
FAST = Scale(
    first=160,
    second=60,
    third=120,
    held_out=110,
    season=80,
    trial=80,
    put_right=45,
    rows={"sft": 150, "dpo": 100, "rft": 150},
    hyperparameters={"sft": {"n_epochs": 6}, "dpo": {}, "rft": {"n_epochs": 1}},
)


class Narrator(Protocol):
    """Who tells the story."""

    def chapter(self, title: str) -> None: ...
    def say(self, text: str) -> None: ...
    def counting(self, label: str, total: int) -> "Any": ...
    def follow(self, job: TuningJob, label: str) -> None: ...
    def funnel(self, dataset: Dataset) -> None: ...
    def advice(self, advice: Any) -> None: ...


@dataclass(slots=True)
class Line:
    """One line of the closing table: a model, measured on the held-out requests."""

    name: str
    model: str
    version: str | None
    success: Tally
    taste: Tally
    tokens: float
    """Per conversation, read and written."""
    seconds: float
    """Per conversation, half of them take less."""
    rows: int = 0
    trained: float = 0.0
    """Seconds of training."""
    gate: str = "-"
    season: Tally | None = None
    """Success on new requests in the words of the last season, where that was measured."""
    gained: dict[str, tuple[float, Interval]] = field(default_factory=dict)
    """Metric -> difference to the version that was live before, and its 95 % interval."""


@dataclass(slots=True)
class Ending:
    """What the demo came to."""

    lines: list[Line] = field(default_factory=list)
    winner: str | None = None
    verdict: Any = None
    seconds: float = 0.0
    peak_mb: float = 0.0
    """Most memory that this process and its largest child took, in megabytes."""
    folder: str = ""


class Story:
    """The demo, told on one store and one local provider."""

    def __init__(self, loop: AgentLoop, scale: Scale, narrator: Narrator, base: str) -> None:
        self.loop = loop
        self.scale = scale
        self.tell = narrator
        self.base = base
        self.client = AsyncOpenAI(base_url=loop.settings.local_url, api_key="none", timeout=300)
        self.provider = OpenAIProvider(openai_client=self.client, use_responses=False)
        self.room = traffic.Room(traffic.AT_ONCE)
        self.agent: Agent[Shop] = agents.support(base)
        self.live: Version | None = None
        self.ending = Ending()

    async def play(self) -> Ending:
        began = monotonic()
        await self._first_traffic()
        for method in ("sft", "dpo", "rft"):
            await self._turn(method)
        await self._trial()
        await self.client.close()
        self.ending.seconds = monotonic() - began
        return self.ending

    # ------------------------------------------------------------------ chapters

    async def _first_traffic(self) -> None:
        n = self.scale.first
        self.tell.chapter("Traffic on the base model")
        asked = requests(n, seed=1)
        answers, measured = await asyncio.gather(
            self._serve(asked, times=2, label="conversations"), self._held_out("base", None)
        )
        resolved = sum(one.resolved for one in answers)
        self.tell.say(f"{resolved} of {len(answers)} conversations left the shop as was wished")
        some = [one for k, one in enumerate(answers) if k % 3 == 0]
        thumbs = traffic.press_thumbs(self.loop, some)
        fixed = traffic.correct(self.loop, answers, most=self.scale.corrections)
        right = traffic.put_right(self.loop, answers[::2], most=self.scale.put_right)
        self.tell.say(
            f"{thumbs} thumbs pressed; {fixed} answers corrected by customers, "
            f"{right} calls by the shop's staff"
        )
        self.tell.advice(self.loop.advise(self._crew()))
        for method in ("dpo", "rft"):
            self._look(method)
        self._measured("base", None, measured)

    async def _turn(self, method: str) -> None:
        """One turn of the loop: traffic where it is wanted, rows, training, measure, gate."""
        self.tell.chapter(CHAPTERS[method])
        where = None
        if method == "dpo":
            where = await self._later_traffic(2, self.scale.second, self.scale.again)
            # Taste is for those who were helped: a right call beside a wrong one is for RFT.
            where += " and outcome.resolved == true"
        elif method == "rft":
            where = await self._later_traffic(3, self.scale.third, 1)
        try:
            dataset = self.loop.harvest(
                method,
                agent=self._crew(),
                where=where,
                limit=self.scale.rows[method],
                **WIDER.get(method, {}),
            )
            self.tell.funnel(dataset)
            version, trained = self._train(dataset, method)
        except AgentloopError as error:
            self.tell.say(f"no version from {method}: {error}")
            return
        held_out, season = await asyncio.gather(
            self._held_out(method, version),
            self._season(method, version) if method == "rft" else _nothing(),
        )
        line = self._measured(method, version, held_out)
        if season:
            self._measured_season(line, season)
        line.rows, line.trained = len(dataset.rows), trained
        gate = self._gate(method, version, line)
        line.gate = "open" if gate.open else "closed"
        if gate.open:
            for agent in CREW:
                self.loop.swap(agent, version, gate=gate)
            self.live = version
            self.tell.say(f"{version.model} is live")
        else:
            for reason in gate.reasons:
                self.tell.say(f"the gate refuses {version.model}: {reason}")

    async def _later_traffic(self, season: int, n: int, again: int) -> str:
        """Traffic on the live version, in the words of `season`; which traces it made."""
        asked = requests(n, seed=season, season=season)
        live = next(one for one in self.ending.lines if one.version == self._live_id)
        answers, measured = await asyncio.gather(
            self._serve(asked, times=again, label="conversations"),
            self._season(live.name, self.live) if season == SEASONS else _nothing(),
        )
        thumbs = traffic.press_thumbs(self.loop, answers)
        resolved = sum(one.resolved for one in answers)
        self.tell.say(
            f"{n} customers, half of them in new words, "
            f"{f'each asked {again} times' if again > 1 else 'asked'}: "
            f"{resolved} of {len(answers)} were helped; {thumbs} thumbs"
        )
        if measured:
            self._measured_season(live, measured)
        return f"version == {self._live_id!r}"

    @property
    def _live_id(self) -> str | None:
        return self.live.id if self.live else None

    def _crew(self) -> tuple[str, ...]:
        """Those of the crew who had something to do."""
        self.loop.flush()
        return tuple(name for name in CREW if name in self.loop.store.names().agents)

    def _look(self, method: str) -> None:
        try:
            self.tell.funnel(self.loop.harvest(method, agent=self._crew()))
        except AgentloopError as error:
            self.tell.say(f"{method}: {error}")

    def _train(self, dataset: Dataset, method: str) -> tuple[Version, float]:
        plan = self.loop.plan(
            dataset,
            provider="local",
            base=self.live or self.base,
            hyperparameters=self.scale.hyperparameters[method],
            suffix=f"demo-{method}",
            seed=7,
        )
        began = monotonic()
        job = self.loop.tune(plan)
        self.tell.follow(job, f"training by {method}")
        return self.loop.register(job), monotonic() - began

    async def _held_out(self, name: str, version: Version | None) -> list[traffic.Answered]:
        """The held-out requests, answered by one version."""
        asked = requests(self.scale.held_out, seed=9, held_out=True)
        return await self._judged(asked, name, version)

    async def _season(self, name: str, version: Version | None) -> list[traffic.Answered]:
        """New requests in the words of the last season: what RFT is for. The gate of a version
        compares whatever held-out requests both versions answered."""
        asked = requests(self.scale.season, seed=10, season=SEASONS)
        return await self._judged(asked, name, version)

    def _measured(
        self, name: str, version: Version | None, answers: Sequence[traffic.Answered]
    ) -> Line:
        """What the held-out requests say of a version, each measured by rule and by taste."""
        n = len(answers)
        traces = list(self.loop.store.traces([one.trace_id for one in answers]))
        times = sorted((t.ended_at - t.started_at).total_seconds() for t in traces if t.ended_at)
        line = Line(
            name=name,
            model=version.model if version else self.base,
            version=version.id if version else None,
            success=Tally(sum(one.resolved for one in answers), n),
            taste=Tally(sum(one.liked for one in answers), n),
            tokens=sum(t.usage.total_tokens for t in traces) / len(traces),
            seconds=times[len(times) // 2] if times else 0.0,
        )
        self.ending.lines.append(line)
        self.tell.say(
            f"{name}: task success {_rate(line.success)}, to the customers' taste "
            f"{_rate(line.taste)}, of {n} held-out requests"
        )
        return line

    def _measured_season(self, line: Line, answers: Sequence[traffic.Answered]) -> None:
        line.season = Tally(sum(one.resolved for one in answers), len(answers))
        self.tell.say(
            f"{line.name}: task success {_rate(line.season)} of {len(answers)} new requests of "
            "the season"
        )

    async def _judged(
        self, asked: Sequence[Request], name: str, version: Version | None
    ) -> list[traffic.Answered]:
        """Answers to measure with; they are never harvested."""
        answers = await self._serve(
            asked,
            times=1,
            label=f"measuring {name}",
            held_out=True,
            version=dict.fromkeys(CREW, version),
        )
        for one in answers:
            self.loop.outcome(one.trace_id, "liked", one.liked)
        self.loop.flush()
        return answers

    def _gate(self, method: str, version: Version, line: Line) -> Gate:
        improves, keeps = GATES[method]
        gate = self.loop.gate(
            version,
            agent="support",
            improves=improves,
            keeps=keeps,
            baseline=self.live,
        )
        for figure in gate.figures:
            line.gained[figure.metric] = (figure.difference, figure.interval)
            self.tell.say(f"gate: {figure}")
        return gate

    async def _trial(self) -> None:
        self.tell.chapter("A trial against the base, on new requests")
        if self.live is None:
            self.tell.say("no version passed its gate; the base stays, there is nothing to try")
            return
        self.ending.winner = self.live.model
        trial = self.loop.trial(
            CREW, candidate=self.live, control="own", share=0.5, metric="resolved"
        )
        asked = requests(self.scale.trial, seed=4, held_out=True)
        await self._serve(asked, times=1, label="conversations")
        self.ending.verdict = trial.stop()
        self._there_and_back()

    def _there_and_back(self) -> None:
        for agent in CREW:
            back = self.loop.rollback(agent)
        self.tell.say(f"rolled back: {CREW[0]} -> {back.version or 'its own model'}")
        for agent in CREW:
            self.loop.swap(agent, self.live)
        self.tell.say(f"and forward: {CREW[0]} -> {self._live_id}")

    async def _serve(
        self, asked: Sequence[Any], *, times: int, label: str, **options: Any
    ) -> list[traffic.Answered]:
        with self.tell.counting(label, len(asked) * times) as told:
            return await traffic.serve(
                self.loop,
                self.agent,
                asked,
                provider=self.provider,
                room=self.room,
                times=times,
                told=told,
                **options,
            )


CHAPTERS = {
    "sft": "SFT: imitate the conversations that went well",
    "dpo": "DPO: prefer the answers that customers like",
    "rft": "RFT: reason towards the grader's score",
}

GATES: dict[str, tuple[str, dict[str, float]]] = {
    "sft": ("resolved", {}),
    "dpo": ("liked", {"resolved": 0.02}),
    "rft": ("resolved", {"liked": 0.05}),
}
"""Method -> what must be clearly better, and how much of the other may be lost."""

WIDER: Mapping[str, Mapping[str, Any]] = {"rft": {"band": (0.0, 1.0)}}
"""Method -> how its harvest differs from the defaults. A model this small forgets what it is not
asked, so the tasks that it always passes are asked again beside the others (measured: LOG.md)."""


async def _nothing() -> list[traffic.Answered]:
    return []


def _rate(tally: Tally) -> str:
    low, high = tally.interval()
    return f"{tally.rate:.2f} ({low:.2f} to {high:.2f})"
