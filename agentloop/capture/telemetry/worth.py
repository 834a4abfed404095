"""Feedback and outcomes as the events that say what a run, or a call of it, was worth."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentloop.base.records import Opinion, Outcome, Source, Trace
from agentloop.base.records.message import verbatim
from agentloop.capture.telemetry import names


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One thing that was said of a step."""

    trace_id: str
    step: str | None
    """The call that it is about; None: the run."""
    at: datetime
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.attributes[names.EVALUATION_NAME])


def evaluation(
    said: Opinion | Outcome, *, content: bool, trace: Trace | None = None
) -> Evaluation | None:
    """The event of an opinion or an outcome; None where it says nothing that may be told: an
    outcome that is not known, a comment where content is not asked for.

    Args:
        trace: the run that it is about, where it is at hand.
    """
    about = _opinion(said, content) if isinstance(said, Opinion) else _outcome(said, content)
    if about is None:
        return None
    step = said.call_id if isinstance(said, Opinion) else None
    calls = {call.id: call for call in trace.calls} if trace else {}
    if step in calls:
        about[names.RESPONSE_ID] = calls[step].response_id
    about[names.TRACE_ID] = said.trace_id
    about[names.CALL_ID] = step
    at = said.given_at if isinstance(said, Opinion) else said.recorded_at
    told = {name: value for name, value in about.items() if value is not None}
    return Evaluation(said.trace_id, step, at, told)


def _opinion(said: Opinion, content: bool) -> dict[str, Any] | None:
    person = said.source is Source.PERSON
    words: dict[str, Any] = {}
    if content:
        correction = said.correction
        words = {
            names.EVALUATION_EXPLANATION: said.comment,
            names.CORRECTION: correction and verbatim(correction.to_dict()).decode(),
        }
    if said.score is None and not any(words.values()):
        return None
    thumbs = {1.0: "up", 0.0: "down"} if person else {}
    return {
        names.EVALUATION_NAME: names.FEEDBACK if person else said.author,
        names.EVALUATION_VALUE: said.score,
        names.EVALUATION_LABEL: thumbs.get(said.score) if said.score is not None else None,
        names.SOURCE: said.source.value,
        names.AUTHOR: said.author,
        **words,
    }


def _outcome(said: Outcome, content: bool) -> dict[str, Any] | None:
    value = said.value
    if value is None:
        return None
    known = content and said.reference is not None
    label = value if isinstance(value, str) else None
    return {
        names.EVALUATION_NAME: said.name,
        names.EVALUATION_VALUE: None if isinstance(value, str) else float(value),
        names.EVALUATION_LABEL: str(value).lower() if isinstance(value, bool) else label,
        names.SOURCE: "outcome",
        names.REFERENCE: verbatim(said.reference).decode() if known else None,
    }
