"""Tools that fail: the exception that was raised, which the SDK tells neither model nor trace."""

from dataclasses import dataclass
from typing import Any

from agents import get_current_span

from agentloop.capture.recorder import Run, described

UNTOLD = 1_000
"""Exceptions of steps that are not over, at most."""


@dataclass(frozen=True, slots=True)
class Failures:
    """A `tool_error_formatter`: notes the exception for the step that is being made, then does what
    the user's own formatter does, or what the SDK does without one."""

    inner: Any
    run: Run
    whole: bool
    """Whether what the exception says is kept, and not its class alone."""

    def __call__(self, told: Any) -> Any:
        error, step = getattr(told, "error", None), get_current_span()
        if error is not None and step is not None and step.started_at is not None:
            said = described(error) if self.whole else type(error).__name__
            self.run.failures[step.span_id] = said
            if len(self.run.failures) > UNTOLD:  # somebody has taken our span processor away
                del self.run.failures[next(iter(self.run.failures))]
        return None if self.inner is None else self.inner(told)
