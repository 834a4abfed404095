"""Who else listens to the Agents SDK: each with its exporter replaced by one that does nothing,
but MLflow, which has none and stores in SQLite."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agents import set_trace_processors
from agents.tracing import Span, Trace, TracingProcessor, get_trace_provider, set_trace_provider
from agents.tracing.provider import DefaultTraceProvider


class Listener(NamedTuple):
    """The SDK's tracing as somebody has set it up."""

    provider: Any
    settle: Callable[[], Any]
    """Wait until background work is done."""


def fresh() -> Any:
    """The SDK's tracing as new, with nobody listening; what is set up next is set up on it."""
    provider = DefaultTraceProvider()
    set_trace_provider(provider)
    return provider


def sdk(folder: Path) -> Listener:
    """The SDK's own spans alone: what no listener can be cheaper than."""
    provider = fresh()
    set_trace_processors([_Deaf()])
    return Listener(provider, lambda: None)


def opentelemetry(folder: Path) -> Listener:
    """Each of the SDK's spans as a span of OpenTelemetry's SDK, what it says as attributes."""
    tracing = _otel()
    provider = fresh()
    set_trace_processors([_ToOtel(tracing.get_tracer("benchmark"))])
    return Listener(provider, tracing.force_flush)


def openinference(folder: Path) -> Listener:
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    tracing = _otel()
    fresh()
    OpenAIAgentsInstrumentor().instrument(tracer_provider=tracing)
    provider = get_trace_provider()
    OpenAIAgentsInstrumentor()._is_instrumented_by_opentelemetry = False
    return Listener(provider, tracing.force_flush)


def langfuse(folder: Path) -> Listener:
    """As its documentation has it: OpenInference's instrumentor, and Langfuse's own processor."""
    from langfuse import Langfuse
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    tracing = TracerProvider()
    Langfuse(
        public_key="pk-lf-none",
        secret_key="sk-lf-none",
        base_url="http://127.0.0.1:9",
        tracer_provider=tracing,
        span_exporter=_nowhere(),
    )
    fresh()
    OpenAIAgentsInstrumentor().instrument(tracer_provider=tracing)
    provider = get_trace_provider()
    OpenAIAgentsInstrumentor()._is_instrumented_by_opentelemetry = False
    return Listener(provider, tracing.force_flush)


def logfire(folder: Path) -> Listener:
    import logfire as module
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    fresh()
    module.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[BatchSpanProcessor(_nowhere())],
    )
    module.instrument_openai_agents()
    set_trace_processors([])
    return Listener(get_trace_provider(), module.force_flush)


def mlflow(folder: Path) -> Listener:
    import mlflow as module

    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    module.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    module.create_experiment("benchmark", artifact_location=str(folder))
    module.set_experiment("benchmark")
    fresh()
    module.openai.autolog()
    return Listener(get_trace_provider(), module.flush_trace_async_logging)


LISTENERS: dict[str, Callable[[Path], Listener]] = {
    "sdk_spans_alone": sdk,
    "opentelemetry": opentelemetry,
    "openinference": openinference,
    "langfuse": langfuse,
    "logfire": logfire,
    "mlflow": mlflow,
}


def _nowhere() -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    return Nowhere()


def _otel() -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracing = TracerProvider()
    tracing.add_span_processor(BatchSpanProcessor(_nowhere()))
    return tracing


class _Deaf(TracingProcessor):
    def on_trace_start(self, trace: Trace) -> None: ...

    def on_trace_end(self, trace: Trace) -> None: ...

    def on_span_start(self, span: Span[Any]) -> None: ...

    def on_span_end(self, span: Span[Any]) -> None: ...

    def shutdown(self) -> None: ...

    def force_flush(self) -> None: ...


class _ToOtel(_Deaf):
    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer
        self._open: dict[str, Any] = {}

    def on_trace_start(self, trace: Trace) -> None:
        self._open[trace.trace_id] = self._tracer.start_span(trace.name)

    def on_trace_end(self, trace: Trace) -> None:
        self._open.pop(trace.trace_id).end()

    def on_span_start(self, span: Span[Any]) -> None:
        from opentelemetry.trace import set_span_in_context

        parent = self._open.get(span.parent_id or "") or self._open[span.trace_id]
        kind = span.span_data.type
        context = set_span_in_context(parent)
        self._open[span.span_id] = self._tracer.start_span(kind, context)

    def on_span_end(self, span: Span[Any]) -> None:
        open = self._open.pop(span.span_id)
        for name, value in span.span_data.export().items():
            if value is not None:
                said = value if isinstance(value, str) else json.dumps(value, default=str)
                open.set_attribute(name, said)
        open.end()
