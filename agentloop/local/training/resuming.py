"""Training that can stop and go on in another process: after a pause, a crash, a restart.

Saved are weights, optimizer, schedule, dice and step, by the trainer of transformers itself; what
it does not know of, the figures of the steps so far, is put beside them. Supervised and preference
jobs go on as if nothing had been. A reinforcement job goes on with the same weights and answers
its prompts from there in another order.
"""

import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from agentloop.local.disk.atomic import read_json, write_json
from agentloop.local.disk.standing import stand, standing, to_pause
from agentloop.local.training.progress import Progress, epoch_ends
from agentloop.local.training.task import Task

THRIFT = 20
"""Training goes on for at least so many times as long as the latest save took."""

_STEPS = "steps.json"


def run(trainer: Any, task: Task, progress: Progress) -> bool:
    """Train, from the job's latest saved state where it has one; False when it was paused."""
    shutil.rmtree(trainer.args.output_dir, ignore_errors=True)  # a save that was cut short
    trainer.create_model_card = _no_card
    saves = _Saves(task, progress)
    trainer.add_callback(saves)
    found = standing(task.folder)
    if found is None:
        trainer.train()
    else:
        progress.recall(read_json(found.folder / _STEPS)["steps"])
        trainer.train(resume_from_checkpoint=str(found.folder))
    return not saves.paused


def _no_card(*_: object, **__: object) -> None:
    """TRL describes every saved state in a README. Nobody reads these."""


class _Saves(TrainerCallback):  # type: ignore[misc] # transformers has no types
    """Saves from time to time, and when the job is to be paused.

    At the end of an epoch it does so after the look at the validation file and the checkpoint that
    belong to it, so that neither is left out or made again.
    """

    def __init__(self, task: Task, progress: Progress) -> None:
        self.paused = False
        self._task, self._progress = task, progress
        self._due = time.monotonic() + task.save_every
        self._began = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if not epoch_ends(state):
            self._consider(state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if epoch_ends(state):
            self._consider(state, control)
        else:  # it was cut short by the pause
            control.should_evaluate = False

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        filled = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(filled / _STEPS, {"steps": self._progress.steps})
        stand(self._task.folder, filled, state.global_step)
        now = time.monotonic()
        self._due = now + max(self._task.save_every, THRIFT * (now - self._began))

    def _consider(self, state: Any, control: Any) -> None:
        if state.global_step >= state.max_steps:
            return  # there is nothing to go on with
        self.paused = to_pause(self._task.folder)
        if self.paused or time.monotonic() >= self._due:
            self._began = time.monotonic()
            control.should_save = True
        if self.paused:
            control.should_training_stop = True
