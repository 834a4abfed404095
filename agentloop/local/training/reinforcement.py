"""RFT: become better in the eyes of a grader, with TRL's GRPOTrainer.

Source of the method: Shao et al., "DeepSeekMath", 2024 (GRPO): each prompt is answered several
times, and an answer is reinforced by how much better it is than the others to the same prompt.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from statistics import fmean
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from agentloop.base.errors import RecordError
from agentloop.base.records import Complaint, Json
from agentloop.graders import Grade, Grader
from agentloop.graders import compile as compiled
from agentloop.local.inference.dialect import Dialect
from agentloop.local.inference.grammar import Unkept
from agentloop.local.queue.checking import not_rendered, too_long
from agentloop.local.recipes import REINFORCEMENT
from agentloop.local.training import settings
from agentloop.local.training.progress import Progress
from agentloop.local.training.report import Unfit
from agentloop.local.training.resuming import run
from agentloop.local.training.rollouts import STEPS, Item, Rollout, Rollouts
from agentloop.local.training.task import Task
from agentloop.local.training.thrift import save_tokens
from agentloop.local.training.tools import Tools


def train(task: Task) -> None:
    """Train and report until the job is done."""
    said = task.job.method["reinforcement"]
    tools = Tools(said.get("tools") or ())
    with compiled(said["grader"], judges=task.judges) as grader, closing(tools):
        _train(task, grader, tools)


def _train(task: Task, grader: Grader, tools: Tools) -> None:
    recipe = task.load(REINFORCEMENT)
    items = ask(task.rows("train.jsonl"), task.dialect, param="training_file")
    valid = ask(task.rows("valid.jsonl"), task.dialect, param="validation_file")
    unoffered(items, tools)
    numbers = settings.reinforcement(task.job.hyperparameters, recipe, len(items))
    method = task.job.method["reinforcement"] | {"hyperparameters": numbers.chosen}
    task.report.progress(method={"type": "reinforcement", "reinforcement": method})
    sequences = numbers.batch_size * numbers.generations
    steps = int(task.job.method["reinforcement"].get("max_episode_steps") or STEPS)
    written = recipe.answer_tokens * (steps if tools.names else 1)
    longest = max(len(item.prompt.ids) for item in items) + written
    longest = min(longest, task.dialect.context)
    at_once, passes = numbers.passes(sequences, longest, recipe)
    rollouts = Rollouts(
        task.dialect,
        grader,
        temperature=recipe.temperature,
        longest=recipe.answer_tokens,
        tools=tools,
        steps=steps,
        response_format=task.job.method["reinforcement"].get("response_format"),
    )
    held(items, rollouts)
    rewards = Rewards(rollouts, items, seed=task.job.seed)
    progress = Progress(task, model=lambda: trainer.model, each_epoch=False, extra=rewards.figures)
    trainer = GRPOTrainer(
        model=task.model,
        reward_funcs=rewards.of,
        args=GRPOConfig(
            **task.arguments(recipe, numbers, numbers.steps),
            max_steps=numbers.steps,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=passes,
            num_generations=numbers.generations,
            max_completion_length=recipe.answer_tokens,
            temperature=recipe.temperature,
            beta=recipe.kl,
            logging_steps=1,
        ),
        train_dataset=Dataset.from_list([{"prompt": str(n)} for n in range(len(items))]),
        processing_class=task.dialect.tokenizer,
        peft_config=task.adapter(recipe),
        rollout_func=rewards.answer,
        callbacks=[progress, Trials(progress, rollouts, valid, numbers, seed=task.job.seed)],
    )
    save_tokens(trainer.model)
    if trainer.ref_model is not None:  # there is one where all weights are trained and `kl` is set
        save_tokens(trainer.ref_model)
    if not run(trainer, task, progress):
        return
    task.report.done(
        model=task.tuned_name,
        trained_tokens=int(trainer.state.num_input_tokens_seen),
        results=str(progress.results),
    )


def ask(rows: Sequence[Json], dialect: Dialect, *, param: str) -> list[Item]:
    """The rows as prompts.

    Raises:
        Unfit: a prompt leaves no room for an answer, or the model's template refuses it.
    """
    items: list[Item] = []
    for number, row in enumerate(rows, 1):
        try:
            prompt = dialect.prompt(row["messages"], row.get("tools"))
        except RecordError as error:
            raise Unfit(not_rendered(number, str(error), param)) from error
        if len(prompt.ids) >= dialect.context:
            raise Unfit(too_long(number, len(prompt.ids), dialect.context, param))
        items.append(Item(row, prompt))
    return items


def unoffered(items: Sequence[Item], tools: Tools) -> None:
    """See that rows offer what is served.

    Raises:
        Unfit: a tool has a server, and no row offers it.
    """
    offered = {tool["function"]["name"] for item in items for tool in item.row.get("tools") or ()}
    if strangers := sorted(tools.names - offered):
        raise Unfit(
            Complaint(
                "invalid_training_file",
                f"The tool {strangers[0]!r} has a server, but no row of the training file has it "
                "among its 'tools', where its schema is what the model sees.",
                "training_file",
            )
        )


def held(items: Sequence[Item], rollouts: Rollouts) -> None:
    """See that answers can be held to what is asked of them.

    Raises:
        Unfit: a schema has what cannot be kept.
    """
    for number, item in enumerate(items, 1):
        try:
            rollouts.bound(item)
        except Unkept as error:
            in_job = error.place == "schema"
            where = "'response_format'" if in_job else f"tool {error.place!r} of example {number}"
            raise Unfit(
                Complaint(
                    "invalid_response_format" if in_job else "invalid_training_file",
                    f"The schema of {where} cannot be kept: {error}",
                    "method.reinforcement.response_format" if in_job else "training_file",
                )
            ) from error


class Rewards:
    """Rollouts and rewards for the trainer, and what is to be told about the latest step."""

    def __init__(self, rollouts: Rollouts, items: Sequence[Item], *, seed: int) -> None:
        self._rollouts, self._items, self._seed = rollouts, items, seed
        self._played: list[Rollout] = []
        self._grades: list[Grade | None] = []
        self._seconds = {"sampling": 0.0, "grading": 0.0}

    def answer(self, prompts: Sequence[str], trainer: Any) -> Json:
        """TRL's `rollout_func`. A prompt is the number of an item: two may read the same."""
        start = time.perf_counter()
        items = [self._items[int(number)] for number in prompts]
        seed = f"{self._seed}/train/{trainer.state.global_step}"
        self._played = self._rollouts.play(trainer.model, items, seed=seed)
        self._seconds["sampling"] = time.perf_counter() - start
        if all(reasons := [one.dropped for one in self._played]):
            raise Unfit(
                Complaint(
                    "tool_server_error",
                    f"No rollout of a step came to an end; a tool's server failed: {reasons[0]}",
                    "method.reinforcement.tools",
                )
            )
        return {
            "prompt_ids": [item.prompt.ids for item in items],
            "completion_ids": [one.ids for one in self._played],
            # Of a dropped rollout nothing is learned, nor of what tools returned.
            "env_mask": [[0] * len(one.ids) if one.dropped else one.own for one in self._played],
            "logprobs": None,
        }

    def of(self, *, prompts: Sequence[str], **_: Any) -> list[float]:
        """TRL's reward function. A dropped rollout is worth what the others for its item are, so
        that these are compared with each other."""
        start = time.perf_counter()
        self._grades = self._rollouts.grade(self._played)
        self._seconds["grading"] = time.perf_counter() - start
        of_item: dict[str, list[float]] = {}
        for number, grade in zip(prompts, self._grades, strict=True):
            if grade is not None:
                of_item.setdefault(number, []).append(grade.reward)
        return [
            fmean(of_item.get(number, [0.0])) if grade is None else grade.reward
            for number, grade in zip(prompts, self._grades, strict=True)
        ]

    def figures(self) -> Json:
        """What an event says besides the trainer's own figures."""
        return {
            **summary([grade for grade in self._grades if grade is not None], "train"),
            **episodes(self._played, "train"),
            "timing": {"step": {k: round(v, 3) for k, v in self._seconds.items()}},
        }


