"""What is being trained: one fine-tuning job at one provider, and the states it may be in."""

from enum import StrEnum
from typing import Self

from agentloop.base.errors import TransitionError
from agentloop.base.records.record import Json, Record, Time
from agentloop.base.records.row import Method


class State(StrEnum):
    """Where a job stands. `SUBMITTING`: written down here, not known to be at the provider."""

    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_ENDS = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
_GOING = frozenset({State.QUEUED, State.RUNNING, State.PAUSED})

ARROWS: dict[State, frozenset[State]] = {
    State.SUBMITTING: _GOING | _ENDS,
    State.QUEUED: _GOING | _ENDS,
    State.RUNNING: _GOING | _ENDS,
    State.PAUSED: _GOING | _ENDS,
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""Where each state may go next; a provider that restarts may queue a job again. A state with no
arrows is final."""


class Plan(Record):
    """What a job would do and cost, before anything is uploaded."""

    dataset: str
    dataset_sha: str
    method: Method
    provider: str
    base_model: str
    rows: int
    valid_rows: int
    tokens: int
    """Of one epoch over the training rows; an estimate, see `notes`."""
    epochs: int | None = None
    """None: the provider chooses."""
    usd: float | None = 0.0
    """What the provider would bill, an estimate in US dollars; None: its price is not known."""
    hyperparameters: Json = {}
    grader: Json | None = None
    suffix: str | None = None
    seed: int | None = None
    refusals: tuple[str, ...] = ()
    """What the provider would refuse, one sentence each; a plan with refusals cannot be tuned."""
    notes: tuple[str, ...] = ()


class Job(Record):
    """One fine-tuning job. `advance` is the only way to change its state."""

    id: str
    """Ours; the provider carries it as metadata, so that a job is found again after a crash."""
    plan: Plan
    created_at: Time
    provider_job: str | None = None
    """The provider's id, once it has one."""
    base_url: str | None = None
    """The address of the API that runs it."""
    state: State = State.SUBMITTING
    tuned_model: str | None = None
    """Set when, and only when, the job succeeded."""
    error: str | None = None
    trained_tokens: int | None = None
    finished_at: Time | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return not ARROWS[self.state]

    def advance(
        self, to: State, *, tuned_model: str | None = None, error: str | None = None
    ) -> Self:
        """The job in its next state; itself when it is there already.

        Raises:
            TransitionError: no arrow leads from the present state to `to`.
        """
        if to is self.state:
            return self
        if to not in ARROWS[self.state]:
            raise TransitionError(
                f"job {self.id!r} is {self.state.value!r} and cannot become {to.value!r}"
            )
        return self.model_copy(update={"state": to, "tuned_model": tuned_model, "error": error})


class Event(Record):
    """One line of a job's history, as the provider wrote it."""

    id: str
    at: Time
    level: str = "info"
    message: str
    data: Json = {}
    """Metrics, when the event carries them: `step`, `total_steps`, `train_loss`, …"""
