"""Runs told to OpenTelemetry as they end, from a thread of its own: no run waits for an exporter,
and none fails because of one."""

import logging
import os
import queue
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from agentloop.base.records import Call, Opinion, Outcome, Span, Trace
from agentloop.base.store import Storable, Work
from agentloop.capture.telemetry.steps import Steps
from agentloop.capture.telemetry.tree import tree
from agentloop.capture.telemetry.where import Telemetry
from agentloop.capture.telemetry.worth import Evaluation, evaluation

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

log = logging.getLogger("agentloop.telemetry")

OPEN = 10_000
"""Runs that may go on at once; of more, the oldest is not told."""

WAITING = 1_000
"""Runs and evaluations that may wait for a slow exporter; what comes on top is not told."""

CHARACTERS = 64_000_000
"""About how many characters all of these may hold; a run that goes beyond is not told."""

RECENT = 50_000
"""Runs whose place among the application's own spans is remembered, for what is said of them."""

PATIENCE = 5.0
"""Seconds that `close` waits for a slow exporter."""

PAUSE = 60.0
"""Seconds between two warnings."""


@dataclass(slots=True)
class _Open:
    """A run that goes on."""

    under: "SpanContext | None"
    """The span of the application that it is part of."""
    part: int = 0
    """How often it has been paused."""
    steps: Steps = field(default_factory=Steps)
    weight: int = 0


@dataclass(slots=True)
class _Place:
    """Where a run stands among the application's own spans, and how often it has begun."""

    under: "SpanContext | None"
    parts: int = 0


class _Ended(NamedTuple):
    """A run that is over, and not told yet."""

    trace: Trace
    run: _Open


class LiveExport:
    """Tells each run when it has ended. What cannot be told (nobody listens, an exporter that is
    slow or fails) is left away with a warning; it is stored all the same, and `export` can tell it
    later."""

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        waiting: int = WAITING,
        characters: int = CHARACTERS,
        patience: float = PATIENCE,
    ) -> None:
        from agentloop.capture.telemetry.emitting import Emitter, around

        self._content = telemetry.content
        self._emitter = Emitter(telemetry)
        self._around = around
        self._waiting = waiting
        self._characters = characters
        self._patience = patience
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()  # the writer's thread hears; callers begin runs and say things
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._held = 0
        self._queue: queue.Queue[_Ended | Evaluation | None] = queue.Queue(self._waiting)
        self._quiet_until = 0.0
        self._left_away = 0
        self._thread: Thread | None = None
        """Begun when there is something to tell."""

    def overheard(self, work: Work) -> Work:
        """The same work, with us listening: what it makes is told when its run has ended."""
        # On the caller's thread: nothing but what only this thread can know.
        run = None
        if not callable(work) and isinstance(work, Trace) and work.ended_at is None:
            run = self.began(work)
        return partial(self._overheard, work, run)

    def _overheard(self, work: Work, run: "_Open | None") -> Iterator[Storable]:
        made: Iterable[Storable] = work() if callable(work) else (work,)
        for record in made:
            self.heard(record, run)
            yield record

    def began(self, trace: Trace) -> "_Open":
        """A run begins, in the span of the application that is open now."""
        self._wake()
        run = _Open(self._around())
        with self._lock:
            # What is said of a run is said of its beginning, however often it was paused.
            place = self._places.setdefault(trace.id, _Place(run.under))
            run.part, place.parts = place.parts, place.parts + 1
            if len(self._places) > RECENT:
                self._places.popitem(last=False)
        return run

    def heard(self, record: Storable, run: "_Open | None" = None) -> None:
        """A record was made: the beginning of a run, a part of it, or its end."""
        try:
            if isinstance(record, Call | Span):
                self._take(record)
            elif isinstance(record, Trace) and run is not None:
                with self._lock:
                    self._open[record.id] = run
            elif isinstance(record, Trace):
                self._ended(record)
        except Exception:
            log.exception("a part of trace %s is not told to OpenTelemetry", _trace(record))

    def said(self, feedback: Opinion | Outcome) -> None:
        """Feedback was given, or an outcome came in."""
        self._wake()
        told = evaluation(feedback, content=self._content)
        if told is not None:
            self._put(told)

    def close(self) -> None:
        """Tell what waits, then stop; whatever an exporter does, within `PATIENCE`. Safe to call
        twice."""
        if os.getpid() != self._pid or self._thread is None or not self._thread.is_alive():
            return
        until = monotonic() + self._patience
        try:
            self._queue.put(None, timeout=self._patience)
        except queue.Full:
            pass
        else:
            self._thread.join(max(0.0, until - monotonic()))
        if self._thread.is_alive():
            left = self._queue.qsize()
            log.warning("%d runs or more are not told to OpenTelemetry: it takes too long", left)

    def _wake(self) -> None:
        """Begin anew in a process that was forked: the thread is its parent's."""
        if os.getpid() != self._pid:
            self._begin()

    # ------------------------------------------------------------------ while runs go on

    def _take(self, record: Call | Span) -> None:
        with self._lock:
            run = self._open.get(record.trace_id)
        if run is None:  # it came when its run was over, or had been left away
            return
        step = run.steps.take(record, content=self._content)
        with self._lock:
            run.weight += step.weight
            self._held += step.weight
            too_much = self._held > self._characters or len(self._open) > OPEN
            dropped = self._open.popitem(last=False)[1] if too_much and self._open else None
            self._held -= dropped.weight if dropped else 0
        if dropped:
            self._leave_away("more goes on than is kept in mind")

    def _ended(self, trace: Trace) -> None:
        with self._lock:
            run = self._open.pop(trace.id, None)
        if run is not None:
            self._put(_Ended(trace, run))

    def _put(self, told: _Ended | Evaluation) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="agentloop-telemetry", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait(told)
        except queue.Full:
            self._release(told)
            self._leave_away("more ends than its exporter takes")

    def _release(self, told: _Ended | Evaluation) -> None:
        if isinstance(told, _Ended):
            with self._lock:
                self._held -= told.run.weight

    def _leave_away(self, why: str) -> None:
        self._left_away += 1
        if monotonic() > self._quiet_until:
            self._quiet_until = monotonic() + PAUSE
            log.warning(
                "%d runs or evaluations are not told to OpenTelemetry: %s; they are stored, and "
                "`export_otel` can tell them later",
                self._left_away,
                why,
            )
            self._left_away = 0

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while (told := self._queue.get()) is not None:
            try:
                if self._emitter.deaf:
                    self._leave_away("no tracer provider is set")
                elif isinstance(told, _Ended):
                    self._tell(told)
                else:
                    self._evaluate(told)
            except Exception as error:  # noqa: BLE001 - whatever an exporter does, the next is told
                self._leave_away(f"{type(error).__name__}: {error}")
            finally:
                self._release(told)

    def _tell(self, ended: _Ended) -> None:
        trace, run = ended
        root = _root(trace, run)
        steps = tree(trace, run.steps, root=root, content=self._content)
        self._emitter.run(trace.id, steps, under=run.under)

    def _evaluate(self, said: Evaluation) -> None:
        with self._lock:
            place = self._places.get(said.trace_id)
        under = place.under if place else None
        self._emitter.evaluation(said, root=said.trace_id, under=under)


def _root(trace: Trace, run: _Open) -> str:
    """The step that is the whole run. A run that was paused goes on as one of its own."""
    begun = run.part or run.steps.first or 0
    return f"{trace.id} part {begun}" if begun else trace.id


def _trace(record: Any) -> str:
    return str(getattr(record, "trace_id", None) or getattr(record, "id", None))
