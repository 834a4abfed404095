"""Training from fewer tokens: the same figures and gradients as TRL's."""

import warnings

import pytest
import torch

from tests.local.test_batch import MAKES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl.trainer.utils import add_fused_lm_head

    from agentloop.local.training.thrift import save_tokens

FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1")
PROMPTS = [[5, 6, 7, 8, 9] * 8, [11, 12, 13]]
ANSWERS = [[20, 21, 22], [20, 23], [24], [25, 26, 27, 28] * 8, [20, 21, 22], [29, 30]]
MASKED = 26


def rows(left):
    """Prompts are padded on the left, answers on the right, as TRL's trainers have them."""
    made = []
    for n, answer in enumerate(ANSWERS):
        prompt = PROMPTS[n % 2]
        padding = len(PROMPTS[0]) - len(prompt) if left else 0
        labels = [-100 if token == MASKED else token for token in answer]
        made.append(
            (
                [0] * padding + prompt + answer,
                [0] * padding + [1] * (len(prompt) + len(answer)),
                [-100] * (padding + len(prompt)) + labels,
            )
        )
    width = max(len(ids) for ids, _, _ in made)
    fills = (0, 0, -100)
    return {
        name: torch.tensor([row[n] + [fills[n]] * (width - len(row[n])) for row in made])
        for n, name in enumerate(("input_ids", "attention_mask", "labels"))
    }


@pytest.fixture(params=MAKES)
def make(request):
    def made():
        torch.manual_seed(0)
        model = MAKES[request.param]().train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        add_fused_lm_head(model, outputs=FIELDS)
        return model

    return made


@pytest.mark.parametrize("spare", [4096, 0])
@pytest.mark.parametrize("left", [True, False])
def test_figures_and_gradients_are_the_same(make, left, spare, monkeypatch):
    monkeypatch.setattr("agentloop.local.training.branches._SPARE", spare)
    plain, shared = make(), make()
    save_tokens(shared)
    batch = rows(left)
    if left:  # transformers counts places by columns unless it is told
        places = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        expected = plain(**batch, position_ids=places, fused_lm_head=True, use_cache=False)
    else:
        expected = plain(**batch, fused_lm_head=True, use_cache=False)
    found = shared(**batch, fused_lm_head=True, use_cache=False)
    assert torch.equal(found.label_mask, expected.label_mask)
    for name in FIELDS:
        torch.testing.assert_close(
            getattr(found, name).float(), getattr(expected, name).float(), atol=1e-4, rtol=1e-4
        )
    weights = torch.rand(expected.log_probs.shape, generator=torch.manual_seed(1))
    for outputs in (expected, found):
        (outputs.log_probs * weights).sum().backward()
    for (name, one), other in zip(plain.named_parameters(), shared.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-3, rtol=1e-3, msg=name)


def test_the_tokens_are_fewer(make):
    model = make()
    seen = []
    backbone = model.base_model.forward

    def counting(*args, **given):
        seen.append(given["input_ids"].numel())
        return backbone(*args, **given)

    model.base_model.forward = counting
    model(**rows(left=False), fused_lm_head=True)
    save_tokens(model)
    model(**rows(left=False), fused_lm_head=True)
    assert seen[1] < seen[0] / 2


def test_rows_that_share_nothing_are_the_same_too(make):
    plain, model = make(), make()
    save_tokens(model)
    batch = {k: v[:2] for k, v in rows(left=False).items()}
    expected = plain(**batch, fused_lm_head=True)
    torch.testing.assert_close(model(**batch, fused_lm_head=True).log_probs, expected.log_probs)
    width = batch["input_ids"].shape[1]
    assert model(**batch, fused_lm_head=True).log_probs.shape == (2, width - 1)
    assert model(input_ids=batch["input_ids"]).logits.shape[:2] == batch["input_ids"].shape


def test_recomputed_activations_are_those_of_the_same_branches(make):
    plain, shared = make(), make()
    save_tokens(shared)
    shared.activation_checkpointing_enable()
    batch = rows(left=False)
    for model in (plain, shared):
        model(**batch, fused_lm_head=True, use_cache=False).log_probs.sum().backward()
    for (name, one), other in zip(plain.named_parameters(), shared.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-3, rtol=1e-3, msg=name)


def test_a_model_that_tells_its_layers_nothing_is_computed_whole(make, monkeypatch):
    monkeypatch.setattr("agentloop.local.training.branches.Plan.attend", _deaf)
    plain, shared = make(), make()
    save_tokens(shared)
    batch = rows(left=False)
    expected = plain(**batch, fused_lm_head=True, use_cache=False)
    found = shared(**batch, fused_lm_head=True, use_cache=False)
    torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.loss, expected.loss, atol=1e-4, rtol=1e-4)


def _deaf(_plan, inner, module, query, key, value, **options):
    return inner(module, query, key, value, None, **options)
