"""Does it teach? The demo's shop on the tiny base, several times from other traffic and other dice.

One course: the base answers customers, and its harvested rows teach it by SFT, first from few, then
from more of them. What most rows made meets other customers: their thumbs teach it by DPO, and the
state of the shop by RFT. Beside that, rows from verdicts that were dealt out anew among as many
conversations of the base: nothing is to be learned from these, and the gate is to say so.

Every model is measured on requests in words that nobody learned from, and on new requests of the
last season, which RFT learns in. `success`: the shop is in exactly the state that was wished.
`taste`: the answer is as customers like it. `reward`: the first call is the reference, which is
what the grader of RFT asks for.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, NamedTuple

import agents
from openai import AsyncOpenAI

from agentloop import AgentLoop
from agentloop.base.errors import AgentloopError
from agentloop.base.records import Dataset, Json, Tally, Trace, Version, jsonl
from agentloop.base.settings import Settings
from agentloop.local.tiny import NAME
from agentloop.registry import Gate
from agentloop.ui.demo import traffic
from agentloop.ui.demo.agents import support
from agentloop.ui.demo.requests import SEASONS, Request, requests
from agentloop.ui.demo.server import local_provider
from benchmarks import trainers

CREW = ("support", "billing")

TASTE = 0.9
COST = 0.02
OVERHEAD = 1.1
"""The bars: taste after DPO at least, success that it costs at most, and how much more processor
time than TRL alone a job takes at most."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    seeds: tuple[int, ...] = (1, 2, 3)
    rows: tuple[int, ...] = (25, 50, 100, 200)
    """Of SFT, from few to many."""
    first: int = 300
    """Requests to the base, each twice; to what SFT made, `liked` thrice and `season` once."""
    put_right: int = 90
    liked: int = 150
    season: int = 300
    measured: int = 250
    """Requests that each model is measured on."""
    rounds: int = 3
    """Of the comparison with TRL alone."""
    hyperparameters: Mapping[str, Json] = field(
        default_factory=lambda: {"sft": {}, "dpo": {}, "rft": {}}
    )


FULL = Scale()
QUICK = Scale(
    seeds=(1,),
    rows=(80,),
    first=90,
    put_right=36,
    liked=40,
    season=30,
    measured=30,
    rounds=1,
    hyperparameters={"sft": {}, "dpo": {}, "rft": {"n_epochs": 1}},
)


class Learned(NamedTuple):
    """A version, and what making it took."""

    version: Version
    dataset: Dataset
    seconds: float
    megabytes: int | None
    """The most that a process of the provider took."""

    def told(self, **figures: Any) -> Json:
        took = {"seconds": round(self.seconds, 1), "megabytes": self.megabytes}
        return {"rows": len(self.dataset.rows), **took, **figures}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """What each method gains, by seed and over all; and what a job costs over TRL alone."""
    scale = QUICK if quick else FULL
    agents.set_trace_processors([])  # the SDK's own exporter would want a key and the network
    with tempfile.TemporaryDirectory() as room:
        with local_provider(Path(room) / "local") as answering:
            courses = [
                asyncio.run(_course(Path(room), answering(), scale, seed)) for seed in scale.seeds
            ]
        file = Path(room) / "rows.jsonl"
        file.write_bytes(courses[0].pop("file"))
        epochs = scale.hyperparameters["sft"].get("n_epochs", "auto")
        alone = _overhead(file, scale.rounds, epochs)
    for course in courses[1:]:
        course.pop("file")
    most = f"sft {scale.rows[-1]}"
    before, after = _over(courses, "base", "success"), _over(courses, most, "success")
    rewards = _over(courses, most, "reward"), _over(courses, "rft", "reward")
    cost = after.rate - _over(courses, "dpo", "success").rate
    bars = {
        "sft lifts success": after.minus(before).low > 0,
        "dpo reaches the taste": _over(courses, "dpo", "taste").rate >= TASTE,
        "dpo costs little success": cost <= COST,
        "rft lifts the reward": rewards[1].minus(rewards[0]).low > 0,
        "shuffled verdicts pass no gate": not any(c["shuffled"]["gate"] for c in courses),
        "the gate lets sft pass": all(course[most]["gate"] for course in courses),
        "overhead": alone["ratio"] <= OVERHEAD,
    }
    return {
        "unit": "task success, share of held-out requests",
        "ours": _told(after)[0],
        "peers": {"trl, cpu seconds of the same SFT job": alone["trl"]["cpu"]},
        "absent": [],
        "baseline": _told(before)[0],
        "baseline_is": "the tiny base",
        "ratio": alone["ratio"],
        "ratio_is": "cpu seconds of a job to those of TRL alone",
        "bar": {"taste": TASTE, "success_lost": COST, "overhead": OVERHEAD},
        # One course on a handful of requests shows that it runs, and no more.
        "holds": None if quick else all(bars.values()),
        "bars": bars,
        "runs": len(scale.seeds),
        "over_all": _all_over(courses),
        "courses": courses,
        "overhead": alone,
    }


