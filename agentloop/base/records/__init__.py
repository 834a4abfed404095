"""The nouns. One file each; all of them can be imported from here."""

from agentloop.base.records.complaint import Complaint, complaint
from agentloop.base.records.dataset import Dataset, Funnel, jsonl, manifest
from agentloop.base.records.difference import Difference, Moved, RowPlace
from agentloop.base.records.erasure import Erasure
from agentloop.base.records.example import (
    DPOExample,
    Example,
    KTOExample,
    Refusal,
    Refused,
    RFTExample,
    SFTExample,
    Turns,
)
from agentloop.base.records.fault import Fault, faults
from agentloop.base.records.feedback import Judged, Opinion, Outcome, Settled, Source
from agentloop.base.records.job import Event, Job, Plan, State
from agentloop.base.records.mark import Mark, Reason
from agentloop.base.records.message import Function, Message, ToolCall
from agentloop.base.records.recipe import Recipe
from agentloop.base.records.record import Json, Record, Score, Time, new_id, now
from agentloop.base.records.row import Method, Row
from agentloop.base.records.rules import SERVICES, RowRules
from agentloop.base.records.trace import Api, Call, Span, SpanKind, Trace, Usage
from agentloop.base.records.trial import Interval, Pairs, Tally, Trial, Verdict
from agentloop.base.records.version import AliasMove, Version

__all__ = [
    "SERVICES",
    "AliasMove",
    "Api",
    "Call",
    "Complaint",
    "DPOExample",
    "Dataset",
    "Difference",
    "Erasure",
    "Event",
    "Example",
    "Fault",
    "Function",
    "Funnel",
    "Interval",
    "Job",
    "Json",
    "Judged",
    "KTOExample",
    "Mark",
    "Message",
    "Method",
    "Moved",
    "Opinion",
    "Outcome",
    "Pairs",
    "Plan",
    "RFTExample",
    "Reason",
    "Recipe",
    "Record",
    "Refusal",
    "Refused",
    "Row",
    "RowPlace",
    "RowRules",
    "SFTExample",
    "Score",
    "Settled",
    "Source",
    "Span",
    "SpanKind",
    "State",
    "Tally",
    "Time",
    "ToolCall",
    "Trace",
    "Trial",
    "Turns",
    "Usage",
    "Verdict",
    "Version",
    "complaint",
    "faults",
    "jsonl",
    "manifest",
    "new_id",
    "now",
]
