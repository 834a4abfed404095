"""The next token of each row of a batch, by each row's own rules."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch


@dataclass
class Sampling:
    """How one sequence chooses its tokens."""

    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability; 1.0 keeps all."""
    seed: int | None = None
    """The same seed gives the same choices, whatever else is in the batch."""
    dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)


def choose(logits_BV: torch.Tensor, samplings: Sequence[Sampling]) -> list[int]:
    """One token for each row of `logits_BV`.

    A number drawn by the row's own dice is looked up in its cumulative distribution. So a row
    depends on nothing but its logits and its seed, and the whole batch is one pass.
    """
    best: list[int] = logits_BV.argmax(-1).tolist()
    rows = [n for n, how in enumerate(samplings) if how.temperature > 0]
    if not rows:
        return best
    hows = [samplings[n] for n in rows]
    device = logits_BV.device
    heat_R1 = torch.tensor([how.temperature for how in hows], device=device)[:, None]
    p_RV = torch.softmax(logits_BV[rows].float() / heat_R1, -1)
    if any(how.top_p < 1 for how in hows):
        p_RV = _nucleus(p_RV, torch.tensor([how.top_p for how in hows], device=device)[:, None])
    # In double precision: single loses the tail of a large vocabulary.
    cumulative_RV = p_RV.double().cumsum(-1)
    draws = torch.tensor([how.dice.random() for how in hows], dtype=torch.double, device=device)
    drawn_R1 = torch.searchsorted(cumulative_RV, draws[:, None] * cumulative_RV[:, -1:], right=True)
    for n, token in zip(rows, drawn_R1[:, 0].tolist(), strict=True):
        best[n] = min(token, logits_BV.shape[1] - 1)
    return best


def _nucleus(p_RV: torch.Tensor, top_p_R1: torch.Tensor) -> torch.Tensor:
    """`p_RV` with the tail beyond `top_p` at zero; the likeliest token always stays."""
    sorted_RV, order_RV = p_RV.sort(-1, descending=True)
    before_RV = sorted_RV.cumsum(-1) - sorted_RV
    sorted_RV = sorted_RV.masked_fill((before_RV >= top_p_R1) & (before_RV > 0), 0.0)
    return torch.zeros_like(p_RV).scatter_(-1, order_RV, sorted_RV)
