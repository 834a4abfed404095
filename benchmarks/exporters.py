"""Others who make rows for fine-tuning of the same runs, each in a process of its own.

The file has one run a line, with `messages`, `tools`, and whether it was `resolved`.
"""

import json
import resource
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from benchmarks import stores

EXAMPLES = 1_000
"""So many runs are enough for Phoenix."""


class Took(NamedTuple):
    """What it took: by the processor, and by the clock."""

    seconds: float
    clock: float


def mapped(file: Path, out: Path) -> Took | None:
    """`datasets`: the runs that went well, mapped to the two keys of a row; None where it is not
    installed."""
    try:
        import datasets
    except ImportError:
        return None
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        clock, busy = perf_counter(), process_time()
        runs = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
        good = runs.filter(lambda run: run["resolved"])
        rows = good.map(
            lambda run: {"messages": run["messages"], "tools": run["tools"]},
            remove_columns=["id", "resolved"],
        )
        rows.to_json(out)
        return Took(process_time() - busy, perf_counter() - clock)


def phoenix(file: Path, out: Path) -> Took | None:
    """Phoenix: a dataset of runs that went well, downloaded as `jsonl/openai_ft`. What was chosen,
    and how spans became the dataset, is not timed. None where it is not installed."""
    try:
        import psutil  # type: ignore[import-untyped]

        __import__("phoenix.version")
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder, file.open() as lines:
        runs = (run for run in map(json.loads, lines) if run["resolved"])
        inputs, outputs = [], []
        for run in islice(runs, EXAMPLES):
            *context, answer = run["messages"]
            inputs.append({"messages": context, "tools": run["tools"]})
            outputs.append({"messages": [answer]})
        with stores.phoenix_server(Path(folder)) as (url, server):
            body = {"action": "create", "name": "runs", "inputs": inputs, "outputs": outputs}
            id = _asked(f"{url}/v1/datasets/upload?sync=true", body)["data"]["dataset_id"]
            process = psutil.Process(server)
            clock, busy = perf_counter(), sum(process.cpu_times()[:2])
            with urlopen(f"{url}/v1/datasets/{id}/jsonl/openai_ft", timeout=600) as rows:
                out.write_bytes(rows.read())
            return Took(sum(process.cpu_times()[:2]) - busy, perf_counter() - clock)


def _asked(url: str, body: Any) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=600) as answer:
        return json.load(answer)


PEERS: dict[str, Callable[[Path, Path], Took | None]] = {"datasets map": mapped, "phoenix": phoenix}


def told(took: Took, tools: Any, *files: Path) -> dict[str, Any]:
    """What it took, the most memory that this process had, and of the rows in the files how many
    there are and how many have these tools, as they were."""
    most, wanted = _megabytes(), json.dumps(tools)
    rows = intact = size = 0
    for file in files:
        with file.open() as lines:
            for line in lines:
                rows, size = rows + 1, size + len(line)
                intact += json.dumps(json.loads(line).get("tools")) == wanted
    kb = round(size / rows / 1000, 1)
    of_rows = {"rows": rows, "with_their_tools": intact, "kb_a_row": kb}
    return {**took._asdict(), "megabytes": most, **of_rows}


def _megabytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most >> (20 if sys.platform == "darwin" else 10)
    # What `getrusage` tells begins with what the process had that started this one.
    (peak,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) >> 10


def _main(name: str, file: Path, out: Path) -> None:
    took = PEERS[name](file, out)
    with file.open() as lines:
        tools = json.loads(next(lines))["tools"]
    print(json.dumps(told(took, tools, out) if took else {}))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
