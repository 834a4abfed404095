"""SFT: learn to write what the assistant wrote, with TRL's SFTTrainer.

Tokens and labels are made here, because TRL knows no `weight` and would cut long rows.
"""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from agentloop.base.errors import RecordError
from agentloop.base.records import Json
from agentloop.local.inference.dialect import MASKED, Dialect, Lesson
from agentloop.local.queue.checking import not_rendered, too_long
from agentloop.local.recipes import SUPERVISED
from agentloop.local.training import settings
from agentloop.local.training.progress import Progress
from agentloop.local.training.report import Unfit
from agentloop.local.training.resuming import run
from agentloop.local.training.task import Task
from agentloop.local.training.thrift import save_tokens


def train(task: Task) -> None:
    """Train and report until the job is done."""
    recipe = task.load(SUPERVISED)
    rows = task.rows("train.jsonl")
    lessons = learn_from(rows, task.dialect, param="training_file")
    valid = learn_from(task.rows("valid.jsonl"), task.dialect, param="validation_file")
    numbers = settings.supervised(task.job.hyperparameters, recipe, len(rows))
    task.report.progress(
        method={"type": "supervised", "supervised": {"hyperparameters": numbers.chosen}}
    )
    longest = max(len(lesson.ids) for lesson in lessons)
    at_once, passes = numbers.passes(numbers.batch_size, longest, recipe)
    progress = Progress(task, model=lambda: trainer.model, validated=bool(valid))
    steps = -(-len(lessons) // numbers.batch_size) * numbers.epochs
    trainer = SFTTrainer(
        model=task.model,
        args=SFTConfig(
            **task.arguments(recipe, numbers, steps),
            num_train_epochs=numbers.epochs,
            per_device_train_batch_size=at_once,
            per_device_eval_batch_size=at_once,
            gradient_accumulation_steps=passes,
            eval_strategy="epoch" if valid else "no",
            logging_steps=max(1, steps // 500),
            max_length=None,
            packing=False,
        ),
        train_dataset=_dataset(lessons),
        eval_dataset=_dataset(valid) if valid else None,
        processing_class=task.dialect.tokenizer,
        peft_config=task.adapter(recipe),
        callbacks=[progress],
    )
    save_tokens(trainer.model)
    if not run(trainer, task, progress):
        return
    task.report.done(
        model=task.tuned_name,
        trained_tokens=sum(len(lesson.ids) for lesson in lessons) * numbers.epochs,
        results=str(progress.results),
    )


def learn_from(rows: Sequence[Json], dialect: Dialect, *, param: str) -> list[Lesson]:
    """The rows as tokens and labels.

    Raises:
        Unfit: a row is longer than the model can take in, or its template refuses it.
    """
    lessons: list[Lesson] = []
    for number, row in enumerate(rows, 1):
        try:
            found = dialect.lessons(row["messages"], _tools(row))
        except RecordError as error:
            raise Unfit(not_rendered(number, str(error), param)) from error
        for lesson in found:
            if len(lesson.ids) > dialect.context:
                raise Unfit(too_long(number, len(lesson.ids), dialect.context, param))
        lessons += found
    return lessons


def _tools(row: Json) -> list[Json]:
    older = [{"type": "function", "function": function} for function in row.get("functions") or ()]
    return [*(row.get("tools") or ()), *older]


def _dataset(lessons: Sequence[Lesson]) -> Any:
    cut = [_without_tail(lesson) for lesson in lessons]
    return Dataset.from_dict(
        {"input_ids": [lesson.ids for lesson in cut], "labels": [lesson.labels for lesson in cut]}
    )


def _without_tail(lesson: Lesson) -> Lesson:
    """What follows the last learned token changes nothing and costs time."""
    end = len(lesson.labels)
    while end and lesson.labels[end - 1] == MASKED:
        end -= 1
    return Lesson(lesson.ids[:end], lesson.labels[:end])
