"""Rows that begin alike as one tree: every beginning stands once, and is computed once.

All tokens of the tree lie in one row. A linear layer does not mind; attention does, so while such a
row is computed each branch asks its own past: the tokens on the way from the root to it. Suffixes:
`_N` tokens of the tree, `_B` branches, `_Q` tokens that ask, `_K` tokens that are asked, `_H`
heads, `_D` head size.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from agentloop.local.inference.attention import Attention
from agentloop.local.inference.dialect import MASKED
from agentloop.local.inference.prefixes import shared

_KIND = "agentloop_branches_"
"""Beginning of the names under which transformers knows our attention."""

_SPARE = 4096
"""Pairs of tokens that may be computed in vain before a group of branches is not worth it."""


class Branch(NamedTuple):
    """What one row has beyond what it shares with an earlier one."""

    path: Sequence[int]
    """Its tokens from the root on, as places in the tree."""
    shared: int
    """How many of these an earlier branch has brought."""

    @property
    def asks(self) -> int:
        return len(self.path) - self.shared


@dataclass
class Tree:
    """Several rows of a batch; see `grow`."""

    ids: list[int]
    labels: list[int]
    """For each token the one that follows it, or `MASKED`."""
    places: list[int]
    """For each token how many come before it in its row."""
    branches: list[Branch]
    learned: list[tuple[int, int, int]]
    """Row, column of the learned token, and where in the tree it is predicted."""


def grow(ids_BT: Sequence[Sequence[int]], mask_BT: Sequence[Sequence[int]], labels_BT: Any) -> Tree:
    """The tree of a padded batch. Two rows share a token where all before it is the same, and what
    is to be learned of what follows it.

    >>> tree = grow([[5, 6, 7], [5, 6, 8]], [[1, 1, 1]] * 2, [[-100, -100, 7], [-100, -100, 8]])
    >>> tree.ids, tree.labels, [branch.path for branch in tree.branches]
    ([5, 6, 7, 6, 8], [-100, 7, -100, 8, -100], [[0, 1, 2], [0, 3, 4]])
    """
    rows = []
    for row, (ids, mask, labels) in enumerate(zip(ids_BT, mask_BT, labels_BT, strict=True)):
        columns = [n for n, real in enumerate(mask) if real]
        following = [labels[n] for n in columns[1:]] + [MASKED]
        pairs = np.asarray([ids[n] for n in columns], dtype=">i8") << 32
        pairs += np.asarray(following, dtype=np.int64) - MASKED
        rows.append((pairs.tobytes(), row, columns, following, ids))
    rows.sort(key=lambda found: found[0])
    tree = Tree([], [], [], [], [])
    path: list[int] = []
    before = b""
    for keys, row, columns, following, ids in rows:
        common = shared(before, keys, width=8)
        new = range(len(tree.ids), len(tree.ids) + len(columns) - common)
        path = [*path[:common], *new]
        tree.ids += [ids[n] for n in columns[common:]]
        tree.labels += following[common:]
        tree.places += range(common, len(columns))
        if new:
            tree.branches.append(Branch(path, common))
        tree.learned += [
            (row, columns[n + 1], path[n]) for n, label in enumerate(following) if label != MASKED
        ]
        before = keys
    return tree


class _Group(NamedTuple):
    """Branches of similar length, padded to the longest."""

    asking: torch.Tensor
    """`[_B, _Q]`."""
    asked: torch.Tensor
    """`[_B, _K]`."""
    masks: dict[str, torch.Tensor]
    """By kind of layer, see `Attention`."""


class Plan:
    """How the branches of one tree attend, made once for all layers."""

    def __init__(self, tree: Tree, attention: Attention, device: torch.device) -> None:
        self.used = False
        """Whether any layer has asked: a model that passes it on to none computes nonsense."""
        self._groups: list[_Group] = []
        found = [0] * len(tree.ids)
        at = 0
        for branches in _alike(tree.branches):
            asking, asked = branches[0].asks, max(len(branch.path) for branch in branches)
            for n, branch in enumerate(branches):
                for k, place in enumerate(branch.path[branch.shared :]):
                    found[place] = at + n * asking + k
            at += asking * len(branches)
            self._groups.append(_group(branches, asking, asked, attention, device))
        self._found_N = torch.tensor(found, device=device)

    def attend(
        self, inner: Any, module: Any, query: Any, key: Any, value: Any, **options: Any
    ) -> tuple[torch.Tensor, None]:
        """What `inner`, an attention function of transformers, says, branch by branch."""
        self.used = True
        made = []
        for group in self._groups:
            masks = group.masks
            mask = next(iter(masks.values())) if len(masks) == 1 else masks[_kind(module)]
            output_BQHD, _ = inner(
                module,
                _picked(query, group.asking),
                _picked(key, group.asked),
                _picked(value, group.asked),
                mask,
                **options,
            )
            made.append(output_BQHD.flatten(0, 1).flatten(1))
        heads, size = query.shape[1], value.shape[3]
        flat = torch.nn.functional.embedding(self._found_N, torch.cat(made))
        return flat.reshape(1, -1, heads, size), None


def _alike(branches: Sequence[Branch]) -> Iterator[list[Branch]]:
    """The branches in groups, the longest of each first, in which little is computed in vain."""
    group: list[Branch] = []
    useful = longest = 0
    for branch in sorted(branches, key=lambda one: (-one.asks, -len(one.path))):
        asked = max(longest, len(branch.path))
        cost = (len(group) + 1) * (group[0].asks if group else branch.asks) * asked
        needed = useful + branch.asks * len(branch.path)
        if group and cost > 1.5 * needed + _SPARE:
            yield group
            group, asked, needed = [], len(branch.path), branch.asks * len(branch.path)
        group.append(branch)
        useful, longest = needed, asked
    if group:
        yield group


def _group(
    branches: Sequence[Branch], asking: int, asked: int, attention: Attention, device: Any
) -> _Group:
    # Padding asks for, and is, the first token of the tree; what comes of it is not looked at.
    asking_BQ = [[*one.path[one.shared :], *[0] * (asking - one.asks)] for one in branches]
    asked_BK = [[*one.path, *[0] * (asked - len(one.path))] for one in branches]
    starts_B = torch.tensor([one.shared for one in branches], device=device)
    places_BQ = starts_B[:, None] + torch.arange(asking, device=device)
    distance_BQK = places_BQ[:, :, None] - torch.arange(asked, device=device)
    masks = attention.masks(distance_BQK >= 0, distance_BQK)
    return _Group(
        torch.tensor(asking_BQ, device=device),
        torch.tensor(asked_BK, device=device),
        masks if isinstance(masks, dict) else {"": masks},
    )


def _picked(of_1HND: torch.Tensor, places_BQ: torch.Tensor) -> torch.Tensor:
    """`[_B, _H, _Q, _D]`: the gradient of an embedding is the fast way to add up what is shared."""
    heads, _, size = of_1HND.shape[1:]
    flat_NX = of_1HND[0].transpose(0, 1).flatten(1)
    picked = torch.nn.functional.embedding(places_BQ, flat_NX)
    return picked.reshape(*places_BQ.shape, heads, size).transpose(1, 2)


def _kind(module: Any) -> str:
    return str(module.config.get_text_config().layer_types[module.layer_idx])


def prepare(model: Any) -> bool:
    """Have the layers of `model` attend by a plan where its forward is given one, as `branches`,
    and as before where not; whether its make can."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    before = str(model.config._attn_implementation)
    if before.startswith(_KIND):
        return True
    if not model._can_set_attn_implementation():
        return False
    name = _KIND + before
    AttentionInterface.register(name, _attention(before))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[before])
    model.set_attn_implementation(name)
    return bool(model.config._attn_implementation == name)


def _attention(before: str) -> Any:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def attention(
        module: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any,
        branches: Plan | None = None,
        **options: Any,
    ) -> Any:
        # Eager attention is each model's own, beside its layers.
        eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        inner = ALL_ATTENTION_FUNCTIONS.get(before, eager)
        if branches is None:
            return inner(module, query, key, value, attention_mask, **options)
        return branches.attend(inner, module, query, key, value, **options)

    return attention
