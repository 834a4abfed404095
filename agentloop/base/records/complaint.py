"""Complaints: what a fine-tuning server says of a training file, in OpenAI's codes and words.

Source of the strings: replies that people published. Where none is known for a fault, the code is
the nearest and the sentence is ours.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from agentloop.base.records.fault import Fault
from agentloop.base.records.record import Json
from agentloop.base.records.row import Method

TRAINING, VALIDATION = "training_file", "validation_file"
"""The parameters of a job that name a file."""

WORDS = {
    "unanswered_tool_call": "An assistant message with 'tool_calls' must be followed by tool "
    "messages responding to each 'tool_call_id'.",
    "tool_without_call": "Messages with role 'tool' must be a response to a preceding message "
    "with 'tool_calls'.",
}
"""Fault -> what servers say of it; ours follows, for it says where."""

_NO_ROLE = re.compile(r"messages\[(\d+)\] has no role")


class Complaint(NamedTuple):
    """Why a job fails before it runs; OpenAI's `error` of a job."""

    code: str
    message: str
    param: str | None

    @property
    def wire(self) -> Json:
        """The object on the job."""
        return self._asdict()


def complaint(fault: Fault, example: int, *, param: str = TRAINING, file: str = "") -> Complaint:
    """What a server says of a row.

    Args:
        example: the number of the row among the rows, from 1; empty lines do not count.
        param: `training_file` or `validation_file`.
        file: what the server calls the file.
    """
    if fault.code == "wrong_method":
        what = param.replace("_", " ")
        said = fault.message.split("; ")[0].replace("the file", f"Input file {file}".rstrip(), 1)
        return Complaint(
            "invalid_training_file", f"The job failed due to an invalid {what}. {said}.", param
        )
    if fault.code in ("extra_key", "missing_key", "mixed_keys"):
        sentence = fault.message.split("; ")[0] if fault.code == "mixed_keys" else fault.message
        for general, exact in (("the row contains", "contains"), ("the key", "is missing key")):
            sentence = sentence.replace(general, exact)
        sentence = sentence.removesuffix(" is missing")
        return Complaint(
            "invalid_file_format",
            f"The job failed due to a file format error in the {param.replace('_', ' ')}. Invalid "
            f"file format. Example {example} {sentence}",
            param,
        )
    if found := _NO_ROLE.match(fault.message):
        number = int(found[1]) + 1
        return unfit(
            f"Example {example}, message {number} Discriminator 'role' is missing in value", param
        )
    theirs = f"{WORDS[fault.code]} " if fault.code in WORDS else ""
    return unfit(f"Example {example}: {theirs}{fault.message}", param)


def no_json(example: int, reason: str, *, param: str = TRAINING) -> Complaint:
    """A line that cannot be parsed."""
    return unfit(
        f"Example {example} cannot be parsed. Error: line contains invalid json: {reason}", param
    )


def no_lines(line: int, start: str, *, param: str = "file") -> Complaint:
    """An upload whose first line is no JSON object: refused with status 400. Its code is null, so
    the type of the error stands there."""
    return Complaint(
        "invalid_request_error",
        "Expected file to have JSONL format, where every line is a JSON dictionary. "
        f'Line {line} is not a dictionary (HINT: line starts with: "{start}...").',
        param,
    )


def too_few(rows: int, fewest: int, *, param: str = TRAINING) -> Complaint:
    """A file with fewer rows than the server wants."""
    what = param.replace("_", " ").capitalize()
    return Complaint(
        "invalid_n_examples",
        f"{what} has {rows} example(s), but must have at least {fewest} examples",
        param,
    )


def unfit(sentence: str, param: str = TRAINING) -> Complaint:
    """Any other reason to refuse a file."""
    what = param.replace("_", " ")
    return Complaint(
        "invalid_training_file",
        f"The job failed due to an invalid {what}. Invalid file format. {sentence}",
        param,
    )


def wrong_method(row: Mapping[str, Any], method: Method) -> Fault | None:
    """A row of another method, said as such instead of by the keys that are wrong with it."""
    if method is Method.KTO:  # no service has it, and so no complaint
        return None
    if method is Method.DPO and "messages" in row and "input" not in row:
        kind, other = "fine-tune-chat", Method.SFT
    elif method is not Method.DPO and "input" in row and "messages" not in row:
        kind, other = "fine-tune-preference", Method.DPO
    else:
        return None
    return Fault(
        "wrong_method",
        f"the file is in the {kind} format, but the specified fine-tuning job is not using "
        f"'{other.wire}' as the training method (provided method={method.wire}); "
        f"check and train it as {other.value}",
    )
