"""Room 3. Judged traces become training rows: `sft`, `dpo`, `rft`."""

from agentloop.harvest.advice import Advice, advise, evidence
from agentloop.harvest.checks import Finding, Mended, Report, check, mend
from agentloop.harvest.demonstrations import sft
from agentloop.harvest.files import files_of, write
from agentloop.harvest.pipeline import Harvest, drafted, gather
from agentloop.harvest.preferences import Branch, branches, dpo, parted
from agentloop.harvest.questions import found
from agentloop.harvest.redaction import Redactor, kinds
from agentloop.harvest.references import Against
from agentloop.harvest.rewards import BAND, rft
from agentloop.harvest.rows import Cleaning, Draft
from agentloop.harvest.selection import Condition, where
from agentloop.harvest.splits import SIDES
from agentloop.harvest.tokens import Tokens

__all__ = [
    "BAND",
    "SIDES",
    "Advice",
    "Against",
    "Branch",
    "Cleaning",
    "Condition",
    "Draft",
    "Finding",
    "Harvest",
    "Mended",
    "Redactor",
    "Report",
    "Tokens",
    "advise",
    "branches",
    "check",
    "dpo",
    "drafted",
    "evidence",
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
