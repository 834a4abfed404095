"""What capture adds to a run on the caller's side, beside what others add to the same run.

A run is W9, through the SDK's `Runner` and answered by a script. All subjects run in one process,
in small rounds that take turns, so that what else the machine does hits all alike. What is added
is the time of the caller's thread (CPU time: the time that no other work can have) over the same
run with tracing off; what each adds to the time on the clock, its background threads included and
with nothing to wait for, stands beside it.
"""

import asyncio
import gc
import json
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any, NamedTuple

from agents import Agent, RunConfig, Runner, function_tool, set_trace_provider
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tracing import generation_span

from agentloop import AgentLoop, Settings
from benchmarks import tracers, w9

BAR_US = 15.0
"""Microseconds a span, at most."""

OF_OTEL = 0.5
"""Of what the OpenTelemetry SDK adds, at most."""

EACH = 5
"""Runs of one subject before the next has its turn."""


def tools() -> list[Any]:
    """Three tools; one of them is called, and returns what the script says."""

    @function_tool
    def look(order: str, customer: str = "", reason: str = "", note: str = "") -> str:
        """Look something up for the customer, and say what there is about it."""
        return RESULTS[order]

    @function_tool
    def change(order: str, customer: str = "", reason: str = "", note: str = "") -> str:
        """Change something for the customer, and say what there is about it."""
        return order

    @function_tool
    def cancel(order: str, customer: str = "", reason: str = "", note: str = "") -> str:
        """Cancel something for the customer, and say what there is about it."""
        return order

    return [look, change, cancel]


RESULTS: dict[str, str] = {}


class Model(ScriptedModel):
    """A script that is traced as the SDK's chat model is."""

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        tracing = kwargs["tracing"] if "tracing" in kwargs else args[6]
        with generation_span(model="m", disabled=tracing.is_disabled()) as span:
            response = await super().get_response(*args, **kwargs)
            if tracing.include_data():
                given = kwargs["input"] if "input" in kwargs else args[1]
                said = [{"role": "user", "content": given}] if isinstance(given, str) else given
                span.span_data.input = list(said)
                span.span_data.output = [item.model_dump() for item in response.output]
        return response


class Script(NamedTuple):
    """A run: what the user says, and the model that answers."""

    text: str
    model: ScriptedModel


def script(seed: int) -> Script:
    said = w9.talk(seed)
    steps: list[Any] = []
    for step in said.steps:
        items: list[Any] = [assistant_message(step.said)]
        for call_id, given, returned in step.calls:
            fields = json.loads(given)
            RESULTS[fields["order"]] = returned
            items.append(function_call("look", fields, call_id=call_id))
        steps.append(items)
    return Script(said.user, Model(steps))


class Took(NamedTuple):
    """What one run took, in seconds."""

    caller: float
    clock: float


Go = Callable[[Agent[Any], str, RunConfig], Awaitable[Any]]


class Subject(NamedTuple):
    """One way to run an agent."""

    go: Go
    listener: tracers.Listener
    off: bool = False


async def _plain(agent: Agent[Any], text: str, config: RunConfig) -> None:
    await Runner.run(agent, text, run_config=config)


def _subjects(folder: Path, stack: ExitStack) -> tuple[dict[str, Subject], list[str]]:
    off = tracers.Listener(tracers.fresh(), lambda: None)
    subjects = {"off": Subject(_plain, off, off=True)}
    provider = tracers.fresh()
    settings = Settings(spill_dir=folder)
    loop = stack.enter_context(AgentLoop(f"sqlite:///{folder}/loop.db", settings=settings))
    loop.store.put(w9.trace(0))

    async def ours(agent: Agent[Any], text: str, config: RunConfig) -> None:
        await loop.run(agent, text, run_config=config)

    asyncio.run(ours(Agent(name="first", tools=tools()), "hi", RunConfig(model=script(0).model)))
    subjects["agentloop"] = Subject(ours, tracers.Listener(provider, loop.flush))
    absent = []
    for name, listen in tracers.LISTENERS.items():
        try:
            subjects[name] = Subject(_plain, listen(folder))
        except ImportError:
            absent.append(name)
    return subjects, absent


async def _rounds(subjects: dict[str, Subject], rounds: int) -> dict[str, list[Took]]:
    """What each run took, by subject. The first round is thrown away."""
    agent = Agent(name="support", instructions=w9.SYSTEM, tools=tools())
    took: dict[str, list[Took]] = {name: [] for name in subjects}
    for round in range(rounds + 1):
        for name, subject in subjects.items():
            set_trace_provider(subject.listener.provider)
            gc.collect()
            gc.disable()  # whose turn it is to collect is a matter of luck
            for n in range(EACH):
                text, model = script(round * EACH + n)
                config = RunConfig(model=model, tracing_disabled=subject.off)
                caller, clock = thread_time(), perf_counter()
                await subject.go(agent, text, config)
                one = Took(thread_time() - caller, perf_counter() - clock)
                if round:
                    took[name].append(one)
            gc.enable()
            subject.listener.settle()
    return took


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Microseconds that each subject adds to a span, on the caller's side."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subjects, absent = _subjects(folder, stack)
        took = asyncio.run(_rounds(subjects, 4 if quick else 30))
    off = took.pop("off")
    added = {name: _added(runs, off, "caller") for name, runs in took.items()}
    clock = {name: _added(runs, off, "clock") for name, runs in took.items()}
    ours, otel = added.pop("agentloop"), added["opentelemetry"]
    floor = added.pop("sdk_spans_alone")
    return {
        "unit": "us a span on the caller's thread",
        "ours": ours,
        "peers": added,
        "absent": absent,
        "baseline": round(median(t.caller for t in off) * 1e6 / w9.SPANS, 1),
        "ratio": round(ours / otel, 3),
        "bar": {"us": BAR_US, "of_opentelemetry": OF_OTEL},
        "holds": ours <= BAR_US and ours <= OF_OTEL * otel,
        "a_run": round(ours * w9.SPANS, 1),
        "sdk_spans_alone": floor,
        "clock": clock,
        "runs": len(off),
    }


def _added(runs: list[Took], off: list[Took], what: str) -> float:
    """Microseconds a span: the median over rounds of what a round takes more than its neighbour
    with tracing off."""
    mine, theirs = ([getattr(one, what) for one in took] for took in (runs, off))
    rounds = range(0, len(mine), EACH)
    more = [median(mine[n : n + EACH]) - median(theirs[n : n + EACH]) for n in rounds]
    return float(round(median(more) * 1e6 / w9.SPANS, 2))
