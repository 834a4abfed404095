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
from typing import IO

import agentloop
from agentloop.base.records import Json

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a worker has to end when it is asked to."""


class Worker:
    """A process that waits for one job. Its standard input ending is its end, so it cannot
    outlive the server; what it writes to standard error goes to a log.
    """

    def __init__(self, log_file: Path) -> None:
        self.log = log_file
        package = Path(agentloop.__file__).parents[1]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        # The key of the server is nobody else's business.
        inherited = {k: v for k, v in os.environ.items() if k != "AGENTLOOP_LOCAL_KEY"}
        with log_file.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "agentloop.local.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**inherited, "PYTHONPATH": os.pathsep.join(paths)},
            )
        self._orders, self._said = _pipe(self._process.stdin), _pipe(self._process.stdout)

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
        for line in self._said:
            try:
                yield json.loads(line)
            except ValueError:
                log.warning("worker %d wrote %r", self.pid, line[:200])

    def end(self) -> None:
        """Have it end, and wait for that."""
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(OSError):  # an order that it did not take is still in the pipe
            self._orders.close()

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


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    if end is None:
        raise RuntimeError("the worker process was started without pipes")
    return end