async def _course(room: Path, url: str, scale: Scale, seed: int) -> Json:
    with ExitStack() as stack:
        loops = [
            stack.enter_context(_loop(room / f"{name}-{seed}", url))
            for name in ("course", "shuffled")
        ]
        async with AsyncOpenAI(base_url=url, api_key="none", timeout=300) as client:
            course, shuffled = (Course(loop, client, room, scale, seed) for loop in loops)
            told = await course.taught()
            told["shuffled"] = await shuffled.taught_nothing()
    return told


def _loop(folder: Path, url: str) -> AgentLoop:
    folder.mkdir()
    changed = {"local_url": url, "spill_dir": folder, "good": 0.8, "bad": 0.2}
    settings = Settings.read().model_copy(update=changed)
    return AgentLoop(f"sqlite:///{folder / 'loop.db'}", settings=settings)


class Course:
    """One store, one seed."""

    def __init__(
        self, loop: AgentLoop, client: AsyncOpenAI, room: Path, scale: Scale, seed: int
    ) -> None:
        self.loop, self.scale, self.seed = loop, scale, seed
        self.provider = agents.OpenAIProvider(openai_client=client, use_responses=False)
        self.local = room / "local"
        self.agent = support(NAME)
        self.places = traffic.Room(traffic.AT_ONCE)

    async def taught(self) -> Json:
        """Figures by model; `file` has the rows that most was learned from."""
        told: Json = {"seed": self.seed, "base": await self._measured(None)}
        answers = await self._answers(self._asked(self.scale.first, 1), times=2)
        traffic.press_thumbs(self.loop, answers[::3])
        traffic.put_right(self.loop, answers[::2], most=self.scale.put_right)
        for n in self.scale.rows:
            sft = self._learned("sft", NAME, limit=n)
            figures = await self._measured(sft.version)
            gate = self._gate(sft.version)
            told[f"sft {n}"] = sft.told(**figures, gate=gate.open)
        told["file"] = jsonl(sft.dataset.rows)
        for method, teach in {"dpo": self._preferred, "rft": self._reinforced}.items():
            try:
                told[method] = await teach(sft.version)
            except AgentloopError as error:  # of little traffic there may be too few rows
                told[method] = {"why": str(error)}
        return told

    async def taught_nothing(self) -> Json:
        """The rows of verdicts that say nothing: those of the base's runs, dealt out anew."""
        await self._measured(None)
        answers = await self._answers(self._asked(self.scale.first, 1), times=2)
        verdicts = [one.resolved for one in answers]
        random.Random(self.seed).shuffle(verdicts)
        for one, verdict in zip(answers, verdicts, strict=True):
            reference = one.request.first_call
            self.loop.outcome(one.trace_id, "resolved", verdict, reference=reference)
        learned = self._learned("sft", NAME, limit=self.scale.rows[-1])
        figures = await self._measured(learned.version)
        gate = self._gate(learned.version)
        return learned.told(**figures, gate=gate.open, why=gate.reasons)

    async def _preferred(self, live: Version) -> Json:
        asked = self._asked(self.scale.liked, 2)
        answers = await self._answers(asked, times=3, version=live)
        traffic.press_thumbs(self.loop, answers)
        where = f"version == {live.id!r} and outcome.resolved == true"
        learned = self._learned("dpo", live, where=where)
        return learned.told(**await self._measured(learned.version))

    async def _reinforced(self, live: Version) -> Json:
        asked = self._asked(self.scale.season, SEASONS)
        answers = await self._answers(asked, times=1, version=live)
        own = {one.trace_id for one in answers}
        learned = self._learned("rft", live, where=lambda one: one.trace.id in own, band=(0.0, 1.0))
        return learned.told(**await self._measured(learned.version))

    def _learned(self, method: str, base: str | Version, **knobs: Any) -> Learned:
        self.loop.flush()
        crew = [name for name in CREW if name in self.loop.store.names().agents]
        dataset = self.loop.harvest(method, agent=crew, **knobs)
        plan = self.loop.plan(
            dataset,
            provider="local",
            base=base,
            hyperparameters=self.scale.hyperparameters[method],
            seed=self.seed,
        )
        began = monotonic()
        job = self.loop.tune(plan)
        seen = [_most(self.local) for _ in job.watch()]
        job.wait()
        took = monotonic() - began
        return Learned(
            self.loop.register(job), dataset, took, max((m for m in seen if m), default=None)
        )

    async def _measured(self, version: Version | None) -> Json:
        """Success and taste on held-out requests, reward on new ones of the last season: how many
        of how many. The requests are another course's in another course, and never harvested."""
        held_out = requests(self.scale.measured, seed=100 + self.seed, held_out=True)
        season = self._asked(self.scale.measured, SEASONS, seed=200)
        answers = await self._answers(held_out, times=1, held_out=True, version=version)
        newer = await self._answers(season, times=1, held_out=True, version=version)
        self.loop.flush()
        traces = self.loop.store.traces([one.trace_id for one in newer])
        n = len(answers)
        return {
            "success": (sum(one.resolved for one in answers), n),
            "taste": (sum(one.liked for one in answers), n),
            "reward": (sum(map(_right, traces, (one.request for one in newer))), len(newer)),
        }

    def _gate(self, version: Version) -> Gate:
        return self.loop.gate(version, agent="support", improves="resolved")

    def _asked(self, n: int, season: int, *, seed: int = 0) -> list[Request]:
        return requests(n, seed=1000 * self.seed + seed + season, season=season)

    async def _answers(
        self,
        asked: Sequence[Request],
        *,
        times: int,
        version: Version | None = None,
        **options: Any,
    ) -> list[traffic.Answered]:
        return await traffic.serve(
            self.loop,
            self.agent,
            asked,
            provider=self.provider,
            room=self.places,
            times=times,
            version=dict.fromkeys(CREW, version),
            **options,
        )


