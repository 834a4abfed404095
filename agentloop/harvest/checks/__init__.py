"""Checks of a training file: what servers refuse, and what they let pass and should not."""

from agentloop.harvest.checks.file import check
from agentloop.harvest.checks.findings import Finding, Level, Report
from agentloop.harvest.checks.mending import Mended, mend

__all__ = ["Finding", "Level", "Mended", "Report", "check", "mend"]
