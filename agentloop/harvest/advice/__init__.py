"""Advice: what the traces there are would teach a model, by which method, and what is missing."""

from agentloop.harvest.advice.evidence import evidence
from agentloop.harvest.advice.figures import Evidence
from agentloop.harvest.advice.rules import Advice, Suggestion, advise

__all__ = ["Advice", "Evidence", "Suggestion", "advise", "evidence"]
