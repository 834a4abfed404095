"""What is wrong with a training file, in OpenAI's codes and words."""

from collections.abc import Mapping
from pathlib import Path

from agentloop.base.records import Complaint, Method, complaint, faults
from agentloop.base.records.complaint import TRAINING, no_json, too_few, unfit, wrong_method
from agentloop.local.disk.atomic import parse

FEWEST = {Method.SFT: 10, Method.DPO: 10, Method.RFT: 1}
"""Rows that a training file must have. OpenAI states 10 for the first two."""


def check(path: Path, method: Method, *, param: str, id: str) -> Complaint | None:
    """The first thing that makes the file unfit for the method; None when it is fit.

    Args:
        param: `training_file` or `validation_file`.
        id: what the file is called.
    """
    rows = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            rows += 1
            try:
                row = parse(line)
            except ValueError as error:
                return no_json(rows, str(error), param=param)
            other = wrong_method(row, method) if isinstance(row, Mapping) else None
            if found := [other] if other else faults(row, method):
                return complaint(found[0], rows, param=param, file=id)
    fewest = FEWEST[method] if param == TRAINING else 1
    return too_few(rows, fewest, param=param) if rows < fewest else None


def too_long(row: int, tokens: int, limit: int, param: str) -> Complaint:
    """A row that the model cannot take in. OpenAI cuts such rows; what is cut is not learned."""
    return unfit(
        f"Example {row} has {tokens} tokens; the model takes {limit}. Shorten it: nothing is cut "
        "off in silence.",
        param,
    )


def not_rendered(row: int, reason: str, param: str) -> Complaint:
    """A row that the model's chat template refuses."""
    return unfit(f"Example {row}: {reason}", param)
