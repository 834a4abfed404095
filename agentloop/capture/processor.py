"""The span processor: the tree of steps around the model calls."""

from typing import Any
from weakref import ref

from agents.tracing import Span, Trace, TracingProcessor

from agentloop.capture.recorder import CURRENT, Recorder


class SpanProcessor(TracingProcessor):
    """Records the steps of runs that agentloop started, and no other's.

    Registered once beside the processors that are there already; it replaces none.
    """

    def __init__(self, recorder: Recorder) -> None:
        # The SDK keeps its processors for good; they shall keep nothing of ours.
        self._recorder = ref(recorder)

    @property
    def recorder(self) -> Recorder | None:
        """Who is told; None when that is no longer there."""
        return self._recorder()

    def on_span_end(self, span: Span[Any]) -> None:
        run = CURRENT.get()
        if run is not None and run.recorder is self._recorder():
            run.recorder.stepped(run, span)

    def on_span_start(self, span: Span[Any]) -> None:
        """A step is recorded when it is over."""

    def on_trace_start(self, trace: Trace) -> None:
        """The runner records the run itself: a trace may hold several runs."""

    def on_trace_end(self, trace: Trace) -> None:
        """See `on_trace_start`."""

    def shutdown(self) -> None:
        """The writer is closed by who opened it."""

    def force_flush(self) -> None:
        """See `shutdown`."""
