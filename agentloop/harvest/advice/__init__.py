"""Advice: what the traces there are would teach a model, by which method, and what is missing.

Prompt first. Then: to imitate (SFT), a preference (DPO), towards a grader's score (RFT).
"""

from agentloop.harvest.advice.evidence import Evidence, Gathering
from agentloop.harvest.advice.rules import Advice, Suggestion, advise

__all__ = ["Advice", "Evidence", "Gathering", "Suggestion", "advise"]
