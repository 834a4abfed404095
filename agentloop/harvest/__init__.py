"""Room 3. Judged traces become training rows: `sft`, `dpo`, `rft`, `kto`."""

from agentloop.harvest.advice import Advice, Evidence, advise, evidence
from agentloop.harvest.answers import answers
from agentloop.harvest.checks import Finding, Mended, Report, check, mend
from agentloop.harvest.demonstrations import sft
from agentloop.harvest.exports import Exported, Format, Left, export
from agentloop.harvest.files import files_of, write
from agentloop.harvest.folders import Folder
from agentloop.harvest.pipeline import Harvest, drafted, gather
from agentloop.harvest.preferences import Branch, branches, dpo, parted
from agentloop.harvest.questions import found, spans_for
from agentloop.harvest.redaction import Redactor, kinds
from agentloop.harvest.references import Against
from agentloop.harvest.rewards import BAND, rft
from agentloop.harvest.rows import Cleaning, Draft
from agentloop.harvest.selection import Condition, named, where
from agentloop.harvest.splits import SIDES
from agentloop.harvest.tokens import Tokens
from agentloop.harvest.unpaired import kto

__all__ = [
    "BAND",
    "SIDES",
    "Advice",
    "Against",
    "Branch",
    "Cleaning",
    "Condition",
    "Draft",
    "Evidence",
    "Exported",
    "Finding",
    "Folder",
    "Format",
    "Harvest",
    "Left",
    "Mended",
    "Redactor",
    "Report",
    "Tokens",
    "advise",
    "answers",
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
    "kto",
    "mend",
    "named",
    "parted",
    "rft",
    "sft",
    "spans_for",
    "where",
    "write",
]
