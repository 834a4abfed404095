"""The program of a worker process: `python -m agentloop.local.worker`, one job, then the end.

It imports what training needs, waits for its assignment on standard input, trains, and reports on
standard output. Standard input ending means that the server is gone; then it ends too.

With `--fork` it is the parent of workers: whatever three pipes come in on standard input, a socket,
become the standard input, the standard output and the fate of a new one.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
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
    os.environ |= {name: os.environ.get(name, value) for name, value in QUIET.items()}
    if "--fork" in sys.argv[1:]:
        os.dup2(2, 1)
        _prepare()
        return _work(_reports()) if _born() else 0
    pipe = _reports()
    _prepare()
    return _work(pipe)


def _work(pipe: IO[bytes]) -> int:
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


def _born() -> bool:
    """Fork whenever that is asked for. True in a new worker; False when the server is gone."""
    asked = socket.socket(fileno=os.dup(0))
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()  # so that a worker that collects garbage does not write to what all share
    fates: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asked.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 256)
            _tell(fates)
        if asked.fileno() not in ready:
            continue
        _, pipes, _, _ = socket.recv_fds(asked, 16, 3)
        if len(pipes) < 3:
            return False
        orders, said, fate = pipes
        os.set_inheritable(fate, False)
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(orders, 0)
            os.dup2(said, 1)
            asked.close()
            for end in (orders, said, ended, wake, *fates.values()):
                os.close(end)
            return True
        os.close(orders)
        os.close(said)
        fates[child] = fate
        _say(fate, pid=child)


def _tell(fates: dict[int, int]) -> None:
    """Say of each worker that has ended how, before its id can be another's."""
    for child, fate in list(fates.items()):
        how = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if how is not None:
            exited = how.si_code == os.CLD_EXITED
            _say(fate, status=how.si_status if exited else -how.si_status)
            os.close(fates.pop(child))
            os.waitpid(child, 0)


def _say(fate: int, **news: int) -> None:
    with suppress(OSError):  # nobody asks any more
        os.write(fate, json.dumps(news).encode() + b"\n")


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
