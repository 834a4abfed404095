"""Runs that wait for somebody's approval, and go on later, perhaps in another process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from agents import RunState

from agentloop.capture.recorder import Capture, Run


@dataclass(frozen=True, slots=True)
class Paused:
    """A run that waited for approval."""

    trace_id: str
    calls: int
    metadata: dict[str, Any]
    capture: Capture = "full"
    consent: bool = True

    def stricter(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """How the rest of the run is captured: as it was to be, or less than that."""
        said = fields.get("capture", self.capture)
        known = [*get_args(Capture)]
        if said in known:
            said = max(said, self.capture, key=known.index)
        return {"capture": said, "consent": self.consent and fields.get("consent", True)}


def paused(input: Any) -> Paused | None:
    """The run that `input` goes on with, None when it begins a new one."""
    if not isinstance(input, RunState):
        return None
    try:
        told = input.to_json(context_serializer=lambda _: {})
    except Exception:  # noqa: BLE001 - a state that cannot be written down goes on as a new run
        return None
    trace = told.get("trace") or {}
    if not trace.get("id"):
        return None
    metadata = dict(trace.get("metadata") or {})
    capture = metadata.pop(CAPTURE, "full")
    consent = metadata.pop(CONSENT, YES) == YES
    calls = len(told.get("model_responses") or ())
    if capture not in get_args(Capture):
        capture = "metadata"  # of a release that knows more ways than this one
    return Paused(trace["id"], calls, metadata, capture, consent)


CAPTURE, CONSENT = "agentloop.capture", "agentloop.consent"
"""Where, in the metadata of the SDK's trace, a run notes how it is captured: a run that waits for
approval is written down with it, and who goes on with it in another process does not know."""

YES, NO = "yes", "no"


def noted(run: Run) -> dict[str, Any] | None:
    """The metadata for the SDK's trace with the note, None where all is as usual."""
    said: dict[str, str] = {} if run.capture == "full" else {CAPTURE: run.capture}
    said |= {} if run.consent else {CONSENT: NO}
    return {**run.metadata, **said} if said else None
