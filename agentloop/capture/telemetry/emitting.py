"""Steps and evaluations, into the providers of an application. OpenTelemetry is met here alone."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import blake2b
from threading import local
from typing import Any, NamedTuple

from opentelemetry import _logs, trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    ProxyTracerProvider,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

import agentloop
from agentloop.base.records import SpanKind as Kind
from agentloop.capture.telemetry import names
from agentloop.capture.telemetry.steps import Step
from agentloop.capture.telemetry.where import Telemetry
from agentloop.capture.telemetry.worth import Evaluation

LARGEST = 2**63
"""OpenTelemetry's integers have 64 bits."""

HEX_128 = re.compile(r"(?:trace_)?([0-9a-f]{32})")
HEX_64 = re.compile(r"[0-9a-f]{16}")


def around() -> SpanContext | None:
    """The span of the application that the present code runs in, None outside of any."""
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


class Ids(NamedTuple):
    """The ids of a span."""

    trace: int
    span: int


def ids(trace_id: str, step: str) -> Ids:
    """The ids of a step: the same whenever it is told, so that what is told twice is one span, and
    what is said of it next month finds it."""
    whole = HEX_128.fullmatch(trace_id)
    number = int(whole[1], 16) if whole else _hashed(trace_id, 16)
    span = int(step, 16) if HEX_64.fullmatch(step) else _hashed(f"{trace_id} {step}", 8)
    return Ids(number or 1, span or 1)


def _hashed(text: str, size: int) -> int:
    given = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(given, digest_size=size).digest())


class _Ids(IdGenerator):
    """Gives the ids that were chosen, and otherwise those of the application's own generator."""

    def __init__(self, theirs: IdGenerator) -> None:
        self._theirs = theirs
        self._chosen = local()  # runs are told from several threads

    @contextmanager
    def choosing(self, chosen: Ids) -> Iterator[None]:
        self._chosen.ids = chosen
        try:
            yield
        finally:
            self._chosen.ids = None

    @property
    def _now(self) -> Ids | None:
        return getattr(self._chosen, "ids", None)

    def generate_trace_id(self) -> int:
        return self._now.trace if self._now else self._theirs.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._now.span if self._now else self._theirs.generate_span_id()

    def is_trace_id_random(self) -> bool:
        return self._now is None and self._theirs.is_trace_id_random()


class Emitter:
    """Tells runs to the providers of a `Telemetry`, and to the application's own where it has none.

    They are asked for when something is told: an application may set its own after it has opened
    its loop.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    @property
    def deaf(self) -> bool:
        """Whether nobody listens: no provider is given, and the application has set none."""
        return isinstance(self._provider, ProxyTracerProvider)

    def run(
        self,
        trace_id: str,
        steps: Sequence[Step],
        *,
        evaluations: Iterable[Evaluation] = (),
        under: SpanContext | None = None,
    ) -> None:
        """Tell a run, its outermost step first; and what was said of it, where that is known.

        Args:
            under: the span of the application that the run was part of.
        """
        tracer = self._tracer()
        open_spans: dict[str, trace.Span] = {}
        outside = Context() if under is None else _inside(under)
        for step in steps:
            parent = open_spans.get(step.parent or "")
            context = set_span_in_context(parent, Context()) if parent else outside
            span = self._begun(tracer, ids(trace_id, step.id), step, steps[0], context)
            open_spans[step.id] = span
            if step is steps[0] and not span.is_recording():
                return  # the application's sampler has left this run away
        for said in evaluations:
            about = open_spans.get(said.step or steps[0].id, open_spans[steps[0].id])
            if not self._logged(said, set_span_in_context(about, Context())):
                about.add_event(names.EVALUATION, _plain(said.attributes), _nanoseconds(said.at))
        depth: dict[str | None, int] = {}
        for step in steps:
            depth[step.id] = depth.get(step.parent, 0) + 1
        for step in sorted(steps, key=lambda step: -depth[step.id]):  # the innermost first
            span = open_spans[step.id]
            if step.error:
                span.set_status(Status(StatusCode.ERROR, step.why and _text(step.why)))
                span.set_attribute(names.ERROR_TYPE, step.error)
            span.end(_nanoseconds(step.end or step.start or steps[0].end or steps[0].start))

    def evaluation(self, said: Evaluation, *, root: str, under: SpanContext | None = None) -> None:
        """Tell what was said of a run after it was told: as an event, and where the application
        takes none, as a span of no length that has the event.

        Args:
            root: the step that is the whole run.
        """
        known = ids(said.trace_id, said.step or root)
        number = under.trace_id if under else known.trace
        flags = under.trace_flags if under else TraceFlags(TraceFlags.SAMPLED)
        context = _inside(SpanContext(number, known.span, is_remote=True, trace_flags=flags))
        if self._logged(said, context):
            return
        at = _nanoseconds(said.at)
        span = self._tracer().start_span(
            f"evaluation {_text(said.name)}", context, start_time=at, attributes=None
        )
        span.add_event(names.EVALUATION, _plain(said.attributes), at)
        span.end(at)

    def _begun(
        self, tracer: trace.Tracer, chosen: Ids, step: Step, root: Step, context: Context
    ) -> trace.Span:
        def start() -> trace.Span:
            return tracer.start_span(
                _text(step.name),
                context,
                SpanKind.CLIENT if step.kind is Kind.CALL else SpanKind.INTERNAL,
                _plain(step.attributes),
                start_time=_nanoseconds(step.start or root.start),
                record_exception=False,
            )

        # A tracer that is not the SDK's has ids of its own.
        if isinstance(tracer, Tracer) and isinstance(tracer.id_generator, _Ids):
            with tracer.id_generator.choosing(chosen):
                return start()
        return start()

    def _logged(self, said: Evaluation, context: Context) -> bool:
        """Whether there is somebody who takes events, and took this one."""
        provider = self._telemetry.logger_provider
        if provider is None:
            provider = _logs.get_logger_provider()
            if not isinstance(provider, LoggerProvider):  # none was set
                return False
        logger = provider.get_logger(names.SCOPE, agentloop.__version__, names.SCHEMA_URL)
        logger.emit(
            timestamp=_nanoseconds(said.at),
            context=context,
            severity_number=SeverityNumber.INFO,
            event_name=names.EVALUATION,
            attributes=_plain(said.attributes),
        )
        return True

    @property
    def _provider(self) -> trace.TracerProvider:
        return self._telemetry.tracer_provider or trace.get_tracer_provider()

    def _tracer(self) -> trace.Tracer:
        provider = self._provider
        tracer = provider.get_tracer(names.SCOPE, agentloop.__version__, names.SCHEMA_URL)
        if isinstance(tracer, Tracer) and not isinstance(tracer.id_generator, _Ids):
            tracer.id_generator = _Ids(tracer.id_generator)
        return tracer


def _inside(context: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(context), Context())


def _nanoseconds(moment: datetime | None) -> int | None:
    """Since 1970, exact to the microsecond that the capture knows."""
    if moment is None:
        return None
    seconds = moment.replace(microsecond=0).timestamp()
    return int(seconds) * 1_000_000_000 + moment.microsecond * 1000


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes in what OpenTelemetry's wire can carry."""
    return {_text(name): _carried(value) for name, value in attributes.items()}


def _carried(value: Any) -> Any:
    match value:
        case str():
            return _text(value)
        case bool() | float():
            return value
        case int():
            return value if -LARGEST <= value < LARGEST else str(value)
        case list() | tuple():
            return [_carried(one) for one in value]
    return _text(str(value))


def _text(text: str) -> str:
    """A text that UTF-8 can hold; one that it cannot would take others with it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
