"""What led to a comparison is learned again while a preference is learned."""

import pytest

from agentloop.local.inference.dialect import Dialect
from tests.local.parrot import ORDER, TOOLS, result, says, user


@pytest.fixture
def dialect(base):
    return Dialect(base)


def pair(context):
    return {
        "input": {"messages": context, "tools": TOOLS},
        "preferred_output": [says("Shipped.")],
        "non_preferred_output": [says("It is shipped, thank you for waiting.")],
    }


def test_each_turn_of_the_context_becomes_one_tie(dialect):
    from agentloop.local.training.preference import rehearse

    rows = [pair([*ORDER, result("shipped")])] * 3
    (tie,) = rehearse(rows, dialect)
    assert tie.prompt_ids == dialect.prompt(ORDER[:-1], TOOLS).ids
    assert tie.chosen_ids == tie.rejected_ids == dialect.answer(ORDER[:-1], TOOLS, ORDER[-1]).ids


def test_a_context_in_which_the_assistant_said_nothing_has_nothing_to_rehearse(dialect):
    from agentloop.local.training.preference import rehearse

    assert rehearse([pair([ORDER[0], user("hi")])], dialect) == []


def test_a_tie_pulls_towards_neither_side_and_towards_what_was_said(dialect, base):
    """The gradient of a tie is that of learning the turn, as the docstring claims."""
    import torch
    from transformers import AutoModelForCausalLM

    from agentloop.local.training.preference import rehearse

    (tie,) = rehearse([pair([*ORDER, result("shipped")])], dialect)
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.tensor([tie.prompt_ids + tie.chosen_ids])
    start = len(tie.prompt_ids)

    def likelihood():
        logits = model(ids).logits[:, start - 1 : -1]
        return -torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, start:].flatten(), reduction="sum"
        )

    preference = -torch.nn.functional.logsigmoid(0.1 * (likelihood() - likelihood()))
    preference.backward()
    moved = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    assert moved < 1e-6
