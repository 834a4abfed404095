"""Spans that nobody but us listens to: what the SDK's say, for a fraction of what they cost.

The SDK's own spans read the clock as text and the system's randomness at every step of a run. As
long as runs of ours go on and nothing else listens to the SDK's tracing, steps of these runs are
spans of ours, which say the same when they are asked. Whoever else listens, and every other run,
gets the SDK's.
"""

import os
from collections.abc import Callable, Sequence
from contextvars import Token
from datetime import UTC, datetime
from random import Random
from threading import Lock
from time import time_ns
from typing import Any

from agents.tracing import Span, SpanData, SpanError, Trace, get_trace_provider
from agents.tracing.provider import DefaultTraceProvider
from agents.tracing.scope import Scope
from agents.tracing.spans import SpanImpl
from agents.tracing.traces import TraceImpl

from agentloop.capture.processor import SpanProcessor
from agentloop.capture.recorder import CURRENT, Recorder, Run

CREATE = "create_span"
"""The method that is replaced on the SDK's provider while runs go on."""

_random = Random()
"""Its own: an application may begin each of its processes with the same seed."""

_naming = Lock()


def _after_fork() -> None:
    """No two processes make the same ids."""
    global _naming
    _naming = Lock()
    _random.seed()


os.register_at_fork(after_in_child=_after_fork)


class QuickSpan(Span[SpanData]):
    """A step of a run of ours. Its id is made when somebody asks for it."""

    _id: str | None = None
    _begun = _ended = 0
    _error: SpanError | None = None
    _prev_span_token: Token[Span[Any] | None] | None = None
    """The SDK looks for it under this name when a generator is closed."""

    def __init__(self, run: Run, trace: Trace, parent: Span[Any] | None, data: SpanData) -> None:
        self._run = run
        self._trace = trace
        self._parent = parent
        self._data = data

    def start(self, mark_as_current: bool = False) -> None:
        if not self._begun:
            self._begun = time_ns()
            if mark_as_current:
                self._prev_span_token = Scope.set_current_span(self)

    def finish(self, reset_current: bool = False) -> None:
        if self._ended:
            return
        self._ended = time_ns()
        self._run.recorder.stepped(self._run, self)
        if reset_current and self._prev_span_token is not None:
            Scope.reset_current_span(self._prev_span_token)
            self._prev_span_token = None

    def __enter__(self) -> "QuickSpan":
        self._begun = time_ns()
        self._prev_span_token = Scope.set_current_span(self)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is GeneratorExit:  # it may be closed in another context than it was opened in
            SpanImpl.__exit__(self, kind, error, trace)  # type: ignore[arg-type, no-untyped-call]
        else:
            self.finish(reset_current=True)

    def set_error(self, error: SpanError) -> None:
        self._error = error

    @property
    def trace_id(self) -> str:
        return self._trace.trace_id

    @property
    def span_id(self) -> str:
        if self._id is None:
            with _naming:  # the writer may ask at the same time
                self._id = self._id or f"span_{_random.getrandbits(96):024x}"
        return self._id

    @property
    def span_data(self) -> SpanData:
        return self._data

    @property
    def parent_id(self) -> str | None:
        return None if self._parent is None else self._parent.span_id

    @property
    def error(self) -> SpanError | None:
        return self._error

    @property
    def started_at(self) -> str | None:
        return _iso(self._begun)

    @property
    def ended_at(self) -> str | None:
        return _iso(self._ended)

    @property
    def tracing_api_key(self) -> str | None:
        return self._trace.tracing_api_key

    @property
    def trace_metadata(self) -> dict[str, Any] | None:
        return getattr(self._trace, "metadata", None)

    def export(self) -> dict[str, Any] | None:
        processor: Any = None
        same: SpanImpl[SpanData] = SpanImpl(
            self.trace_id,
            self.span_id,
            self.parent_id,
            processor,
            self._data,
            self.tracing_api_key,
            self.trace_metadata,
        )
        same._started_at, same._ended_at = self.started_at, self.ended_at
        same._error = self._error
        return same.export()


def _iso(ns: int) -> str | None:
    if not ns:
        return None
    seconds, rest = divmod(ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1_000)
    return moment.isoformat()


class Quick:
    """The `create_span` of a provider, for steps of runs that only we listen to."""

    def __init__(self, provider: DefaultTraceProvider) -> None:
        self._provider = provider
        self._theirs: Callable[..., Span[Any]] = provider.create_span
        self.forget()

    def forget(self) -> None:
        """Keep nothing of runs that are over."""
        self._looked_at: Any = None
        self._alone: Sequence[Recorder | None] = ()
        """Who listens, when nobody else does."""

    def __call__(
        self,
        span_data: Any,
        span_id: str | None = None,
        parent: Trace | Span[Any] | None = None,
        disabled: bool = False,
    ) -> Span[Any]:
        run = CURRENT.get()
        if run is not None and not disabled and span_id is None and parent is None:
            listeners = self._provider._multi_processor._processors
            if listeners is not self._looked_at:
                self._look_at(listeners)
            if run.recorder in self._alone and not self._provider._disabled:
                trace = Scope.get_current_trace()
                outer = Scope.get_current_span()
                if type(trace) is TraceImpl and (outer is None or type(outer) in NAMED):
                    return QuickSpan(run, trace, outer, span_data)
        return self._theirs(span_data, span_id, parent, disabled)

    def _look_at(self, listeners: Sequence[Any]) -> None:
        ours = [one.recorder for one in listeners if type(one) is SpanProcessor]
        self._alone = ours if len(ours) == len(listeners) else ()
        self._looked_at = listeners


NAMED = (QuickSpan, SpanImpl)
"""Spans that are somewhere in a tree."""


class Quickening:
    """Which providers have their spans made by us, and for how many runs."""

    def __init__(self) -> None:
        self._lock = Lock()  # runs begin and end in several threads
        self._runs: dict[int, tuple[DefaultTraceProvider, int]] = {}
        self._made: Quick | None = None

    def hold(self) -> DefaultTraceProvider | None:
        """Make spans of runs of ours, until `release` is given what this returns."""
        provider = get_trace_provider()
        if type(provider) is not DefaultTraceProvider or not _known(provider):
            return None
        with self._lock:
            _, runs = self._runs.get(id(provider), (provider, 0))
            if not runs and CREATE not in vars(provider):
                if self._made is None or self._made._provider is not provider:
                    self._made = Quick(provider)
                provider.create_span = self._made  # type: ignore[method-assign]
            self._runs[id(provider)] = provider, runs + 1
        return provider

    def release(self, provider: DefaultTraceProvider | None) -> None:
        """Undo one `hold`. After the last the provider is what it was before the first."""
        if provider is None:
            return
        with self._lock:
            runs = self._runs.pop(id(provider))[1] - 1
            if runs:
                self._runs[id(provider)] = provider, runs
            elif isinstance(quick := vars(provider).get(CREATE), Quick):
                quick.forget()
                del provider.create_span


def _known(provider: DefaultTraceProvider) -> bool:
    """Whether it is made as we know it, of which no release of the SDK gives its word."""
    return hasattr(provider, "_refresh_disabled_flag") and hasattr(
        getattr(provider, "_multi_processor", None), "_processors"
    )


QUICK = Quickening()
"""Of this process."""
