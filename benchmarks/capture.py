"""What capture adds to a run: `loop.run` against the SDK's own `Runner.run`, tracing off.

A run is four model calls and four tool calls, answered by a script: nine steps.
"""

import asyncio
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import agents
from agents import Agent, RunConfig, Runner, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call

from agentloop import AgentLoop, Settings

STEPS = 9


@function_tool
def look(at: int) -> str:
    """Look at something."""
    return "seen " * 180


def script() -> ScriptedModel:
    calls = [[function_call("look", {"at": n}, call_id=f"c{n}")] for n in range(4)]
    return ScriptedModel([*calls, [assistant_message("done " * 80)]])


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Milliseconds that capture adds to a run on the caller's side, and the run without it."""
    agents.set_trace_processors([])
    agent = Agent(name="looker", instructions="Look. " * 100, tools=[look])
    text = "Please look at it. " * 100
    plain, captured = [], []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(spill_dir=Path(folder))
        with AgentLoop(f"sqlite:///{folder}/loop.db", settings=settings) as loop:

            async def runs() -> None:
                for _ in range(20 if quick else 200):
                    off = RunConfig(model=script(), tracing_disabled=True)
                    began = perf_counter()
                    await Runner.run(agent, text, run_config=off)
                    plain.append(perf_counter() - began)
                    on = RunConfig(model=script())
                    began = perf_counter()
                    await loop.run(agent, text, run_config=on)
                    captured.append(perf_counter() - began)

            asyncio.run(runs())
    baseline, ours = median(plain) * 1e3, median(captured) * 1e3
    return {
        "unit": "ms a run",
        "ours": round(ours - baseline, 3),
        "peers": {},
        "absent": [],
        "baseline": round(baseline, 3),
        "ratio": round(ours / baseline, 3),
        "bar": None,
        "holds": None,
        "runs": len(plain),
    }
