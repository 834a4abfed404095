"""Broken training files, in OpenAI's codes and words."""

import json

import pytest

from agentloop.base.records import Method
from agentloop.local.queue.checking import check
from tests.local.parrot import SYSTEM, calls, says, user

ROW = {"messages": [SYSTEM, user("hi"), says("Hello!")]}
PAIR = {
    "input": {"messages": [user("hi")]},
    "preferred_output": [says("a")],
    "non_preferred_output": [says("b")],
}
ITEM = {"messages": [user("hi")], "label": "a"}
GOOD = {Method.SFT: ROW, Method.DPO: PAIR, Method.RFT: ITEM}


@pytest.fixture
def complaint(tmp_path):
    def checked(rows, method=Method.SFT, param="training_file"):
        path = tmp_path / "rows.jsonl"
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(text + "\n" for text in texts))
        return check(path, method, param=param, id="file-9")

    return checked


@pytest.mark.parametrize("method", GOOD)
def test_good_rows_are_fit_and_blank_lines_do_not_count(complaint, method):
    assert complaint([GOOD[method], "", *[GOOD[method]] * 9, "  "], method) is None


def test_too_few_rows(complaint):
    found = complaint([ROW] * 9)
    assert found.code == "invalid_n_examples"
    assert found.message == "Training file has 9 example(s), but must have at least 10 examples"
    assert complaint([PAIR] * 9, Method.DPO).code == "invalid_n_examples"
    assert complaint([ITEM], Method.RFT) is None
    assert complaint([ROW], param="validation_file") is None


@pytest.mark.parametrize(
    ("row", "code", "part"),
    [
        ("{oops", "invalid_training_file", "Example 2 cannot be parsed. Error: line contains inv"),
        ({**ROW, "weight": 1}, "invalid_file_format", 'Example 2 contains an extra "weight"'),
        ({"tools": []}, "invalid_file_format", "Example 2 is missing key 'messages'"),
        (
            {"messages": [user("hi"), {"content": "x"}]},
            "invalid_training_file",
            "Example 2, message 2 Discriminator 'role' is missing in value",
        ),
        (
            {"messages": [user("hi"), calls(("f", "{")), says("x")]},
            "invalid_training_file",
            "Example 2: messages[1].tool_calls[0]",
        ),
        (
            PAIR,
            "invalid_training_file",
            "is in the fine-tune-preference format, but the specified fine-tuning job is not using",
        ),
    ],
)
def test_the_first_bad_row_is_named(complaint, row, code, part):
    found = complaint([ROW, row, *[ROW] * 10])
    assert found.code == code
    assert found.param == "training_file"
    assert part in found.message


def test_rows_of_another_method_are_said_to_be(complaint):
    found = complaint([ROW] * 10, Method.DPO)
    assert "fine-tune-chat format" in found.message
    assert "not using 'supervised'" in found.message
    assert "(provided method=dpo)" in found.message


def test_the_validation_file_is_called_by_its_name(complaint):
    found = complaint([{**ROW, "x": 1}], param="validation_file")
    assert found.param == "validation_file"
    assert "in the validation file" in found.message
