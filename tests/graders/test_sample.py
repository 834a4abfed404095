"""A chat message becomes the `sample` that graders read."""

import pytest

from agentloop import graders
from agentloop.graders import sample_of

from .makers import string_check

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_message_with_text_and_calls_fills_both():
    message = {"role": "assistant", "content": "One moment.", "tool_calls": [CALL]}
    assert sample_of(message) == {
        "output_text": "One moment.",
        "output_tools": [CALL],
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
    }


def test_a_message_without_text_has_an_empty_one():
    sample = sample_of({"role": "assistant", "content": None})
    assert (sample["output_text"], sample["output_tools"]) == ("", [])
    assert "output_json" not in sample


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}, {"text": "b"}]
    assert sample_of({"role": "assistant", "content": parts})["output_text"] == "ab"


def test_the_choices_of_the_completion_are_kept_as_they_came():
    choices = [{"index": 0, "finish_reason": "length", "message": {}}]
    assert sample_of({"content": "x"}, choices)["choices"] == choices


@pytest.mark.parametrize(("text", "value"), [('{"a": 1}', {"a": 1}), (" [1] ", [1]), ("42", 42)])
def test_a_text_that_is_json_is_there_as_json_too(text, value):
    assert sample_of({"content": text})["output_json"] == value


@pytest.mark.parametrize("text", ["", "yes", "{'a': 1}", '{"a": NaN}', "Infinity", "[" * 100_000])
def test_a_text_that_is_no_json_is_not(text):
    assert "output_json" not in sample_of({"content": text})


def test_a_plain_text_is_a_sample():
    grader = graders.compile(string_check(input="{{sample.choices[0].message.content}}"))
    assert grader.grade("yes", {"label": "yes"}).reward == 1.0
