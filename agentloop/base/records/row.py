"""Rows: one training example in OpenAI's wire form, and the methods that rows are for."""

import json
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any

from agentloop.base.records.message import canonical, digest
from agentloop.base.records.record import Json, Record


class Method(StrEnum):
    """What a model is to learn: to imitate, a preference, towards a grader's score, or what single
    answers were judged."""

    SFT = "sft"
    DPO = "dpo"
    RFT = "rft"
    KTO = "kto"
    """Not of OpenAI's API: its rows are TRL's, for its `KTOTrainer`."""

    @property
    def wire(self) -> str:
        """OpenAI's name of the method, as in `method.type` of a job; ValueError when the API has
        no such method."""
        if self not in WIRE:
            raise ValueError(f"{self.value} is no method of OpenAI's API")
        return WIRE[self]

    @classmethod
    def of_wire(cls, name: str) -> "Method":
        """The method that OpenAI calls `name`; ValueError when there is none."""
        return next((m for m, theirs in WIRE.items() if theirs == name), None) or cls(name)


WIRE: Mapping[Method, str] = {
    Method.SFT: "supervised",
    Method.DPO: "dpo",
    Method.RFT: "reinforcement",
}
"""The methods of OpenAI's API, and their names there."""


def messages_of(row: Mapping[str, Any], method: Method) -> Any:
    """The messages of a row: of a preference or a judged answer those that it answers."""
    match method:
        case Method.DPO:
            return row["input"]["messages"]
        case Method.KTO:
            return row["prompt"]
    return row["messages"]


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
