"""The same figures and gradients as TRL's, from fewer tokens.

Two savings. The rows of a batch begin alike: one agent's system prompt and tools, one prompt's
answers, the two sides of a pair. TRL computes every beginning once for each row; here the rows
become a tree, see `branches`. And the next token is only predicted where it is learned, which TRL
does on GPUs alone.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch

from agentloop.local.inference.attention import Attention
from agentloop.local.inference.dialect import MASKED
from agentloop.local.training.branches import Plan, grow, prepare

_WORTH = 0.9
"""Share of a batch's tokens, padding included, that a tree has at most to be worth it."""

_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
"""What TRL's fused head says of each token."""


def save_tokens(model: Any) -> None:
    """Have `model`, to which a trainer of TRL has given a fused head, compute so from now on."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner = model.forward
    attention = Attention.of(model)
    branching = prepare(model)
    wanted: list[torch.Tensor] = []

    def only_wanted(_module: Any, _given: Any, outputs: Any) -> Any:
        if wanted:
            outputs.last_hidden_state = outputs.last_hidden_state[wanted[-1]][None]
        return outputs

    model.base_model.register_forward_hook(only_wanted)

    def computed(given: dict[str, Any], work: _Work) -> Any:
        learned = work.labels != MASKED
        wanted.append(learned)
        try:
            return inner(
                **{**given, **work.inputs, "labels": None}, shift_labels=work.labels[learned][None]
            )
        finally:
            wanted.pop()

    @functools.wraps(inner)
    def forward(*args: Any, **given: Any) -> Any:
        nonlocal branching
        plain = not given.get("fused_lm_head") or given.get("labels") is None
        if args or plain or not (given["labels"][:, 1:] != MASKED).any():
            return inner(*args, **given)
        work = (_tree(given, attention) if branching else None) or _whole(given)
        outputs = computed(given, work)
        if work.plan is not None and not work.plan.used:
            branching = False  # its layers are not told
            work = _whole(given)
            outputs = computed(given, work)
        for name in _PER_TOKEN:
            if (value := getattr(outputs, name)) is not None:
                setattr(outputs, name, work.spread(value[0]))
        outputs.label_mask = given["labels"][:, 1:] != MASKED
        items = given.get("num_items_in_batch")
        count = outputs.label_mask.sum() if items is None else items
        outputs.loss = -outputs.log_probs.sum() / count
        return outputs

    model.forward = forward


@dataclass
class _Work:
    """What is computed instead of what was asked for."""

    inputs: dict[str, Any]
    labels: torch.Tensor
    """For each token of the input the one that follows it, or `MASKED`."""
    shape: tuple[int, int]
    """Of the figures that TRL expects: rows, and tokens less one."""
    targets: torch.Tensor
    """Where in them, counted flat, the figures of learned tokens belong."""
    sources: torch.Tensor | None = None
    """Which learned token of the input each of these is; None: each one once, in their order."""
    plan: Plan | None = None

    def spread(self, value: torch.Tensor) -> torch.Tensor:
        """The figures of the learned tokens, in their order, where TRL looks for them."""
        if self.sources is not None:
            value = value[self.sources]
        flat = value.new_zeros(self.shape[0] * self.shape[1])
        return flat.index_put((self.targets,), value).reshape(self.shape)


def _whole(given: dict[str, Any]) -> _Work:
    """The rows as they are."""
    labels_BT = given["labels"]
    rows, tokens = labels_BT.shape
    last_B1 = labels_BT.new_full((rows, 1), MASKED)
    targets = (labels_BT[:, 1:] != MASKED).flatten().nonzero()[:, 0]
    return _Work({}, torch.cat([labels_BT[:, 1:], last_B1], 1), (rows, tokens - 1), targets)


def _tree(given: dict[str, Any], attention: Attention) -> _Work | None:
    """The rows as a tree; None when that is hardly smaller."""
    ids_BT, mask_BT, labels_BT = (
        given.get("input_ids"),
        given.get("attention_mask"),
        given["labels"],
    )
    if ids_BT is None or mask_BT is None or mask_BT.dim() != 2:
        return None
    device = ids_BT.device
    rows, width = labels_BT.shape
    tree = grow(ids_BT.tolist(), mask_BT.tolist(), labels_BT.tolist())
    # A row may begin, after its padding, with a token to learn: the tree has nothing before it.
    whole = len(tree.learned) == int((labels_BT[:, 1:] != MASKED).sum())
    if not whole or len(tree.ids) > _WORTH * rows * width:
        return None
    order = {place: n for n, place in enumerate(sorted({at for _, _, at in tree.learned}))}
    plan = Plan(tree, attention, device)
    return _Work(
        inputs={
            "input_ids": torch.tensor([tree.ids], device=device),
            "position_ids": torch.tensor([tree.places], device=device),
            # Prepared already, as far as transformers is concerned; the plan knows better.
            "attention_mask": torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device),
            "branches": plan,
        },
        labels=torch.tensor([tree.labels], device=device),
        shape=(rows, width - 1),
        targets=torch.tensor(
            [row * (width - 1) + column - 1 for row, column, _ in tree.learned], device=device
        ),
        sources=torch.tensor([order[at] for _, _, at in tree.learned], device=device),
        plan=plan,
    )
