"""Room 3. Judged traces become training rows: `sft`, `dpo`, `rft`."""

from agentloop.harvest.advice import Advice, advise, evidence
from agentloop.harvest.checks import Finding, Mended, Report, check, mend
from agentloop.harvest.demonstrations import sft
from agentloop.harvest.exports import Exported, Format, Left, export
from agentloop.harvest.files import files_of, write
from agentloop.harvest.pipeline import SIDES, Harvest, drafted, gather
from agentloop.harvest.preferences import Branch, branches, dpo, parted
from agentloop.harvest.questions import found
from agentloop.harvest.redaction import Redactor, kinds
from agentloop.harvest.rewards import BAND, rft
from agentloop.harvest.rows import Draft
from agentloop.harvest.selection import Condition, where

__all__ = [
    "BAND",
    "SIDES",
    "Advice",
    "Branch",
    "Condition",
    "Draft",
    "Exported",
    "Finding",
    "Format",
    "Harvest",
    "Left",
    "Mended",
    "Redactor",
    "Report",
    "advise",
    "branches",
    "check",
    "dpo",
    "drafted",
    "evidence",
    "export",
    "files_of",
    "found",
    "gather",
    "kinds",
    "mend",
    "parted",
    "rft",
    "sft",
    "where",
    "write",
]
