"""Feedback from elsewhere: one JSON line, one or more opinions and outcomes."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from agentloop.base.errors import RecordError
from agentloop.base.records import Json, Opinion, Outcome, Record
from agentloop.feedback.outcomes import outcome
from agentloop.feedback.people import correction, opinion


class Line(Record):
    """What a line may say."""

    trace: str
    by: str = "import"
    call: str | None = None
    thumbs: str | None = None
    score: float | None = None
    comment: str | None = None
    correction: str | Json | None = None
    outcome: dict[str, Any] = Field(default_factory=dict)
    reference: Any = None

    def said(self, *, answer: str | None) -> Iterator[Opinion | Outcome]:
        """The opinions and outcomes of the line.

        Args:
            answer: the call that a correction is about when the line names none.

        Raises:
            RecordError: it says nothing, or something that cannot be.
        """
        verdict = self.thumbs if self.thumbs is not None else self.score
        comment_alone = self.comment is not None and self.correction is None
        if verdict is not None or comment_alone:
            yield opinion(self.trace, verdict, by=self.by, call=self.call, comment=self.comment)
        if self.correction is not None:
            about = self.call or answer
            if about is None:
                raise RecordError(f"trace {self.trace!r} has no answer that could be corrected")
            yield correction(self.trace, about, self.correction, by=self.by, comment=self.comment)
        for name, value in self.outcome.items():
            yield outcome(self.trace, name, value, reference=self.reference)
        if verdict is None and self.correction is None and not (comment_alone or self.outcome):
            raise RecordError("a line says thumbs, score, comment, correction or outcome")
