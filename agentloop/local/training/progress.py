"""Steps become events, checkpoints, a time to finish and a result file."""

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from agentloop.base.records import Json
from agentloop.local.training.task import Task

FIGURES = {
    "loss": "train_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "reward": "train_mean_reward",
    "rewards/accuracies": "train_reward_accuracy",
    "rewards/margins": "train_reward_margin",
    "completions/mean_length": "completion_tokens_mean",
    "completions/clipped_ratio": "completions_cut_ratio",
    "frac_reward_zero_std": "prompts_without_contrast_ratio",
    "eval_loss": "full_valid_loss",
    "eval_mean_token_accuracy": "full_valid_mean_token_accuracy",
    "eval_rewards/accuracies": "full_valid_reward_accuracy",
    "eval_rewards/margins": "full_valid_reward_margin",
}
"""TRL's figures that are told, and their names in OpenAI's events or in their manner."""

_TWINS = {
    "full_valid_loss": "valid_loss",
    "full_valid_mean_token_accuracy": "valid_mean_token_accuracy",
}
"""OpenAI tells both a sample of the validation file and the whole of it; ours is the whole."""

_WORDS = {
    "train_loss": "training loss",
    "train_mean_reward": "train mean reward",
    "valid_loss": "validation loss",
    "full_valid_loss": "full validation loss",
    "full_valid_mean_reward": "full validation mean reward",
}

_COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_mean_token_accuracy": "train_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
    "train_mean_reward": "train_mean_reward",
    "full_valid_mean_reward": "full_valid_mean_reward",
}
"""Figures of the result file, and their columns."""

_SECONDS = 1.0
"""Between two estimates of the time to finish."""


def epoch_ends(state: Any) -> bool:
    """Whether the latest step was the last of its epoch; a pause may end training before that."""
    return bool(state.epoch == int(state.epoch))


class Progress(TrainerCallback):  # type: ignore[misc] # transformers has no types
    """Watches a trainer."""

    def __init__(
        self,
        task: Task,
        *,
        model: Callable[[], Any],
        validated: bool = False,
        each_epoch: bool = True,
        extra: Callable[[], Json] = dict,
    ) -> None:
        """
        Args:
            model: what is saved, when it is time.
            validated: whether each epoch ends with a look at the validation file.
            each_epoch: whether there is a checkpoint at the end of each.
            extra: more figures for the step that was just logged.
        """
        self._task, self._model, self._extra = task, model, extra
        self._validated, self._each_epoch = validated, each_epoch
        self._table: dict[int, Json] = {}
        self._start = self._told = time.time()
        self._first = 0
        """Steps that an earlier process made."""

    @property
    def results(self) -> Path:
        """The result file, written by now."""
        path = self._task.folder / "step_metrics.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(_COLUMNS.values())
            rows.writerows([[row.get(k, "") for k in _COLUMNS] for row in self._table.values()])
        return path

    @property
    def steps(self) -> list[Json]:
        """The figures of every step so far."""
        return list(self._table.values())

    def recall(self, steps: Sequence[Json]) -> None:
        """Go on after `steps`, which an earlier process made."""
        self._table = {row["step"]: row for row in steps}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._start = self._told = time.time()
        self._first = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        now = time.time()
        made = state.global_step - self._first
        if now - self._told >= _SECONDS or made == 1:
            self._told = now
            left = (now - self._start) / made * (state.max_steps - state.global_step)
            self._task.report.progress(estimated_finish=round(now + left))

    def on_log(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        logs: Json | None = None,
        **_: Any,
    ) -> None:
        figures = {FIGURES[key]: value for key, value in (logs or {}).items() if key in FIGURES}
        if "train_loss" in figures:
            self.tell(state, {**figures, **self._extra()})

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if self._each_epoch and not self._validated and epoch_ends(state):
            self.checkpoint(state)

    def on_evaluate(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        metrics: Json | None = None,
        **_: Any,
    ) -> None:
        figures = {FIGURES[k]: value for k, value in (metrics or {}).items() if k in FIGURES}
        twins = {_TWINS[name]: value for name, value in figures.items() if name in _TWINS}
        self.tell(state, {**figures, **twins})
        if self._each_epoch:
            self.checkpoint(state)

    def tell(self, state: Any, figures: Json) -> None:
        """An event of type `metrics` for the present step; adds to what it was said to be."""
        step, steps = state.global_step, state.max_steps
        row = self._table.setdefault(step, {"step": step})
        row.update(figures)
        told = [
            f"{words}={value:.4f}"
            for name, words in _WORDS.items()
            if isinstance(value := row.get(name), int | float)
        ]
        self._task.report.event(
            f"Step {step}/{steps}: {', '.join(told)}",
            type="metrics",
            data={"total_steps": steps, **row},
        )

    def checkpoint(self, state: Any) -> None:
        """Save the model of the present step; that of the last step is the job's result."""
        step = state.global_step
        place = self._task.save(self._model(), step=step, last=step >= state.max_steps)
        self._task.report.checkpoint(str(place), step, self._table.get(step, {"step": step}))