def _right(trace: Trace, request: Request) -> bool:
    """Whether the first call is the reference: what is asked for, with exactly its arguments."""
    said = trace.calls[0].output if trace.calls else None
    if said is None or len(said.calls) != 1:
        return False
    made = said.calls[0].function
    try:
        arguments = json.loads(made.arguments)
    except ValueError:
        return False
    return {"name": made.name, "arguments": arguments} == request.first_call


def _most(local: Path) -> int | None:
    """The most megabytes that a process which the provider has started took so far."""
    family = {int(json.loads((local / "server.json").read_text())["pid"])}
    parents = dict(_parents())
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return max((m for pid in family if (m := trainers.megabytes(pid))), default=None)


def _parents() -> list[tuple[int, int]]:
    """Each process, and the one that started it."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        found.append((int(file.parent.name), int(after[1])))
    return found


def _overhead(file: Path, rounds: int, epochs: int | str) -> Json:
    """What a job takes by ours and by TRL alone, in turns; medians."""
    took: dict[str, list[Json]] = {name: [] for name in trainers.TRAINERS}
    for _ in range(rounds):
        for name, told in took.items():
            command = [sys.executable, "-m", "benchmarks.trainers", name, str(file), str(epochs)]
            done = subprocess.run(command, check=True, capture_output=True)
            told.append(json.loads(done.stdout))
    middle: Json = {
        name: {
            "cpu": round(median(one["cpu"] for one in told), 1),
            "seconds": round(median(one["seconds"] for one in told), 1),
            "megabytes": max(one["megabytes"] or 0 for one in told) or None,
        }
        for name, told in took.items()
    }
    return {**middle, "ratio": round(middle["ours"]["cpu"] / middle["trl"]["cpu"], 2)}


def _over(courses: Sequence[Json], model: str, figure: str) -> Tally:
    """Over all courses that have the model; each has requests of its own."""
    counts = [course[model][figure] for course in courses if figure in course[model]]
    return Tally(sum(good for good, _ in counts), sum(n for _, n in counts))


def _all_over(courses: Sequence[Json]) -> Json:
    """Model -> figure -> rate and its 95 % interval."""
    models = [name for name, told in courses[0].items() if isinstance(told, dict)]
    models = [name for name in models if any("success" in course[name] for course in courses)]
    return {
        model: {
            figure: _told(_over(courses, model, figure))
            for figure in ("success", "taste", "reward")
        }
        for model in models
    }


def _told(tally: Tally) -> list[float]:
    return [round(value, 3) for value in (tally.rate, *tally.interval())]
