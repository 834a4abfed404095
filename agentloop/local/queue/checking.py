"""What is wrong with a training file, in OpenAI's codes and words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agentloop.base.records import Fault, Json, Method, faults
from agentloop.local.disk.atomic import parse

FEWEST = {Method.SFT: 10, Method.DPO: 10, Method.RFT: 1}
"""Rows that a training file must have. OpenAI states 10 for the first two."""


class Complaint(NamedTuple):
    """Why a job fails before it runs; OpenAI's `error` of a job."""

    code: str
    message: str
    param: str | None

    @property
    def wire(self) -> Json:
        """The object on the job."""
        return self._asdict()


def check(path: Path, method: Method, *, param: str, id: str) -> Complaint | None:
    """The first thing that makes the file unfit for the method; None when it is fit.

    Args:
        param: `training_file` or `validation_file`.
        id: what the file is called.
    """
    rows = 0
    what = param.replace("_", " ")
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            rows += 1
            try:
                row = parse(line)
            except ValueError as error:
                return _unfit(
                    param,
                    f"Example {rows} cannot be parsed. Error: line contains invalid json: {error}",
                )
            if kind := _wrong_kind(row, method, id):
                message = f"The job failed due to an invalid {what}. {kind}"
                return Complaint("invalid_training_file", message, param)
            if found := faults(row, method):
                return _complaint(found[0], rows, param)
    fewest = FEWEST[method] if param == "training_file" else 1
    if rows < fewest:
        return Complaint(
            "invalid_n_examples",
            f"{what.capitalize()} has {rows} example(s), but must have at least {fewest} examples",
            param,
        )
    return None


def too_long(row: int, tokens: int, limit: int, param: str) -> Complaint:
    """A row that the model cannot take in. OpenAI cuts such rows; what is cut is not learned."""
    return _unfit(
        param,
        f"Example {row} has {tokens} tokens; the model takes {limit}. Shorten it: nothing is cut "
        "off in silence.",
    )


def not_rendered(row: int, reason: str, param: str) -> Complaint:
    """A row that the model's chat template refuses."""
    return _unfit(param, f"Example {row}: {reason}")


def _complaint(fault: Fault, row: int, param: str) -> Complaint:
    what = param.replace("_", " ")
    if fault.code in ("extra_key", "missing_key"):
        sentence = fault.message
        for general, exact in (("the row contains", "contains"), ("the key", "is missing key")):
            sentence = sentence.replace(general, exact)
        sentence = sentence.removesuffix(" is missing")
        return Complaint(
            "invalid_file_format",
            f"The job failed due to a file format error in the {what}. Invalid file format. "
            f"Example {row} {sentence}",
            param,
        )
    return _unfit(param, f"Example {row}: {fault.message}")


def _unfit(param: str, sentence: str) -> Complaint:
    what = param.replace("_", " ")
    return Complaint(
        "invalid_training_file",
        f"The job failed due to an invalid {what}. Invalid file format. {sentence}",
        param,
    )


def _wrong_kind(row: Any, method: Method, id: str) -> str | None:
    """A row of another method, said as such instead of by the keys that are wrong with it."""
    if not isinstance(row, Mapping):
        return None
    if method is Method.DPO and "messages" in row and "input" not in row:
        kind, other = "fine-tune-chat", Method.SFT
    elif method is not Method.DPO and "input" in row and "messages" not in row:
        kind, other = "fine-tune-preference", Method.DPO
    else:
        return None
    return (
        f"Input file {id} is in the {kind} format, but the specified fine-tuning job is not using "
        f"'{other.wire}' as the training method (provided method={method.wire})."
    )
