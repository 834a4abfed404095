"""Redaction: rows without anybody's personal data or secrets. The store stays whole."""

from agentloop.harvest.redaction.finding import KINDS, Detector, Finding
from agentloop.harvest.redaction.patterns import Patterns, kinds
from agentloop.harvest.redaction.redactor import Redacted, Redactor

__all__ = ["KINDS", "Detector", "Finding", "Patterns", "Redacted", "Redactor", "kinds", "replaced"]
