"""W9 runs into a store on disk: spans a second until they can be asked for, and bytes a span.

Ours goes through the writer, as capture does, and is timed until `flush` has returned and the last
trace is read back. The records are made before the clock starts, as the payloads of all others
are. `naive` is no peer but a bound: a table of payloads, with nothing shared and nothing to ask by.
Peers parse and index what they are given; MLflow writes each trace when it ends, Phoenix is asked
until it shows the last span.
"""

import gc
import json
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

from agentloop.base.records import Trace
from agentloop.base.store import Store, Writer
from benchmarks import stores, w9

SPANS_A_SECOND = 15_000
OF_MLFLOW = 100
BYTES_A_SPAN = 1024
GROWTH = 2.5
"""The bars: at least, at least, less than, at most."""


class Took(NamedTuple):
    """What storing some traces took."""

    seconds: float
    cpu: float
    """Seconds of all threads of this process."""
    bytes: int


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Spans a second of each, in rounds that take turns, and bytes on disk a span."""
    n, rounds = (200, 2) if quick else (1_000, 5)
    ours, naive = [], []
    peers: dict[str, list[float]] = {}
    bytes_a_span: dict[str, float] = {}
    absent: list[str] = []
    for round in range(rounds):
        traces = list(w9.traces(n, first=round * n))
        ours.append(_ours(traces))
        naive.append(_naive(traces))
        for name, store in stores.PEERS.items():
            if name in absent or round >= 2:
                continue
            took = store(traces[: stores.TRACES[name] // (4 if quick else 1)])
            if took is None:
                absent.append(name)
                continue
            peers.setdefault(name, []).append(took.spans_a_second)
            bytes_a_span[name] = took.bytes_a_span
    spans = n * w9.SPANS
    rate = median(spans / took.seconds for took in ours)
    others = {name: round_(median(rates)) for name, rates in peers.items()}
    size = median(took.bytes / spans for took in ours)
    growth = _growth(rounds)
    mlflow = rate / others["mlflow"] if others.get("mlflow") else None
    return {
        "unit": "spans a second until queryable",
        "ours": round_(rate),
        "ours_cpu": round_(median(spans / took.cpu for took in ours)),
        "peers": others,
        "absent": absent,
        "baseline": round_(median(spans / took.seconds for took in naive)),
        "baseline_is": "naive sqlite3, the bound",
        "ratio": round_(mlflow) if mlflow else None,
        "bytes_a_span": {
            "ours": round_(size),
            "naive": round_(median(took.bytes / spans for took in naive)),
            **{name: round_(value) for name, value in bytes_a_span.items()},
        },
        "growth": growth,
        "bar": {
            "spans_a_second": SPANS_A_SECOND,
            "of_mlflow": OF_MLFLOW,
            "bytes_a_span": BYTES_A_SPAN,
            "growth": GROWTH,
        },
        "holds": rate >= SPANS_A_SECOND
        and size < BYTES_A_SPAN
        and max(growth.values()) <= GROWTH
        and (mlflow is None or mlflow >= OF_MLFLOW),
        "runs": rounds,
    }


def round_(value: float) -> float:
    """Three digits that say something."""
    return float(f"{value:.3g}")


def _timed(file: Path, work: Callable[[], Any]) -> Took:
    empty = file.stat().st_size
    gc.collect()
    gc.freeze()  # what is given in is nobody's to look through
    began, busy = perf_counter(), process_time()
    work()
    seconds, cpu = perf_counter() - began, process_time() - busy
    _settle(file)
    return Took(seconds, cpu, file.stat().st_size - empty)


def _settle(file: Path) -> None:
    """Have all that is in the log in the file itself, so that its size says what there is."""
    database = sqlite3.connect(file)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _ours(traces: list[Trace]) -> Took:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ours.db"
        with Store(f"sqlite:///{file}") as store:
            _settle(file)
            writer = Writer(store, spill=Path(folder) / "spill")

            def work() -> None:
                for trace in traces:
                    writer.submit(trace)
                writer.flush()
                assert store.trace(traces[-1].id).answer == traces[-1].answer

            took = _timed(file, work)
            writer.close()
            return took


def _naive(traces: list[Trace]) -> Took:
    payloads = [
        [
            (trace.id, span.id, json.dumps(payload))
            for span, payload in zip(trace.spans, w9.payloads(trace), strict=True)
        ]
        for trace in traces
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "naive.db"
        database = sqlite3.connect(file)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE span (trace TEXT, id TEXT PRIMARY KEY, payload TEXT)")

        def work() -> None:
            for start in range(0, len(payloads), 200):
                with database:
                    rows = [row for trace in payloads[start : start + 200] for row in trace]
                    database.executemany("INSERT INTO span VALUES (?, ?, ?)", rows)

        took = _timed(file, work)
        database.close()
        return took


def _growth(rounds: int) -> dict[str, float]:
    """What a conversation of 200 turns costs, over one of 100, stored call by call."""
    times: dict[int, list[float]] = {100: [], 200: []}
    sizes: dict[int, int] = {}
    for round in range(rounds):
        for turns in times:
            took = _conversation(round, turns)
            times[turns].append(took.cpu)
            sizes[turns] = took.bytes
    least = {turns: min(cpu) for turns, cpu in times.items()}
    return {
        "bytes": round_(sizes[200] / sizes[100]),
        "time": round_(least[200] / least[100]),
    }


def _conversation(seed: int, turns: int) -> Took:
    trace = w9.trace(seed, (1,) * (turns - 1))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "long.db"
        with Store(f"sqlite:///{file}") as store:
            _settle(file)

            def work() -> None:
                store.put(trace.model_copy(update={"calls": (), "spans": ()}))
                for call in trace.calls:
                    store.put(call)
                store.put(*trace.spans)

            return _timed(file, work)
