"""What capture adds to a run on the caller's side, beside what others add to the same run.

A run is W9, through the SDK's `Runner`; the model answers at once from a script. All subjects run
in one process, in blocks that take turns, so that what else the machine does hits all alike. What
is added is the CPU time of the caller's thread (the time that no other work can have) over the
same runs with tracing off: the median over rounds, with its interval. That is the bar. Beside it
stand the whole process (its background threads included, until all is stored or exported), the
time on the clock with a model that gives nobody a pause, and what two equal measurements differ by.
"""

import asyncio
import gc
import json
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from math import sqrt
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, thread_time
from typing import Any, NamedTuple

from agents import (
    Agent,
    Model,
    ModelResponse,
    RunConfig,
    Runner,
    Usage,
    function_tool,
    set_trace_provider,
)
from agents.models._trace import model_config_for_trace
from agents.testing import assistant_message, function_call
from agents.tracing import generation_span

from agentloop import AgentLoop, Settings
from benchmarks import tracers, w9

BAR_US = 15.0
"""Microseconds a span, at most."""

OF_OTEL = 0.5
"""Of what the OpenTelemetry SDK adds, at most."""

EACH = 7
"""Runs of one subject before the next has its turn: a block."""


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


class Script(Model):
    """Answers from a script, at once, and is traced as the SDK's chat model is."""

    def __init__(self, steps: list[list[Any]]) -> None:
        self._steps = iter(steps)

    async def get_response(
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: Any,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        tracing: Any,
        **_: Any,
    ) -> ModelResponse:
        config = model_config_for_trace(model_settings, tracing, base_url="http://127.0.0.1/v1")
        off = tracing.is_disabled()
        with generation_span(model="m", model_config=config, disabled=off) as span:
            output = next(self._steps)
            usage = Usage(requests=1, input_tokens=900, output_tokens=100, total_tokens=1_000)
            if tracing.include_data():
                said = [{"role": "user", "content": input}] if isinstance(input, str) else input
                span.span_data.input = list(said)
                span.span_data.output = [item.model_dump() for item in output]
            span.span_data.usage = {"input_tokens": 900, "output_tokens": 100}
        return ModelResponse(output=output, usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def script(seed: int) -> tuple[str, Script]:
    """What the user says in the run of that number, and the model that answers."""
    said = w9.talk(seed)
    steps: list[list[Any]] = []
    for step in said.steps:
        items: list[Any] = [assistant_message(step.said)]
        for call_id, given, returned in step.calls:
            fields = json.loads(given)
            RESULTS[fields["order"]] = returned
            items.append(function_call("look", fields, call_id=call_id))
        steps.append(items)
    return said.user, Script(steps)


class Took(NamedTuple):
    """What a run of a block took, in microseconds a span."""

    caller: float
    clock: float
    process: float


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
    subjects = {"off": Subject(_plain, off, off=True), "nothing": Subject(_plain, off, off=True)}
    provider = tracers.fresh()
    settings = Settings(spill_dir=folder)
    loop = stack.enter_context(AgentLoop(f"sqlite:///{folder}/loop.db", settings=settings))
    loop.store.put(w9.trace(0))

    async def ours(agent: Agent[Any], text: str, config: RunConfig) -> None:
        await loop.run(agent, text, run_config=config)

    asyncio.run(ours(Agent(name="first", tools=tools()), "hi", RunConfig(model=script(0)[1])))
    subjects["agentloop"] = Subject(ours, tracers.Listener(provider, loop.flush))
    absent = []
    for name, listen in tracers.LISTENERS.items():
        try:
            subjects[name] = Subject(_plain, listen(folder))
        except ImportError:
            absent.append(name)
    return subjects, absent


async def _block(agent: Agent[Any], subject: Subject, first: int) -> Took:
    """What one subject takes for `EACH` runs: the caller's median, the mean of all else."""
    set_trace_provider(subject.listener.provider)
    runs = [script(first + n) for n in range(EACH)]
    configs = [RunConfig(model=model, tracing_disabled=subject.off) for _, model in runs]
    caller = []
    gc.collect()
    gc.disable()  # whose turn it is to collect is a matter of luck
    process, clock = process_time(), perf_counter()
    for (text, _), config in zip(runs, configs, strict=True):
        began = thread_time()
        await subject.go(agent, text, config)
        caller.append(thread_time() - began)
    clock = perf_counter() - clock
    subject.listener.settle()
    process = process_time() - process
    gc.enable()
    spans = w9.SPANS / 1e6
    return Took(median(caller) / spans, clock / EACH / spans, process / EACH / spans)


async def _rounds(subjects: dict[str, Subject], rounds: int) -> dict[str, list[Took]]:
    """What each subject took, round by round; who is first changes. The first is thrown away."""
    agent = Agent(name="support", instructions=w9.SYSTEM, tools=tools())
    names = [*subjects]
    took: dict[str, list[Took]] = {name: [] for name in names}
    gc.freeze()
    for round in range(rounds + 1):
        turn = round % len(names)
        for name in names[turn:] + names[:turn]:
            took[name].append(await _block(agent, subjects[name], round * EACH))
    gc.unfreeze()
    return {name: blocks[1:] for name, blocks in took.items()}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Microseconds that each subject adds to a span, on the caller's side."""
    rounds = 5 if quick else 150
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subjects, absent = _subjects(folder, stack)
        took = asyncio.run(_rounds(subjects, rounds))
    off = took.pop("off")
    added = {name: _added(blocks, off, "caller") for name, blocks in took.items()}
    ours, otel = added.pop("agentloop"), added["opentelemetry"]
    nothing, floor = added.pop("nothing"), added.pop("sdk_spans_alone")
    return {
        "unit": "us a span on the caller's thread",
        "ours": ours.median,
        "peers": {name: more.median for name, more in added.items()},
        "absent": absent,
        "baseline": round(median(one.caller for one in off), 1),
        "ratio": round(ours.median / otel.median, 3),
        "bar": {"us": BAR_US, "of_opentelemetry": OF_OTEL},
        "holds": ours.median <= BAR_US and ours.median <= OF_OTEL * otel.median,
        "a_run": round(ours.median * w9.SPANS, 1),
        "interval": {"ours": ours.interval, "opentelemetry": otel.interval},
        "sdk_spans_alone": floor.median,
        "nothing": nothing,
        "clock": {name: _added(blocks, off, "clock").median for name, blocks in took.items()},
        "process": {name: _added(blocks, off, "process").median for name, blocks in took.items()},
        "runs": rounds * EACH,
    }


class Added(NamedTuple):
    """What a subject adds to a span, in microseconds."""

    median: float
    interval: tuple[float, float]
    """Where the median lies with 95 % confidence."""


def _added(blocks: list[Took], off: list[Took], what: str) -> Added:
    """What a block takes more than the one with tracing off in its round: the median, and its
    interval by order statistics (normal approximation of the binomial)."""
    pairs = zip(blocks, off, strict=True)
    more = sorted(getattr(mine, what) - getattr(theirs, what) for mine, theirs in pairs)
    half = 0.98 * sqrt(len(more))
    low, high = int(len(more) / 2 - half), int(len(more) / 2 + half)
    interval = round(more[max(0, low)], 1), round(more[min(high, len(more) - 1)], 1)
    return Added(round(median(more), 1), interval)
