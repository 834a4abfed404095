"""Room 3. Judged traces become training rows: `sft`, `dpo`, `rft`."""

from agentloop.harvest.advice import Advice, advise, evidence
from agentloop.harvest.checks import Finding, Mended, Report, check, mend
from agentloop.harvest.demonstrations import sft
from agentloop.harvest.preferences import Branch, branches, dpo, parted
from agentloop.harvest.redaction import Redactor, kinds, replaced
from agentloop.harvest.rewards import BAND, rft
from agentloop.harvest.rows import dataset, write
from agentloop.harvest.selection import Condition, where

__all__ = [
    "BAND",
    "Advice",
    "Branch",
    "Condition",
    "Finding",
    "Mended",
    "Redactor",
    "Report",
    "advise",
    "branches",
    "check",
    "dataset",
    "dpo",
    "evidence",
    "kinds",
    "mend",
    "parted",
    "replaced",
    "rft",
    "sft",
    "where",
    "write",
]
