"""Room 1. An agent runs; every model call becomes part of a trace."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentloop.capture.instrumenting import instrument, undo
    from agentloop.capture.recorder import Capture, Recorder
    from agentloop.capture.runner import CapturingRunner

_HOMES = {
    "Capture": "recorder",
    "CapturingRunner": "runner",
    "Recorder": "recorder",
    "instrument": "instrumenting",
    "undo": "instrumenting",
}
"""Name -> the module it lives in; loaded when it is asked for, so that who only imports traces does
not load the SDK."""

__all__ = ["Capture", "CapturingRunner", "Recorder", "instrument", "undo"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
