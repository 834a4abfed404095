"""Where workers come from: on Linux, without a GPU, from a process that has imported everything.

What training needs takes seconds to import. One process does that and forks a worker for each job,
which begins at once and shares that memory. It never computes: a process that has used OpenMP or a
GPU cannot be forked. Elsewhere one worker is started ahead of its job.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from agentloop.local.queue.process import Worker, program


class Nursery:
    """Safe to use from several threads."""

    def __init__(self, log_file: Path, *, ready: Callable[[], object] | None) -> None:
        """
        Args:
            log_file: where workers write what goes wrong before they have a job.
            ready: returns when there is time to start a process ahead of its job; None starts
                each worker with its job.
        """
        self._log, self._ready = log_file, ready
        self._lock = threading.Lock()
        self._closed = False
        self._spare: Worker | None = None
        self._parent: _Parent | None = None

    def prepare(self) -> None:
        """Have a worker ready for the next job, unless each is started with its job."""
        if self._ready is None:
            return
        self._ready()
        with self._lock:
            if self._closed:
                return
            if _forks():
                if self._parent is None or not self._parent.alive:
                    self._parent = _Parent(self._log)
            elif self._spare is None or not self._spare.alive:
                self._spare = Worker.started(self._log)

    def worker(self) -> Worker | None:
        """A worker that has no job yet; None once this is closed."""
        with self._lock:
            if self._closed:
                return None
            if self._parent is not None and self._parent.alive:
                return self._parent.fork()
            spare, self._spare = self._spare, None
            return spare if spare is not None and spare.alive else Worker.started(self._log)

    def close(self) -> None:
        """End what waits for jobs. Workers that have one are their holders' to end."""
        with self._lock:
            self._closed = True
            if self._spare is not None:
                self._spare.end()
            if self._parent is not None:
                self._parent.end()


class _Parent:
    """The process that forks."""

    def __init__(self, log_file: Path) -> None:
        self._log = log_file
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = program(log_file, "--fork", stdin=theirs, stdout=subprocess.DEVNULL)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def fork(self) -> Worker:
        """A worker: it is born once its parent has imported everything, and obeys from then on."""
        orders, to_worker = os.pipe()
        from_worker, said = os.pipe()
        news, fate = os.pipe()
        theirs = [orders, said, fate]
        try:
            socket.send_fds(self._socket, [b"fork"], theirs)
        except OSError:
            pass  # it has died; so, for all that anybody can tell, has the worker
        finally:
            for end in theirs:
                os.close(end)
        return Worker(
            Forked(news), os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb"), self._log
        )

    def end(self) -> None:
        self._socket.close()
        self._process.kill()  # it only waits
        self._process.wait()


class Forked:
    """A worker's process, of which its parent tells: its id when it is born, its exit status when
    it has ended. The pipe ends with parent and worker both."""

    def __init__(self, news: int) -> None:
        self._news = news
        self._told = b""
        self._status: int | None = None
        self._lock = threading.Lock()

    def __del__(self) -> None:
        os.close(self._news)

    @property
    def pid(self) -> int:
        """Its process id; 0 before it is born."""
        self.poll()
        return self._pid

    @property
    def _pid(self) -> int:
        return int(json.loads(self._told.split(b"\n")[0])["pid"]) if b"\n" in self._told else 0

    def poll(self) -> int | None:
        """Its exit status, as `subprocess.Popen.poll`; 1 where nobody lives to tell it."""
        with self._lock:
            while self._status is None and select.select([self._news], [], [], 0)[0]:
                told = os.read(self._news, 256)
                self._told += told
                if not told:
                    self._status = 1
                elif self._told.count(b"\n") == 2:
                    self._status = int(json.loads(self._told.split(b"\n")[1])["status"])
            return self._status

    def wait(self, timeout: float | None = None) -> int:
        """See `subprocess.Popen.wait`."""
        until = None if timeout is None else monotonic() + timeout
        while (status := self.poll()) is None:
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(f"worker {self._pid}", timeout or 0)
            select.select([self._news], [], [], left)
        return status

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Have it end."""
        self._send(signal.SIGKILL)

    def _send(self, what: signal.Signals) -> None:
        if self.poll() is not None:
            return
        if self._pid:
            os.kill(self._pid, what)  # the id is nobody else's until its end has been told
        else:
            # Once it is born it finds that its orders have ended.
            self._status = -what


def _forks() -> bool:
    if sys.platform != "linux":
        return False
    try:
        from agentloop.local.inference.weights import device
    except ImportError:
        return False
    return device().type == "cpu"
