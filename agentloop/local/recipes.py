"""How models are trained unless a job says otherwise: the one table of defaults.

OpenAI's hyperparameters are relative to these: `learning_rate_multiplier` multiplies
`learning_rate`, `compute_multiplier` multiplies `generations`, and `"auto"` takes what stands
here. Each table has a recipe for each size of model.

Where the numbers come from: those of the tiny base were measured on it (300 harvested rows, held
out phrasing); the others are what TRL's and PEFT's documentation recommend and were not measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

TINY, SMALL, LARGE = 50_000_000, 1_500_000_000, 10**15
"""Upper bounds of the sizes, in parameters."""


class Lora(NamedTuple):
    """Train a low-rank adapter on all linear layers instead of the weights."""

    rank: int
    alpha: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all methods have."""

    lora: Lora | None
    """None trains the weights themselves."""
    learning_rate: float
    """At its peak."""
    schedule: str
    """One of transformers' `lr_scheduler_type`."""
    warmup: float
    """Share of the steps in which the learning rate rises."""
    batch_size: int
    """Rows of one step. Reinforcement: prompts, each of which is answered `generations` times."""
    fewest_epochs: int
    most_epochs: int
    rows_seen: int
    """Epochs are as many as it takes to see this many rows, between the two bounds."""
    pass_tokens: int
    """Tokens computed at once, padding included: a step is split into passes of this size."""
    checkpointing: bool
    """Recompute activations instead of keeping them: slower, and far less memory."""
    bf16: bool
    """Compute in bfloat16 where the processor is faster at it."""

    def epochs(self, rows: int) -> int:
        """How often a file of so many rows is gone through.

        >>> SUPERVISED[TINY].epochs(300)
        5
        """
        return max(self.fewest_epochs, min(self.most_epochs, math.ceil(self.rows_seen / rows)))


@dataclass(frozen=True, kw_only=True)
class DpoRecipe(Recipe):
    """What preferences have besides."""

    beta: float
    """Pull towards the model that training started from."""
    losses: tuple[str, ...]
    """TRL's `loss_type`. `sft` keeps the preferred answer likely: without it, a small model learns
    to avoid both answers and forgets how to call tools (measured)."""
    loss_weights: tuple[float, ...]
    rehearse: bool
    """Learn again the turns that led to a comparison, so that they are not forgotten."""


@dataclass(frozen=True, kw_only=True)
class ReinforcementRecipe(Recipe):
    """What reinforcement has besides."""

    generations: int
    """Answers to each prompt; their rewards are compared with each other."""
    steps: int
    """Instead of epochs, when `n_epochs` is `auto`."""
    answer_tokens: int
    """The longest answer."""
    temperature: float
    kl: float
    """Weight of the distance to the model that training started from; 0 leaves it out."""
    eval_interval: int
    """Steps between two looks at the validation file."""
    eval_samples: int
    """Answers to each of its prompts."""


_SFT_TINY = Recipe(
    lora=None,
    learning_rate=1e-3,
    schedule="cosine",
    warmup=0.05,
    batch_size=16,
    fewest_epochs=3,
    most_epochs=12,
    rows_seen=1500,
    pass_tokens=32_768,
    checkpointing=False,
    bf16=True,
)
_SFT_SMALL = replace(
    _SFT_TINY,
    lora=Lora(16, 32),
    learning_rate=2e-4,
    most_epochs=10,
    rows_seen=300,
    pass_tokens=16_384,
    checkpointing=True,
)
_SFT_LARGE = replace(_SFT_SMALL, learning_rate=1e-4, pass_tokens=8_192)

_DPO_TINY = DpoRecipe(
    lora=None,
    learning_rate=1.4e-4,
    schedule="cosine",
    warmup=0.1,
    batch_size=16,
    fewest_epochs=2,
    most_epochs=6,
    rows_seen=300,
    pass_tokens=32_768,
    checkpointing=False,
    bf16=True,
    beta=0.1,
    losses=("sigmoid", "sft"),
    loss_weights=(1.0, 1.0),
    rehearse=True,
)
_DPO_SMALL = replace(
    _DPO_TINY,
    lora=Lora(16, 32),
    rehearse=False,
    learning_rate=2e-5,
    fewest_epochs=1,
    most_epochs=3,
    rows_seen=1000,
    pass_tokens=16_384,
    checkpointing=True,
)
_DPO_LARGE = replace(_DPO_SMALL, learning_rate=1e-5, pass_tokens=8_192)

_RFT_TINY = ReinforcementRecipe(
    lora=None,
    learning_rate=1e-4,
    schedule="linear",
    warmup=0.1,
    batch_size=16,
    fewest_epochs=1,
    most_epochs=50,
    rows_seen=256,
    pass_tokens=32_768,
    checkpointing=False,
    bf16=False,
    generations=8,
    steps=25,
    answer_tokens=128,
    temperature=1.0,
    kl=0.1,
    eval_interval=5,
    eval_samples=1,
)
_RFT_SMALL = replace(
    _RFT_TINY,
    lora=Lora(16, 32),
    learning_rate=2e-5,
    schedule="constant_with_warmup",
    batch_size=8,
    rows_seen=200,
    kl=0.0,
    steps=100,
    pass_tokens=16_384,
    checkpointing=True,
    bf16=True,
    answer_tokens=512,
    eval_interval=10,
)
_RFT_LARGE = replace(_RFT_SMALL, learning_rate=1e-5, pass_tokens=8_192, answer_tokens=1024)

SUPERVISED = {TINY: _SFT_TINY, SMALL: _SFT_SMALL, LARGE: _SFT_LARGE}
DPO = {TINY: _DPO_TINY, SMALL: _DPO_SMALL, LARGE: _DPO_LARGE}
REINFORCEMENT = {TINY: _RFT_TINY, SMALL: _RFT_SMALL, LARGE: _RFT_LARGE}
"""For models of fewer parameters than the key."""


R = TypeVar("R", bound=Recipe)


def recipe(table: Mapping[int, R], parameters: int) -> R:
    """The row of `table` for a model of that size.

    >>> recipe(SUPERVISED, 2_755_392).lora, recipe(SUPERVISED, 600_000_000).lora
    (None, Lora(rank=16, alpha=32))
    """
    return next(found for bound, found in sorted(table.items()) if parameters < bound)
