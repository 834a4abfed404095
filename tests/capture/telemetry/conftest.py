"""Providers of an application that keep what they are told."""

from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentloop import AgentLoop, Settings


class Application(NamedTuple):
    """The application's own OpenTelemetry, and what it was told."""

    tracer_provider: TracerProvider
    logger_provider: LoggerProvider
    told: InMemorySpanExporter
    heard: InMemoryLogRecordExporter

    @property
    def spans(self) -> dict[str, Any]:
        """The spans by name."""
        return {span.name: span for span in self.told.get_finished_spans()}

    @property
    def tree(self) -> list[tuple[str, str | None]]:
        """The name of each span, and of the one that it is in, as they began."""
        spans = sorted(self.told.get_finished_spans(), key=lambda span: span.start_time or 0)
        names = {span.context.span_id: span.name for span in spans}
        return [(s.name, s.parent and names.get(s.parent.span_id, "?")) for s in spans]

    @property
    def evaluations(self) -> list[Any]:
        """The attributes of each event, and the id of the span that it is of."""
        return [
            (dict(log.log_record.attributes or {}), log.log_record.span_id)
            for log in self.heard.get_finished_logs()
        ]


@pytest.fixture
def application():
    spans, events = InMemorySpanExporter(), InMemoryLogRecordExporter()
    tracers, loggers = TracerProvider(), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(events))
    yield Application(tracers, loggers, spans, events)
    tracers.shutdown()
    loggers.shutdown()


@pytest.fixture
def opened(tmp_path):
    """Opens the store with runs told to OpenTelemetry; closed, it has told them all."""

    def open(otel: Any, **options: Any) -> AgentLoop:
        settings = Settings(spill_dir=tmp_path)
        url = f"sqlite:///{tmp_path}/loop.db"
        return AgentLoop(url, settings=settings, otel=otel, **options)

    return open
