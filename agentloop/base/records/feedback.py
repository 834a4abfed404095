"""What it was worth: opinions and outcomes of a trace, and the scores they settle at."""

import math
from enum import StrEnum
from typing import Any

from pydantic import field_validator, model_validator

from agentloop.base.records.message import Message
from agentloop.base.records.record import Json, Record, Score, Time
from agentloop.base.records.trace import Trace


class Source(StrEnum):
    """Who held an opinion. Where opinions differ, a later member outranks an earlier one."""

    RULE = "rule"
    JUDGE = "judge"
    PERSON = "person"

    @property
    def rank(self) -> int:
        return RANKS[self]


RANKS = {source: rank for rank, source in enumerate(Source)}


class Opinion(Record):
    """One opinion about a trace or about one of its calls. None is ever overwritten."""

    id: str
    trace_id: str
    call_id: str | None = None
    """The call it is about; None: the whole trace."""
    source: Source = Source.PERSON
    author: str
    """User id, rule name or judge model: enough to discard everything one author said."""
    score: Score | None = None
    """None when the opinion is a comment or a correction alone."""
    comment: str | None = None
    correction: Message | None = None
    """What the agent should have said; SFT learns it, whatever the score."""
    given_at: Time

    @model_validator(mode="after")
    def _says_something(self) -> "Opinion":
        if self.score is None and self.comment is None and self.correction is None:
            raise ValueError("an opinion has a score, a comment or a correction")
        return self


class Outcome(Record):
    """One named result of a task. It may come long after the run; a later one replaces it."""

    trace_id: str
    name: str
    value: bool | float | str | None = None
    """True or false, a number, a label; None: not known yet, and so is NaN or an infinity."""
    reference: Any = None
    """What would have been right, as JSON; graders compare with it."""
    recorded_at: Time

    @field_validator("value")
    @classmethod
    def _finite(cls, value: bool | float | str | None) -> bool | float | str | None:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    @property
    def score(self) -> float | None:
        """The value as a score: true 1, false 0, a number in [0, 1] itself, else None."""
        if isinstance(self.value, bool):
            return float(self.value)
        if isinstance(self.value, float) and 0.0 <= self.value <= 1.0:
            return self.value
        return None


class Settled(Record):
    """A score, and what kind of judge it rests on: only like rests compare."""

    score: Score
    source: Source


class Judged(Record):
    """A trace, all that was said about it, and the scores that settle it."""

    trace: Trace
    opinions: tuple[Opinion, ...] = ()
    """Oldest first."""
    outcomes: tuple[Outcome, ...] = ()
    settled: Settled | None = None
    """What the whole trace settles at; None while nobody has said."""
    calls: dict[str, Settled] = {}
    """What a call settles at, by its id, where somebody judged that call alone."""

    @property
    def score(self) -> float | None:
        """What the whole trace settles at, None while nobody has said."""
        return self.settled.score if self.settled else None

    def verdict(self, call_id: str) -> Settled | None:
        """What a call is worth: what was said of it alone, else what was said of the trace.

        What was said of the trace is said of its final answer too, so there the higher kind of
        judge decides: a person's thumb down on the run outranks a rule that passed the answer.
        """
        own, whole = self.calls.get(call_id), self.settled
        if own is None or whole is None:
            return own or whole
        final = call_id == self.answer_call
        return whole if final and whole.source.rank > own.source.rank else own

    @property
    def answer_call(self) -> str | None:
        """The call that gave the final answer, None when nothing was said."""
        said = [call.id for call in self.trace.calls if call.output is not None]
        return said[-1] if said else None

    def outcome(self, name: str) -> Outcome | None:
        """The outcome of that name, None when there is none."""
        return next((o for o in self.outcomes if o.name == name), None)

    def measure(self, metric: str) -> float | None:
        """An outcome (or `score`, what the trace settled at) as a number in [0, 1]; None while it
        is not known."""
        if metric == "score":
            return self.score
        outcome = self.outcome(metric)
        return outcome.score if outcome else None

    def correction(self, call_id: str) -> Opinion | None:
        """The latest correction of that call, None when nobody corrected it."""
        given = [o for o in self.opinions if o.correction is not None and o.call_id == call_id]
        return max(given, key=lambda o: o.given_at, default=None)

    def facts(self) -> Json:
        """What a `--where` expression may ask for, by its name there."""
        trace = self.trace
        people = [o for o in self.opinions if o.source is Source.PERSON and o.score is not None]
        last = max(people, key=lambda o: o.given_at, default=None)
        return {
            "score": self.score,
            "thumbs": {1.0: "up", 0.0: "down"}.get(last.score or 0.0) if last else None,
            "author": sorted({o.author for o in self.opinions}),
            "agent": trace.agent,
            "model": trace.calls[-1].model if trace.calls else None,
            "version": trace.version,
            "user": trace.user,
            "task_id": trace.task_id,
            "started_at": trace.started_at.isoformat(),
            "outcome": {o.name: o.value for o in self.outcomes},
            "tag": dict(trace.tags),
            "metadata": trace.metadata,
        }
