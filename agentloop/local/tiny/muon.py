"""Muon: momentum whose direction is made orthogonal, for the matrices of a small model.

PyTorch's own works in bfloat16, which on a processor without it takes longer than the rest of the
step; this one works in float32 and takes all matrices of one shape at once.

Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the
scale that lets it share AdamW's learning rate: J. Liu et al., "Muon is Scalable for LLM Training",
arXiv:2502.16982.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration; steep at 0, so that five rounds are enough."""
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """For matrices only; embeddings, norms and biases belong to another optimizer."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One step along the orthogonalised momentum (Nesterov)."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum"] = torch.zeros_like(matrix)
                kept = state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
                alike[matrix.shape].append((matrix, matrix.grad.lerp(kept, group["momentum"])))
            for shape, pairs in alike.items():
                directions = orthogonal(torch.stack([direction for _, direction in pairs]))
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for (matrix, _), direction in zip(pairs, directions, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(direction, alpha=-scale)


def orthogonal(matrices_KMN: Tensor) -> Tensor:
    """The nearest matrices with singular values near 1 (0.7 to 1.2), by Newton and Schulz.

    Args:
        matrices_KMN: `K` matrices of `M` rows and `N` columns.
    """
    a, b, c = COEFFICIENTS
    flat = matrices_KMN.mT if matrices_KMN.size(1) > matrices_KMN.size(2) else matrices_KMN
    x: Tensor = flat / flat.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    if matrices_KMN.size(1) > matrices_KMN.size(2):
        x = x.mT
    return x
