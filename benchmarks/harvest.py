"""A store of many calls to rows for supervised training: rows a second, and memory.

All of `harvest_to` is timed: selection, checks, exact duplicates, token counts (where the extra
`tokens` is installed), the split, the files, the ledger. Redaction and near duplicates have
benchmarks of their own. Each harvest is a process of its own, so that its peak of
memory is its own. Rows a second are by the time of its processor; by the clock they are told too,
for PostgreSQL's server is another process.

`short` are runs of one call, as one asks an assistant something; `long` are W9 runs of four calls
with four tool calls. The peers have the same runs as a JSON file before their clock starts: who
harvests with them has exported them.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import sqlalchemy

from agentloop import AgentLoop
from agentloop.base.records import Json, Outcome, Trace
from agentloop.base.store import Store
from benchmarks import exporters, w9
from benchmarks.ingest import round_
from tests import postgres

ROWS_A_SECOND = 5_000
MEGABYTES = 300
"""The bars: at least, at most."""

CALLS = 100_000
TURNS: dict[str, tuple[int, ...]] = {"short": (), "long": w9.TURNS}
"""Tool calls, turn by turn, before the model answers."""

OURS = ("sqlite", "postgresql")
TOGETHER = 200
"""Runs that are stored at a time."""

REFUND: Json = {
    "type": "function",
    "function": {
        "name": "refund",
        "description": "Give the money for an order back. " * 4,
        "parameters": {
            "type": "object",
            "properties": {
                "order": {"type": "string", "description": "The order that it is about. " * 2},
                "amount": {"type": "number", "minimum": 0},
                "why": {"type": "string", "enum": ["late", "damaged", "wrong"]},
            },
            "required": ["order", "why"],
        },
        "strict": False,
    },
}
TOOLS = (*w9.TOOLS, REFUND)
"""What an agent offers: tools that do not all take the same."""


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Rows a second from each kind of run and of database, and what peers make of the same."""
    calls, rounds = (5_000, 1) if quick else (CALLS, 3)
    with ExitStack() as until_then:
        server = None if postgres.why_not() else until_then.enter_context(postgres.server())
        kinds = {kind: _kind(kind, calls, rounds, server) for kind in TURNS}
    short = kinds["short"]
    ours, theirs = short["sqlite"]["rows_a_second"], short["datasets map"]["rows_a_second"]
    most = max(kind[name]["megabytes"] for kind in kinds.values() for name in OURS if name in kind)
    return {
        "unit": "rows a second on one core, of runs of one call, from SQLite",
        "ours": ours,
        "peers": {n: short[n]["rows_a_second"] for n in exporters.PEERS if n in short},
        "absent": [name for name in (*OURS, *exporters.PEERS) if name not in short],
        "baseline": theirs,
        "baseline_is": "datasets map",
        "ratio": round_(ours / theirs),
        "megabytes": most,
        "bar": {"rows_a_second": ROWS_A_SECOND, "megabytes": MEGABYTES},
        "holds": ours >= ROWS_A_SECOND and most <= MEGABYTES,
        "tokens_counted": find_spec("bpe_openai") is not None,
        "runs": rounds,
        "calls": calls,
        "kinds": kinds,
    }


def _kind(kind: str, calls: int, rounds: int, server: str | None) -> dict[str, Json]:
    """What there is to tell of the runs of one kind, by who made rows of them."""
    told: dict[str, list[Json]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = folder / "runs.jsonl"
        urls = {"sqlite": f"sqlite:///{folder}/loop.db"}
        if server:
            urls["postgresql"] = _schema(server, kind)
        _fill(urls.values(), file, TURNS[kind], calls)
        for round in range(rounds):
            for name, url in urls.items():
                one = _process("harvest", url, folder / "out", round)
                told.setdefault(name, []).append(one)
            for name in exporters.PEERS if round < 2 else ():
                one = _process("exporters", name, file, folder / "rows.jsonl")
                if one:
                    told.setdefault(name, []).append(one)
    return {name: _summary(of) for name, of in told.items()}


def _schema(server: str, kind: str) -> str:
    """The URL of a part of a server for one kind of runs."""
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {kind}"))
    engine.dispose()
    return f"{server}&options=-csearch_path%3D{kind}"


def _fill(urls: Iterable[str], file: Path, turns: tuple[int, ...], calls: int) -> None:
    """Store runs of so many calls, and write the same to a file. Of five, four went well."""
    with ExitStack() as stack:
        stores = [stack.enter_context(Store(url)) for url in urls]
        written = stack.enter_context(file.open("w"))
        waiting: list[Trace | Outcome] = []
        for n, trace in enumerate(_runs(turns, calls // (len(turns) + 1))):
            good = n % 5 != 0
            waiting += [trace, _outcome(trace, good=good)]
            said = [message.to_dict() for message in trace.conversation]
            run = {"id": trace.id, "messages": said, "tools": TOOLS, "resolved": good}
            written.write(json.dumps(run) + "\n")
            if len(waiting) >= 2 * TOGETHER:
                _put(stores, waiting)
        _put(stores, waiting)


def _put(stores: Iterable[Store], waiting: list[Trace | Outcome]) -> None:
    for store in stores:
        store.put(*waiting)
    waiting.clear()


def _runs(turns: tuple[int, ...], n: int) -> Iterator[Trace]:
    for seed in range(n):
        trace = w9.trace(seed, turns)
        calls = tuple(call.model_copy(update={"tools": TOOLS}) for call in trace.calls)
        yield trace.model_copy(update={"user": f"user-{seed % 997}", "calls": calls})


def _outcome(trace: Trace, *, good: bool) -> Outcome:
    return Outcome(trace_id=trace.id, name="resolved", value=good, recorded_at=trace.started_at)


def _process(module: str, *arguments: Any) -> Json:
    """What another process tells; nothing when it cannot do it."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def _summary(told: list[Json]) -> Json:
    """Of several rounds the middle, and of memory the most."""
    return {
        "rows_a_second": round_(median(one["rows"] / one["seconds"] for one in told)),
        "by_the_clock": round_(median(one["rows"] / one["clock"] for one in told)),
        "megabytes": max(one["megabytes"] for one in told),
        "rows": told[0]["rows"],
        "with_their_tools": told[0]["with_their_tools"],
        "kb_a_row": told[0]["kb_a_row"],
    }


def harvest(url: str, out: Path, round: int) -> Json:
    """One harvest of a store, told of. Each round has another share to validate with, or the
    ledger would know the dataset already."""
    with AgentLoop(url) as loop:
        counted = {"tokenizer": "gpt-4.1"} if find_spec("bpe_openai") else {}
        knobs: Json = {"valid_share": 0.1 + round / 100, "near": 0, "redact": False, **counted}
        began, busy = perf_counter(), process_time()
        loop.harvest_to(out, "sft", agent="support", **knobs)
        took = exporters.Took(process_time() - busy, perf_counter() - began)
    return exporters.told(took, TOOLS, out / "train.jsonl", out / "valid.jsonl")


if __name__ == "__main__":
    print(json.dumps(harvest(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
