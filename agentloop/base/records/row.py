"""Rows: one training example in OpenAI's wire form, and the methods that rows are for."""

import json
from enum import StrEnum
from hashlib import sha256

from agentloop.base.records.message import canonical, digest
from agentloop.base.records.record import Json, Record


class Method(StrEnum):
    """What a model is to learn: to imitate, a preference, or towards a grader's score."""

    SFT = "sft"
    DPO = "dpo"
    RFT = "rft"

    @property
    def wire(self) -> str:
        """OpenAI's name of the method, as in `method.type` of a job."""
        return {"sft": "supervised", "dpo": "dpo", "rft": "reinforcement"}[self.value]

    @classmethod
    def of_wire(cls, name: str) -> "Method":
        """The method that OpenAI calls `name`; ValueError when there is none."""
        return next((m for m in cls if m.wire == name), None) or cls(name)


class Row(Record):
    """One line of a training file, and where it came from."""

    body: Json
    """The line itself, in the provider's format and nothing else."""
    split: str = "train"
    """`train` or `valid`."""
    traces: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    opinions: tuple[str, ...] = ()
    """Ids of the opinions that the row rests on."""
    producers: tuple[str, ...] = ()
    """Models (or `person:ID`) that wrote what the row teaches."""
    note: Json = {}
    """What else is known: margin and source of a pair, pass rate of a context."""

    @property
    def line(self) -> str:
        """The line as it stands in the file, without a newline."""
        text = json.dumps(self.body, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8; escaped it survives
            return json.dumps(self.body)
        return text

    @property
    def line_sha(self) -> str:
        """The SHA-256 of the line without its newline, in hexadecimal."""
        return sha256(self.line.encode()).hexdigest()

    @property
    def sha(self) -> str:
        """A hash of the content, the same whatever the order of keys."""
        return digest(canonical(self.body))
