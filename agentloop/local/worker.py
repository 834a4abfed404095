"""The program of a worker process: `python -m agentloop.local.worker`, one job, then the end.

It imports what training needs, waits for its assignment on standard input, trains, and reports on
standard output. Standard input ending means that the server is gone; then it ends too.
"""

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from agentloop.base.records import Complaint
    from agentloop.local.training.task import Task

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads must not take the server's processor
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


def main() -> int:
    """Exit status 0 when the job's end, good or bad, has been reported."""
    pipe = _reports()
    os.environ |= {name: os.environ.get(name, value) for name, value in QUIET.items()}
    _prepare()
    order = sys.stdin.buffer.readline()
    if not order:
        return 0
    threading.Thread(target=_end_with_server, daemon=True).start()
    assignment = json.loads(order)
    _write_errors_to(Path(assignment["folder"]) / "log")
    from agentloop.local.training.report import Report, Unfit
    from agentloop.local.training.task import Task

    report = Report(pipe)
    try:
        _train(Task.of(assignment, report))
    except Unfit as error:
        report.failed(error.complaint)
    except Exception as error:  # noqa: BLE001 - the server is told of whatever it was
        traceback.print_exc()
        report.failed(_unexpected(error))
    return 0


def _prepare() -> None:
    """Import everything that takes long, before there is a job."""
    from agentloop.local.inference.weights import quiet
    from agentloop.local.training import preference, reinforcement, supervised  # noqa: F401

    quiet()


def _train(task: "Task") -> None:
    from agentloop.local.training import preference, reinforcement, supervised

    methods = {
        "supervised": supervised.train,
        "dpo": preference.train,
        "reinforcement": reinforcement.train,
    }
    methods[task.job.kind](task)


def _unexpected(error: Exception) -> "Complaint":
    from agentloop.base.records import Complaint

    return Complaint("training_failed", f"Training failed: {type(error).__name__}: {error}", None)


def _reports() -> IO[bytes]:
    """The pipe to the server. What anybody prints goes to standard error from now on."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _write_errors_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)


def _end_with_server() -> None:
    sys.stdin.buffer.read()
    os._exit(1)  # nobody is left to report to


if __name__ == "__main__":
    sys.exit(main())
