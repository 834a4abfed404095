"""The same figures and gradients as TRL's, from fewer tokens.

Two savings. The answers to one prompt, and the two sides of a pair, are rows that begin alike, and
TRL computes the prompt once for each: here they become one row with a branch for each answer, in
which an answer sees the prompt and itself. And the next token is only predicted where it is
learned, which TRL does on GPUs alone.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from agentloop.local.inference.attention import Attention

IGNORED = -100

_BRANCHES = 512
"""Tokens of branches that one row has at least room for."""

_PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
"""What TRL's fused head says of each token."""


def save_tokens(model: Any) -> None:
    """Have `model`, to which a trainer of TRL has given a fused head, compute so from now on."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner = model.forward
    attention = Attention.of(model)
    wanted: list[torch.Tensor] = []

    def only_wanted(_module: Any, _given: Any, outputs: Any) -> Any:
        if wanted:
            outputs.last_hidden_state = outputs.last_hidden_state[wanted[-1]][None]
        return outputs

    model.base_model.register_forward_hook(only_wanted)

    @functools.wraps(inner)
    def forward(*args: Any, **given: Any) -> Any:
        plain = not given.get("fused_lm_head") or given.get("labels") is None
        if args or plain or not (given["labels"][:, 1:] != IGNORED).any():
            return inner(*args, **given)
        work = _shared(given, attention) or _whole(given)
        learned = work.labels != IGNORED
        wanted.append(learned)
        try:
            outputs = inner(
                **{**given, **work.inputs, "labels": None}, shift_labels=work.labels[learned][None]
            )
        finally:
            wanted.pop()
        for name in _PER_TOKEN:
            if (value := getattr(outputs, name)) is not None:
                setattr(outputs, name, work.spread(value[0]))
        outputs.label_mask = given["labels"][:, 1:] != IGNORED
        return outputs

    model.forward = forward


@dataclass
class _Work:
    """What is computed instead of what was asked for."""

    inputs: dict[str, Any]
    labels: torch.Tensor
    """For each token of the input the one that follows it, or `IGNORED`."""
    shape: tuple[int, int]
    """Of the figures that TRL expects: rows, and tokens less one."""
    targets: torch.Tensor
    """Where in them, counted flat, the figure of each learned token belongs."""

    def spread(self, value: torch.Tensor) -> torch.Tensor:
        """The figures of the learned tokens, in their order, where TRL looks for them."""
        flat = value.new_zeros(self.shape[0] * self.shape[1])
        return flat.index_put((self.targets,), value).reshape(self.shape)


def _whole(given: dict[str, Any]) -> _Work:
    """The rows as they are."""
    labels_BT = given["labels"]
    rows, tokens = labels_BT.shape
    last_B1 = labels_BT.new_full((rows, 1), IGNORED)
    targets = (labels_BT[:, 1:] != IGNORED).flatten().nonzero()[:, 0]
    return _Work({}, torch.cat([labels_BT[:, 1:], last_B1], 1), (rows, tokens - 1), targets)


def _shared(given: dict[str, Any], attention: Attention) -> _Work | None:
    """The rows with beginnings that several have as one row each; None when all differ."""
    ids_BT, mask_BT = given.get("input_ids"), given.get("attention_mask")
    if ids_BT is None or mask_BT is None or mask_BT.dim() != 2:
        return None
    groups: dict[tuple[int, ...], list[_Branch]] = {}
    tensors = (ids_BT.tolist(), mask_BT.tolist(), given["labels"].tolist())
    for row, (ids, mask, labels) in enumerate(zip(*tensors, strict=True)):
        columns = [n for n, real in enumerate(mask) if real]
        learned = next((k for k, n in enumerate(columns) if labels[n] != IGNORED), 0)
        if not learned:  # nothing is learned, or the very first token is
            return None
        begins = tuple(ids[n] for n in columns[:learned])
        branch = _Branch(row, columns[learned:], ids, labels)
        groups.setdefault(begins, []).append(branch)
    if len(groups) == len(tensors[0]):
        return None
    return _grown(groups, ids_BT, attention)


@dataclass
class _Branch:
    """What one row has beyond its beginning."""

    row: int
    columns: Sequence[int]
    ids: Sequence[int]
    labels: Sequence[int]


def _grown(
    groups: dict[tuple[int, ...], list[_Branch]], like_BT: torch.Tensor, attention: Attention
) -> _Work:
    """One row for each group: what is shared is branch 0, padding is branch -1."""
    rows, columns = like_BT.shape[0], like_BT.shape[1] - 1
    trees: list[list[tuple[int, int, int, int]]] = []
    targets: list[int] = []
    for begins, members in groups.items():
        last = len(begins) - 1
        # Its last token begins every branch: what follows it differs.
        trunk = [(token, IGNORED, place, 0) for place, token in enumerate(begins[:-1])]
        tree = list(trunk)
        for number, branch in enumerate(members, 1):
            if len(tree) > len(trunk) and len(tree) + len(branch.columns) > _longest(trunk):
                trees.append(tree)
                tree = list(trunk)
            before = begins[-1]
            for place, column in enumerate(branch.columns, last):
                label = branch.labels[column]
                if label != IGNORED:
                    targets.append(branch.row * columns + column - 1)
                tree.append((before, label, place, number))
                before = branch.ids[column]
        trees.append(tree)
    length = max(len(tree) for tree in trees)
    padded = [tree + [(0, IGNORED, 0, -1)] * (length - len(tree)) for tree in trees]
    made = torch.tensor(padded, device=like_BT.device).unbind(-1)
    ids, labels, places, branches = (field.contiguous() for field in made)
    inputs = {
        "input_ids": ids,
        "position_ids": places,
        "attention_mask": _masks(attention, places, branches),
    }
    return _Work(inputs, labels, (rows, columns), torch.tensor(targets, device=like_BT.device))


def _longest(trunk: Sequence[Any]) -> int:
    """Attention grows with the square of a row, so what is shared is repeated for many branches."""
    return len(trunk) + max(len(trunk), _BRANCHES)


def _masks(attention: Attention, places_GL: torch.Tensor, branches_GL: torch.Tensor) -> Any:
    """A token sees what is shared and what is before it in its own branch."""
    order = torch.arange(places_GL.shape[1], device=places_GL.device)
    asking, asked = branches_GL[:, :, None], branches_GL[:, None, :]
    seen_GLS = (order[None, :] <= order[:, None]) & ((asked == 0) | (asked == asking))
    return attention.masks(seen_GLS, places_GL[:, :, None] - places_GL[:, None, :])
