"""What importing costs: `agentloop` over Python alone, and what `loop.run` needs over `agents`."""

import subprocess
import sys
from typing import Any

BAR_SECONDS = 0.3

TIMED = """
import sys, time
began = time.perf_counter()
{}
print(time.perf_counter() - began)
"""

RUN = """import agents
began = time.perf_counter()
from agentloop import AgentLoop
from agentloop.capture import CapturingRunner, Recorder"""
"""What is imported when `loop.run` is first called, the SDK itself not counted. `agentloop.capture`
alone would load nothing: its names are loaded when they are asked for."""


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Seconds, each in a process of its own: the least of several rounds, for what else the machine
    does can only add. The files may be in the system's cache, the modules are not in Python's."""
    rounds = 3 if quick else 9
    alone, ours, agents, run = [], [], [], []
    for _ in range(rounds):
        alone.append(_seconds("pass"))
        ours.append(_seconds("import agentloop"))
        agents.append(_seconds("import agents"))
        run.append(_seconds(RUN))
    plain = min(ours) - min(alone)
    more = min(run)
    return {
        "unit": "seconds",
        "ours": round(plain, 4),
        "loop_run": round(more, 3),
        "peers": {"agents": round(min(agents), 3)},
        "absent": [],
        "baseline": round(min(alone), 4),
        "ratio": round(more / min(agents), 3),
        "bar": BAR_SECONDS,
        "holds": plain <= BAR_SECONDS and more <= BAR_SECONDS,
        "runs": rounds,
    }


def _seconds(code: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(code)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
