"""The job's hyperparameters over the recipe's defaults: what is really done."""

import math
from dataclasses import dataclass

from agentloop.base.records import Json
from agentloop.local.recipes import DpoRecipe, Recipe, ReinforcementRecipe


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Numbers only; nothing is `auto` any more."""

    epochs: int
    batch_size: int
    learning_rate: float
    chosen: Json
    """The job's `hyperparameters` with every `auto` replaced, as OpenAI shows them."""

    def passes(self, sequences: int, longest: int, recipe: Recipe) -> tuple[int, int]:
        """How many of a step's sequences are computed at once, and in how many passes.

        >>> from agentloop.local.recipes import SUPERVISED, TINY
        >>> s = Settings(epochs=1, batch_size=16, learning_rate=1.0, chosen={})
        >>> s.passes(16, 200, SUPERVISED[TINY]), s.passes(16, 8000, SUPERVISED[TINY])
        ((16, 1), (4, 4))
        """
        fit = max(1, recipe.pass_tokens // max(1, longest))
        at_once = max(n for n in range(1, sequences + 1) if sequences % n == 0 and n <= fit)
        return at_once, sequences // at_once


@dataclass(frozen=True, kw_only=True)
class DpoSettings(Settings):
    """With the pull to the reference."""

    beta: float


@dataclass(frozen=True, kw_only=True)
class ReinforcementSettings(Settings):
    """With what is tried and how it is looked at."""

    generations: int
    steps: int
    eval_interval: int
    eval_samples: int


def supervised(given: Json, recipe: Recipe, rows: int) -> Settings:
    """For `rows` rows."""
    epochs = int(_or(given["n_epochs"], recipe.epochs(rows)))
    batch = int(_or(given["batch_size"], recipe.batch_size if rows >= 64 else 8))
    multiplier = float(_or(given["learning_rate_multiplier"], 1.0))
    return Settings(
        epochs=epochs,
        batch_size=batch,
        learning_rate=recipe.learning_rate * multiplier,
        chosen={
            "n_epochs": epochs,
            "batch_size": batch,
            "learning_rate_multiplier": multiplier,
        },
    )


def dpo(given: Json, recipe: DpoRecipe, rows: int) -> DpoSettings:
    """For `rows` pairs."""
    common = supervised(given, recipe, rows)
    beta = float(_or(given["beta"], recipe.beta))
    return DpoSettings(
        epochs=common.epochs,
        batch_size=common.batch_size,
        learning_rate=common.learning_rate,
        beta=beta,
        chosen={**common.chosen, "beta": beta},
    )


def reinforcement(given: Json, recipe: ReinforcementRecipe, rows: int) -> ReinforcementSettings:
    """For `rows` prompts."""
    # TRL leaves out a last batch that is not full, so one larger than the file would be none.
    batch = min(rows, int(_or(given["batch_size"], recipe.batch_size)))
    if given["n_epochs"] == "auto":
        steps = recipe.steps
        epochs = min(50, math.ceil(steps * batch / rows))
    else:
        epochs = int(given["n_epochs"])
        steps = epochs * max(1, rows // batch)
    compute = float(_or(given["compute_multiplier"], 1.0))
    multiplier = float(_or(given["learning_rate_multiplier"], 1.0))
    chosen: Json = {
        "n_epochs": epochs,
        "batch_size": batch,
        "learning_rate_multiplier": multiplier,
        "compute_multiplier": compute,
        "eval_interval": int(_or(given["eval_interval"], recipe.eval_interval)),
        "eval_samples": int(_or(given["eval_samples"], recipe.eval_samples)),
        "reasoning_effort": "default",
    }
    return ReinforcementSettings(
        epochs=epochs,
        batch_size=batch,
        learning_rate=recipe.learning_rate * multiplier,
        # Rewards are compared within the answers to one prompt, so there are at least two.
        generations=max(2, round(recipe.generations * compute)),
        steps=steps,
        eval_interval=int(chosen["eval_interval"]),
        eval_samples=int(chosen["eval_samples"]),
        chosen=chosen,
    )


def _or(given: int | float | str, default: int | float) -> int | float:
    return default if isinstance(given, str) else given
