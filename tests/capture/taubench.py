"""Conversations of tau-bench, as its authors write them down, in the format `chat`."""

import json
from pathlib import Path


def to_chat(results, tools):
    """A line of the format `chat` for each run of a task."""
    for run in results:
        yield {
            "id": f"tau-{run['task_id']}-{run['trial']}",
            "agent": "airline",
            "task_id": str(run["task_id"]),
            "messages": run["traj"],
            "tools": tools,
            "outcome": {"reward": run["reward"]},
            "reference": run["info"]["task"]["actions"],
            "model": "gpt-4o",
        }


def convert(results: Path, tools: Path, out: Path) -> int:
    """Write a file of the format `chat`; how many lines it has."""
    lines = list(to_chat(json.loads(results.read_text()), json.loads(tools.read_text())))
    out.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return len(lines)
