"""The next token of each row of a batch, by each row's own rules."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from agentloop.local.inference.grammar import Bound, forbid


@dataclass
class Sampling:
    """How one sequence chooses its tokens."""

    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability; 1.0 keeps all."""
    seed: int | None = None
    """The same seed gives the same choices, whatever else is in the batch."""
    bound: Bound | None = None
    """What it is held to."""
    top: int | None = None
    """Say how likely each token was, and that many of the likeliest; None says nothing."""
    dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)


class Odds(NamedTuple):
    """How likely a token was to the model, before temperature, nucleus and what it is held to."""

    token: int
    logprob: float
    """Natural logarithm of the probability."""
    top: list[tuple[int, float]]
    """The likeliest tokens with theirs, likeliest first."""


def odds(
    logits_BV: torch.Tensor, samplings: Sequence[Sampling], chosen: Sequence[int]
) -> dict[int, Odds]:
    """Those of the chosen tokens, for the rows that say them."""
    rows = [n for n, how in enumerate(samplings) if how.top is not None]
    if not rows:
        return {}
    logprobs_RV = logits_BV[rows].float().log_softmax(-1)
    most = min(logits_BV.shape[1], max(samplings[n].top or 0 for n in rows))
    values_RK, tokens_RK = logprobs_RV.topk(most, -1)
    picked = torch.tensor([chosen[n] for n in rows], device=logits_BV.device)
    own = logprobs_RV.gather(1, picked[:, None])[:, 0].tolist()
    tops = [
        list(zip(tokens, values, strict=True))
        for tokens, values in zip(tokens_RK.tolist(), values_RK.tolist(), strict=True)
    ]
    return {
        n: Odds(chosen[n], logprob, top[: samplings[n].top])
        for n, logprob, top in zip(rows, own, tops, strict=True)
    }


def choose(logits_BV: torch.Tensor, samplings: Sequence[Sampling]) -> list[int]:
    """One token for each row of `logits_BV`, which is left as it is.

    A number drawn by the row's own dice is looked up in its cumulative distribution. So a row
    depends on nothing but its logits and its seed, and the whole batch is one pass.
    """
    bounds = {n: how.bound for n, how in enumerate(samplings) if how.bound is not None}
    if not bounds:
        return _choose(logits_BV, samplings)
    chosen = _choose(forbid(logits_BV, bounds), samplings)
    for n, bound in bounds.items():
        bound.take(chosen[n])
    return chosen


def _choose(logits_BV: torch.Tensor, samplings: Sequence[Sampling]) -> list[int]:
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
