"""Embedded stores of others, filled with W9 runs over their own interfaces.

Each is given the same payloads as spans, and asked until it shows the last one; None where it is
not installed.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

from agentloop.base.records import Trace
from benchmarks import w9

PATIENCE_SECONDS = 180.0


class Stored(NamedTuple):
    """What storing some runs came to."""

    spans_a_second: float
    bytes_a_span: float


def mlflow(traces: list[Trace]) -> Stored | None:
    """MLflow on SQLite, each trace written when it ends, which is when it can be searched."""
    try:
        import mlflow as module
    except ImportError:
        return None
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        module.set_tracking_uri(f"sqlite:///{file}")
        experiment = module.create_experiment("w9", artifact_location=folder)
        module.set_experiment("w9")
        empty = file.stat().st_size
        began = perf_counter()
        for trace in traces:
            root, *steps = zip(trace.spans, w9.payloads(trace), strict=True)
            with module.start_span(name="run", attributes=root[1]):
                for _, payload in steps:
                    with module.start_span(name=payload["name"], span_type=payload["kind"]) as span:
                        span.set_inputs(payload.get("input"))
                        span.set_attributes({"tools": payload.get("tools")})
                        span.set_outputs(payload.get("output"))
        _until(lambda: len(module.search_traces(locations=[experiment])) >= min(100, len(traces)))
        seconds = perf_counter() - began
        spans = len(traces) * w9.SPANS
        return Stored(spans / seconds, (_size(Path(folder)) - empty) / spans)


def phoenix(traces: list[Trace]) -> Stored | None:
    """Phoenix's server on SQLite, sent OTLP, and asked until it counts all spans."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        __import__("phoenix.version")
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder, phoenix_server(Path(folder)) as (url, _):
        empty = _size(Path(folder))
        tracing = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
        processor = BatchSpanProcessor(exporter, max_queue_size=100_000)
        tracing.add_span_processor(processor)
        tracer = tracing.get_tracer("w9")
        spans = len(traces) * w9.SPANS
        began = perf_counter()
        for trace in traces:
            _, *steps = w9.payloads(trace)
            with tracer.start_as_current_span("run"):
                for payload in steps:
                    with tracer.start_as_current_span(payload["name"]) as span:
                        for name, value in payload.items():
                            span.set_attribute(f"{name}.value", json.dumps(value))
        tracing.force_flush()
        _until(lambda: (_counted(url) or 0) >= spans)
        seconds = perf_counter() - began
        tracing.shutdown()
        return Stored(spans / seconds, (_size(Path(folder)) - empty) / spans)


@contextmanager
def phoenix_server(folder: Path) -> Iterator[tuple[str, int]]:
    """The URL of a Phoenix server on SQLite that answers, and the id of its process."""
    port, grpc = _free(), _free()
    environment = {
        **os.environ,
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    command = [sys.executable, "-m", "phoenix.server.main", "serve"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=environment, **quiet)  # type: ignore[call-overload]
    try:
        url = f"http://127.0.0.1:{port}"
        _until(lambda: _counted(url) is not None)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait()


PEERS: dict[str, Callable[[list[Trace]], Stored | None]] = {"mlflow": mlflow, "phoenix": phoenix}

TRACES = {"mlflow": 80, "phoenix": 200}
"""So many runs are enough for who takes a second for some of them."""


def _counted(url: str) -> int | None:
    """How many spans Phoenix shows, None while it does not answer."""
    query = json.dumps({"query": "{projects{edges{node{recordCount}}}}"}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        with urlopen(Request(f"{url}/graphql", query, headers), timeout=30) as answer:
            edges = json.load(answer)["data"]["projects"]["edges"]
    except (URLError, OSError):
        return None
    return sum(int(edge["node"]["recordCount"]) for edge in edges)


def _until(done: Callable[[], Any]) -> None:
    until = monotonic() + PATIENCE_SECONDS
    while not done():
        if monotonic() > until:
            raise TimeoutError("a peer did not show what it was given")
        sleep(0.1)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
