"""Room 1. An agent runs; every model call becomes part of a trace."""

from agentloop.capture.recorder import Recorder
from agentloop.capture.runner import CapturingRunner

__all__ = ["CapturingRunner", "Recorder"]
