"""DPO: prefer one answer over another, with TRL's DPOTrainer.

Tokens are made here, so that prompt and answers are what the model sees and writes when it is
served, tool calls included.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from agentloop.base.errors import RecordError
from agentloop.base.records import Json
from agentloop.local.inference import weights
from agentloop.local.inference.dialect import Dialect
from agentloop.local.queue.checking import not_rendered, too_long
from agentloop.local.recipes import DPO
from agentloop.local.training import settings
from agentloop.local.training.progress import Progress
from agentloop.local.training.report import Unfit
from agentloop.local.training.resuming import run
from agentloop.local.training.task import Task
from agentloop.local.training.thrift import save_tokens


class Pair(NamedTuple):
    """One comparison, in tokens."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class PairTrainer(DPOTrainer):  # type: ignore[misc] # TRL has no types
    """TRL's trainer on pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Any, *_: object, **__: object) -> Any:
        return dataset


def train(task: Task) -> None:
    """Train and report until the job is done."""
    recipe = task.load(DPO)
    rows = task.rows("train.jsonl")
    pairs = compare(rows, task.dialect, param="training_file")
    valid = compare(task.rows("valid.jsonl"), task.dialect, param="validation_file")
    numbers = settings.dpo(task.job.hyperparameters, recipe, len(pairs))
    task.report.progress(method={"type": "dpo", "dpo": {"hyperparameters": numbers.chosen}})
    if recipe.rehearse:
        pairs += rehearse(rows, task.dialect)
    # Both answers of a pair are computed together.
    longest = 2 * max(_length(pair) for pair in pairs)
    at_once, passes = numbers.passes(numbers.batch_size, longest, recipe)
    progress = Progress(task, model=lambda: trainer.model, validated=bool(valid))
    steps = -(-len(pairs) // numbers.batch_size) * numbers.epochs
    trainer = PairTrainer(
        model=task.model,
        # An adapter is switched off to ask the reference; whole weights need a second copy.
        ref_model=None if recipe.lora else weights.load(task.base).float(),
        args=DPOConfig(
            **task.arguments(recipe, numbers, steps),
            num_train_epochs=numbers.epochs,
            per_device_train_batch_size=at_once,
            per_device_eval_batch_size=at_once,
            gradient_accumulation_steps=passes,
            eval_strategy="epoch" if valid else "no",
            logging_steps=max(1, steps // 500),
            max_length=None,
            beta=numbers.beta,
            loss_type=list(recipe.losses),
            loss_weights=list(recipe.loss_weights),
        ),
        train_dataset=_dataset(pairs),
        eval_dataset=_dataset(valid) if valid else None,
        processing_class=task.dialect.tokenizer,
        peft_config=task.adapter(recipe),
        callbacks=[progress],
    )
    save_tokens(trainer.model)
    if trainer.ref_model is not None:
        save_tokens(trainer.ref_model)
    if not run(trainer, task, progress):
        return
    tokens = sum(len(ids) for pair in pairs for ids in pair)
    task.report.done(
        model=task.tuned_name,
        trained_tokens=tokens * numbers.epochs,
        results=str(progress.results),
    )


def compare(rows: Sequence[Json], dialect: Dialect, *, param: str) -> list[Pair]:
    """The rows as tokens.

    Raises:
        Unfit: a row is longer than the model can take in, or its template refuses it.
    """
    pairs: list[Pair] = []
    for number, row in enumerate(rows, 1):
        messages, tools = row["input"]["messages"], row["input"].get("tools")
        try:
            pair = Pair(
                dialect.prompt(messages, tools).ids,
                dialect.answer(messages, tools, row["preferred_output"][-1]).ids,
                dialect.answer(messages, tools, row["non_preferred_output"][-1]).ids,
            )
        except RecordError as error:
            raise Unfit(not_rendered(number, str(error), param)) from error
        if _length(pair) > dialect.context:
            raise Unfit(too_long(number, _length(pair), dialect.context, param))
        pairs.append(pair)
    return pairs


def rehearse(rows: Sequence[Json], dialect: Dialect) -> list[Pair]:
    """What the assistant said on the way to each comparison, each once, as ties.

    Pairs are mostly about last answers, and a small model that learns them alone forgets how to
    make the calls before them. In a tie both answers are one, so the preference has no gradient
    and the term for the likelihood of the preferred answer is left: the turn is learned again.
    In the figures of a step ties count as pairs that neither side wins.
    """
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], Pair] = {}
    for row in rows:
        messages, tools = row["input"]["messages"], row["input"].get("tools")
        for n, message in enumerate(messages):
            if message["role"] != "assistant" or message.get("weight") == 0:
                continue
            try:
                prompt = dialect.prompt(messages[:n], tools).ids
                said = dialect.answer(messages[:n], tools, message).ids
            except RecordError:  # a template may refuse a conversation that ends there
                continue
            found.setdefault((tuple(prompt), tuple(said)), Pair(prompt, said, said))
    return list(found.values())


def _length(pair: Pair) -> int:
    return len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids))


def _dataset(pairs: Sequence[Pair]) -> Any:
    return Dataset.from_list([pair._asdict() for pair in pairs])
