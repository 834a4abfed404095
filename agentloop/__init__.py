"""agentloop: build agents on the OpenAI Agents SDK, and make them better from use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.base.errors import AgentloopError
    from agentloop.base.records import Dataset, Job, Judged, Plan, Trace, Trial, Verdict, Version
    from agentloop.base.settings import Settings
    from agentloop.capture.telemetry import Telemetry
    from agentloop.loop import AgentLoop, instrument

__version__ = "0.1.0"

_HOMES = {
    "AgentLoop": "agentloop.loop",
    "AgentloopError": "agentloop.base.errors",
    "Dataset": "agentloop.base.records",
    "Job": "agentloop.base.records",
    "Judged": "agentloop.base.records",
    "Plan": "agentloop.base.records",
    "Settings": "agentloop.base.settings",
    "Telemetry": "agentloop.capture.telemetry",
    "Trace": "agentloop.base.records",
    "Trial": "agentloop.base.records",
    "Verdict": "agentloop.base.records",
    "Version": "agentloop.base.records",
    "instrument": "agentloop.loop",
}
"""Public name -> the module it lives in; loaded when it is asked for, so that importing agentloop
costs next to nothing."""

__all__ = [
    "AgentLoop",
    "AgentloopError",
    "Dataset",
    "Job",
    "Judged",
    "Plan",
    "Settings",
    "Telemetry",
    "Trace",
    "Trial",
    "Verdict",
    "Version",
    "instrument",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
