"""Where a job's training stands: the latest saved state of its trainer, in the job's folder.

jobs/ID/resume-STEP/    weights, optimizer, schedule, dice, steps.json; complete, or not there
jobs/ID/pause           there while the job's process is asked to save and end
"""

from pathlib import Path
from typing import NamedTuple

from agentloop.local.disk.atomic import commit, discard, sweep

_NAME = "resume-"
_PAUSE = "pause"


class Standing(NamedTuple):
    """A state that training can go on from."""

    step: int
    """Steps that were made when it was saved."""
    folder: Path


def standing(job: Path) -> Standing | None:
    """The latest state of the job whose folder is `job`; None when it has none."""
    found = [Standing(int(path.name[len(_NAME) :]), path) for path in job.glob(f"{_NAME}*")]
    return max(found, default=None)


def stand(job: Path, filled: Path, step: int) -> None:
    """Let the folder `filled` be the job's latest state. The one before goes when it is there."""
    place = job / f"{_NAME}{step}"
    commit(filled, place)
    for path in job.glob(f"{_NAME}*"):
        if path != place:
            discard(path)
    sweep(job)


def leave(job: Path) -> None:
    """Nobody will go on with the job: delete its state and what was not finished of one."""
    for path in [*job.glob(f"{_NAME}*"), job / "trainer", job / _PAUSE]:
        discard(path)
    sweep(job)


def ask_to_pause(job: Path, wanted: bool) -> None:
    """Ask the job's process to save and end after its present step; or take that back."""
    if wanted:
        (job / _PAUSE).touch()
    else:
        (job / _PAUSE).unlink(missing_ok=True)


def to_pause(job: Path) -> bool:
    """Whether the job's process is asked to save and end."""
    return (job / _PAUSE).exists()
