"""A mark on a dataset: what it rests on has changed since it was harvested."""

from enum import StrEnum

from agentloop.base.records.record import Record


class Reason(StrEnum):
    """What has changed since a harvest."""

    FEEDBACK = "feedback"
    """Opinions or outcomes came, were replaced, or were taken back."""
    RUN = "run"
    """The trace itself was stored anew, and says something else."""
    ERASED = "erased"
    """What the row said was erased, with the user whose it was."""


SENTENCES = {
    Reason.FEEDBACK: (
        "rests on feedback that has changed since",
        "rest on feedback that has changed since",
    ),
    Reason.RUN: (
        "rests on a run that was stored anew since",
        "rest on runs that were stored anew since",
    ),
    Reason.ERASED: ("was erased", "were erased"),
}


class Mark(Record):
    """So many rows of a dataset are no longer what a harvest would give."""

    reason: Reason
    rows: int
    total: int
    """Rows of the dataset, erased ones included."""

    @property
    def sentence(self) -> str:
        """`3 of 217 rows rest on feedback that has changed since`."""
        one, many = SENTENCES[self.reason]
        return f"{self.rows} of {self.total} rows {one if self.rows == 1 else many}"