class Trials(TrainerCallback):  # type: ignore[misc] # transformers has no types
    """Looks at the validation file from time to time, and saves the model at the end."""

    def __init__(
        self,
        progress: Progress,
        rollouts: Rollouts,
        valid: Sequence[Item],
        numbers: settings.ReinforcementSettings,
        *,
        seed: int,
    ) -> None:
        self._progress, self._rollouts, self._valid = progress, rollouts, valid
        self._numbers, self._seed = numbers, seed
        self._last = 0

    def on_log(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        model: Any = None,
        **_: Any,
    ) -> None:
        step, end = state.global_step, state.global_step >= state.max_steps
        if step <= self._last:  # TRL logs once more when training has ended
            return
        self._last = step
        if self._valid and (end or step % self._numbers.eval_interval == 0):
            self._progress.tell(state, self._look(model))
            self._progress.checkpoint(state)
        elif end:
            self._progress.checkpoint(state)

    def _look(self, model: Any) -> Json:
        """The mean reward on the validation file; every time with the same dice."""
        asked = [item for item in self._valid for _ in range(self._numbers.eval_samples)]
        played = self._rollouts.play(model, asked, seed=f"{self._seed}/valid")
        grades = [grade for grade in self._rollouts.grade(played) if grade is not None]
        if not grades:  # no server of a tool answers
            return episodes(played, "valid")
        figures = {**summary(grades, "valid"), **episodes(played, "valid")}
        return {
            "full_valid_mean_reward": fmean(grade.reward for grade in grades),
            "full_valid_mean_parse_error": fmean(
                float(grade.errors["sample_parse_error"] is True) for grade in grades
            ),
            **figures,
        }


def summary(grades: Sequence[Grade], split: str) -> Json:
    """Mean rewards of sub-graders and shares of errors, for an event."""
    if not grades:
        return {}
    names = grades[0].sub_rewards
    errors: Mapping[str, object] = grades[0].errors
    shares = {
        flag: fmean(float(grade.errors.get(flag) is True) for grade in grades)
        for flag, value in errors.items()
        if isinstance(value, bool)
    }
    return {
        f"{split}_grader_rewards": {
            name: fmean(grade.sub_rewards.get(name, 0.0) for grade in grades) for name in names
        },
        f"{split}_grader_errors": {flag: share for flag, share in shares.items() if share},
    }


def episodes(rollouts: Sequence[Rollout], split: str) -> Json:
    """How long episodes were, and how many were dropped, for an event; nothing where no tool was
    called."""
    steps = [sum(m["role"] == "assistant" for m in one.messages) for one in rollouts]
    dropped = sum(one.dropped is not None for one in rollouts)
    if max(steps, default=1) < 2 and not dropped:
        return {}
    return {f"{split}_episode_steps_mean": fmean(steps), f"{split}_rollouts_dropped": dropped}
