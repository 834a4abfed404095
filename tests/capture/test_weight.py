"""What is recorded is weighed: the writer is bounded in bytes."""

from types import SimpleNamespace

import pytest

from agentloop.capture import weight

BIG = "x" * 50_000
ITEMS = [
    {"role": "user", "content": BIG},
    {"type": "function_call_output", "call_id": "c", "output": BIG},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": BIG},
    {"role": "user", "content": [{"type": "input_text", "text": BIG}]},
    {"role": "user", "content": [{"type": "input_image", "image_url": BIG, "detail": "low"}]},
]


@pytest.mark.parametrize("item", ITEMS)
def test_what_a_call_adds_is_weighed_wherever_it_stands(item):
    for seen in ([item], [ITEMS[0] | {"content": "short"}, item]):
        assert 50_000 <= weight.of_call(None, seen) < 53_000


def test_a_question_that_is_a_text_and_a_system_prompt_are_weighed():
    assert 100_000 <= weight.of_call(BIG, BIG) < 103_000


def test_what_earlier_calls_brought_is_weighed_once():
    assert weight.of_call(None, ITEMS[:1] * 100) < 500_000


@pytest.mark.parametrize("data", [{"input": BIG}, {"output": BIG}, {"input": [{"text": BIG}]}])
def test_a_step_weighs_what_went_in_and_what_came_out(data):
    assert 50_000 <= weight.of_step(SimpleNamespace(**data)) < 53_000


def test_a_step_without_either_is_light():
    assert weight.of_step(SimpleNamespace(output=None)) == weight.LIGHT
