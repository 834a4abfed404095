"""Runs as OpenTelemetry's spans and events, under its GenAI conventions, in the application's own
providers."""

from agentloop.capture.telemetry.live import LiveExport
from agentloop.capture.telemetry.stored import export
from agentloop.capture.telemetry.where import Telemetry

__all__ = ["LiveExport", "Telemetry", "export"]
