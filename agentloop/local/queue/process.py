"""A worker process, seen from the server."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, Self

import agentloop
from agentloop.base.records import Json

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a worker has to end when it is asked to."""


SECRETS = frozenset({"AGENTLOOP_LOCAL_KEY", "AGENTLOOP_LOCAL_WEBHOOK_SECRET"})
"""Variables of the environment that are the server's alone."""


class Process(Protocol):
    """What a worker needs of its process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Worker:
    """A process that waits for one job. Its standard input ending is its end, so it cannot
    outlive the server; what it writes to standard error goes to a log.
    """

    def __init__(self, process: Process, orders: IO[bytes], said: IO[bytes], log: Path) -> None:
        """`orders` is its standard input, `said` its standard output."""
        self.log = log
        self._process, self._orders, self._said = process, orders, said
        self._heard = False
        """Whether somebody listens to what it says."""

    @classmethod
    def started(cls, log_file: Path) -> Self:
        """A worker in a new process."""
        process = program(log_file, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return cls(process, _pipe(process.stdin), _pipe(process.stdout), log_file)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def assign(self, assignment: Json) -> bool:
        """Give it its job; whether it was there to take it."""
        try:
            self._orders.write(json.dumps(assignment).encode() + b"\n")
            self._orders.flush()
        except OSError:
            return False
        return True

    def reports(self) -> Iterator[Json]:
        """What it reports, until it ends."""
        self._heard = True
        with self._said:
            for line in self._said:
                try:
                    yield json.loads(line)
                except ValueError:
                    log.warning("worker %d wrote %r", self.pid, line[:200])

    def end(self) -> None:
        """Have it end, and wait for that."""
        if self.alive:
            self._process.terminate()
        with suppress(OSError):  # an order that it did not take is still in the pipe
            self._orders.close()
        if not self._heard:
            self._said.close()
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self, job_log: Path) -> str:
        """How it ended, and the last line that it wrote to its log."""
        status = self._process.wait()
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        else:
            how = f"ended with exit status {status}"
        written = next((path for path in (job_log, self.log) if path.exists()), None)
        lines = written.read_text(errors="replace").split("\n") if written else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"The training process {how}." + (f" Its last line: {last}" if last else "")


def program(log_file: Path, *options: str, **pipes: Any) -> "subprocess.Popen[bytes]":
    """A process of `agentloop.local.worker`, which knows none of the server's secrets."""
    package = Path(agentloop.__file__).parents[1]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {k: v for k, v in os.environ.items() if k not in SECRETS}
    with log_file.open("wb") as errors:
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "agentloop.local.worker", *options],
            stderr=errors,
            env={**inherited, "PYTHONPATH": os.pathsep.join(paths)},
            **pipes,
        )


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    if end is None:
        raise RuntimeError("the worker process was started without pipes")
    return end
