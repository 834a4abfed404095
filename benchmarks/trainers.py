"""One supervised job of the tiny base in a process of its own: by our worker's code, or by TRL
alone with the same tokens and the same settings.

Timed is what happens once everything is imported and the rows are tokens: TRL trains and saves
the model; ours makes tokens of the rows besides, tells of every step and saves checkpoints.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from agentloop.base.records import Json
from agentloop.local.disk.jobs import TuningJob
from agentloop.local.disk.models import Models
from agentloop.local.tiny import NAME, folder
from agentloop.local.training.report import Report
from agentloop.local.training.task import Task
from agentloop.local.worker import QUIET

TRAINERS = ("ours", "trl")
FILE = "file-rows"


def megabytes(process: int | str) -> int | None:
    """The most memory that a process took so far, by its id; None where the system does not say.

    A process that was forked begins with what its parent has, which both share.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM")), None)


def _task(rows: Path, room: Path, epochs: int | str) -> Task:
    """A job on `rows`, whose reports nobody reads."""
    (room / "models").mkdir()
    (room / "train.jsonl").write_bytes(rows.read_bytes())
    numbers = {"n_epochs": epochs, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    job = TuningJob(
        id="ftjob-0123456789",
        created_at=1,
        model=NAME,
        method={"type": "supervised", "supervised": {"hyperparameters": numbers}},
        training_file=FILE,
        seed=7,
    )
    base = Models(room / "models", {NAME: folder()}).get(NAME)
    assert base is not None
    return Task(
        job=job,
        base=base,
        on_base=True,
        tuned_name=job.tuned_name,
        folder=room,
        models=room / "models",
        report=Report(Path(os.devnull).open("wb")),
    )


def _ours(task: Task) -> Callable[[], None]:
    from agentloop.local.training import supervised

    return lambda: supervised.train(task)


def _trl(task: Task) -> Callable[[], None]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from agentloop.local.recipes import SUPERVISED
    from agentloop.local.training import settings
    from agentloop.local.training.supervised import learn_from

    recipe = task.load(SUPERVISED)
    lessons = learn_from(task.rows("train.jsonl"), task.dialect, param="training_file")
    tokens = Dataset.from_dict(
        {"input_ids": [one.ids for one in lessons], "labels": [one.labels for one in lessons]}
    )
    numbers = settings.supervised(task.job.hyperparameters, recipe, len(lessons))
    at_once, passes = numbers.passes(
        numbers.batch_size, max(len(one.ids) for one in lessons), recipe
    )
    steps = -(-len(lessons) // numbers.batch_size) * numbers.epochs

    def train() -> None:
        task.load(SUPERVISED)
        trainer = SFTTrainer(
            model=task.model,
            args=SFTConfig(
                **task.arguments(recipe, numbers, steps),
                num_train_epochs=numbers.epochs,
                per_device_train_batch_size=at_once,
                gradient_accumulation_steps=passes,
                logging_steps=max(1, steps // 500),
                max_length=None,
                packing=False,
            ),
            train_dataset=tokens,
            processing_class=task.dialect.tokenizer,
        )
        trainer.train()
        trainer.save_model(str(task.models / "tuned"))

    return train


def timed(trainer: str, rows: Path, epochs: int | str) -> Json:
    """Seconds, processor seconds and megabytes of one job by one of `TRAINERS`."""
    from agentloop.local.inference.weights import quiet

    quiet()
    prepare: dict[str, Callable[[Task], Callable[[], None]]] = {"ours": _ours, "trl": _trl}
    with tempfile.TemporaryDirectory() as room:
        train = prepare[trainer](_task(rows, Path(room), epochs))
        began, busy = time.perf_counter(), time.process_time()
        train()
        took: dict[str, Any] = {
            "seconds": time.perf_counter() - began,
            "cpu": time.process_time() - busy,
        }
    return {**took, "megabytes": megabytes("self")}


if __name__ == "__main__":
    os.environ |= {name: os.environ.get(name, value) for name, value in QUIET.items()}
    _trainer, _rows, _epochs = sys.argv[1:]
    with redirect_stdout(sys.stderr):  # TRL prints the figures of its steps
        _told = timed(_trainer, Path(_rows), int(_epochs) if _epochs.isdigit() else _epochs)
    print(json.dumps(_told))
