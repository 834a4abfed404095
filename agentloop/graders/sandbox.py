"""The sandbox: an author's `grade(sample, item)` runs in a process of its own, held short.

One child process per grader, started at the first call, used for thousands, killed and started
anew when a call takes too long or the child dies; that call gets reward 0 and says why. The child
is `cell.py`; samples, items and rewards go through two pipes as JSON.

What is enforced, on Linux with Landlock and seccomp (kernel 5.13; x86-64 and arm64):

- wall time per call, memory, size of a written file, no core dumps (limits of the kernel);
- no network, no other programs, no other processes, no signals to or looks into processes that
  are not its own, nor a say in how much of the machine they get (seccomp, an empty network
  namespace, Landlock);
- no file is read but Python's, the installed packages' and the system's libraries; none is
  written but in its own empty temporary folder (Landlock); so no `.env`, no home, no /proc;
- no file has its owner, mode, times or attributes changed, and no folder is watched (seccomp);
- between two calls it stands still (SIGSTOP), threads that it left behind too;
- an empty environment; standard input and output lead nowhere; no other descriptor is open;
- it ends when its parent ends, however the parent ends.

What is not: that a file exists, and how large it is, can be found out; the folder's total size
and the number of threads have no bound but memory; all calls of one grader share a process, so
globals live on from call to call; every installed package can be imported, ours and yours;
processor time is bounded by wall time only. Where the kernel gives less
(macOS, kernels before 5.13, containers that forbid it), an audit hook inside the child refuses
the same things: enough against mistakes, not against an author who means harm. `Sandbox.guards`
says what holds. Windows is not supported.
"""

import ast
import itertools
import json
import math
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from agentloop.base.errors import GraderError
from agentloop.base.records import Json, Record

LONGEST_SOURCE = 256_000
"""Bytes. OpenAI's limit is "256 kB"; this is the reading that passes in either sense."""

GUARDS = ("namespaces", "landlock", "seccomp", "audit")
"""The protections asked for; the child takes those that its kernel gives."""

_START_SECONDS = 60.0
_LONGEST_ANSWER = 1 << 16
_HEADER = struct.Struct(">I")
_GARBLED = "crash: the author's code wrote into its answers"
_CELL = Path(__file__).with_name("cell.py")


class Limits(Record):
    """What a python grader may use. The defaults are OpenAI's."""

    seconds: float = Field(120.0, gt=0, le=86_400)
    """Wall time for one call; the first may take it twice, to import what the source imports."""
    memory_mb: int = Field(2048, ge=64)
    """Address space of the process, in MiB."""
    disk_mb: int = Field(1024, ge=0)
    """Largest file it may write, in MiB."""


class Answer(NamedTuple):
    """What came back from one call. At most one of the errors is set, and then the reward is 0."""

    reward: float
    runtime_error: str | None = None
    """`grade` raised, or gave no finite number: the last line of the traceback."""
    server_error: str | None = None
    """The process did not answer: `time_limit: …`, `crash: …`, `start: …`; or `not_json: …`."""


def check(source: str, *, where: str = "source") -> None:
    """Refuse a source that cannot work, without running it.

    Raises:
        GraderError: too long, no Python, or no `def grade(sample, item)` at its top level.
    """
    if os.name != "posix":
        raise GraderError(f"{where}: python graders need Linux or macOS")
    size = len(source.encode(errors="surrogatepass"))
    if size > LONGEST_SOURCE:
        raise GraderError(f"{where}: {size} bytes; at most {LONGEST_SOURCE} are allowed")
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
            compile(source, "grader.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise GraderError(f"{where}: line {error.lineno}: {error.msg}; correct it") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise GraderError(f"{where}: Python cannot read it: {error}") from error
    grades = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "grade"]
    if not grades or not _takes_two(grades[-1].args):
        raise GraderError(f"{where}: define `def grade(sample, item)` at the top level")


def _takes_two(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    return (
        required <= 2
        and (positional >= 2 or arguments.vararg is not None)
        and None not in arguments.kw_defaults
    )


class Sandbox:
    """One author's function behind a wall. See the module for what the wall keeps out."""

    def __init__(self, source: str, limits: Limits, guards: Iterable[str] = GUARDS) -> None:
        self._source = source
        self._limits = limits
        self._wanted = tuple(guards)
        self._cell: _Cell | None = None
        self._numbers = itertools.count()
        # A server's worker threads may share one grader; the pipes take one call at a time.
        self._lock = threading.Lock()

    @property
    def guards(self) -> frozenset[str]:
        """The protections in force; none before the first call."""
        return self._cell.guards if self._cell else frozenset()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._cell.pid if self._cell else None

    def call(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Answer:
        """What `grade(sample, item)` gives. Never raises because of the source or the data."""
        number = next(self._numbers)
        try:
            frame = _frame({"number": number, "sample": sample, "item": item})
        except (TypeError, ValueError, RecursionError) as error:
            return Answer(0.0, server_error=f"not_json: sample or item: {error}")
        with self._lock:
            try:
                cell = self._running()
                if cell.broken is not None:
                    return Answer(0.0, runtime_error=cell.broken)
                return _answer(cell.exchange(frame, self._limits.seconds), number)
            except _Lost as lost:
                self._end()
                return Answer(0.0, server_error=str(lost))
            except BaseException:
                # Interrupted half-way: its answer would be taken for the next call's.
                self._end()
                raise

    def close(self) -> None:
        """End the child, if there is one. A later call starts another."""
        with self._lock:
            self._end()

    def _running(self) -> "_Cell":
        if self._cell is not None and self._cell.stale():
            self._end()
        # After a fork the child belongs to the other process.
        if self._cell is None or self._cell.owner != os.getpid():
            self._cell = _Cell(self._limits, self._wanted)
            self._last_will = weakref.finalize(self, self._cell.end)
            self._cell.load(self._source, self._limits.seconds)
        return self._cell

    def _end(self) -> None:
        if self._cell is not None:
            self._last_will()
            self._cell = None


class _Lost(Exception):
    """The child gave no answer; the message says why."""


class _Cell:
    """One child process, the pipes to it, and its temporary folder."""

    def __init__(self, limits: Limits, guards: tuple[str, ...]) -> None:
        self.owner = os.getpid()
        self.broken: str | None = None
        """Why its source could not be loaded, when it could not."""
        self._scratch = tempfile.mkdtemp(prefix="agentloop-grader-")
        # Nothing is ever written to it. The kernel kills the child when our end closes, which
        # also happens when we are killed; "die with the parent" would go by the starting thread.
        theirs, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, and no shell
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_CELL), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(self._scratch),
                cwd=self._scratch,
                pass_fds=(theirs,),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            os.close(self._lifeline)
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise _Lost(f"start: {error}") from error
        finally:
            os.close(theirs)
        self._open = True
        self.pid = self._process.pid
        self._to, self._from = (
            pipe.fileno() for pipe in (self._process.stdin, self._process.stdout) if pipe
        )
        self._writable, self._readable = select.poll(), select.poll()
        for fd, poller, event in (
            (self._to, self._writable, select.POLLOUT),
            (self._from, self._readable, select.POLLIN),
        ):
            os.set_blocking(fd, False)
            poller.register(fd, event)
        orders = {
            "guards": guards,
            "scratch": self._scratch,
            "packages": _packages(),
            "readable": _readable(),
            "memory": limits.memory_mb << 20,
            "disk": limits.disk_mb << 20,
        }
        try:
            hello = self.exchange(_frame(orders), _START_SECONDS)
        except _Lost as lost:
            self.end()
            raise _Lost(f"start: {lost}") from lost
        self.guards = frozenset(str(guard) for guard in hello.get("guards", ()))

    def load(self, source: str, seconds: float) -> None:
        """Run the source once, so that `grade` exists; what it raises is kept in `broken`."""
        self.broken = self.exchange(_frame({"source": source}), seconds).get("error")

    def stale(self) -> bool:
        """Whether it ended, or said something, without being asked. Then it is of no more use."""
        return self.owner == os.getpid() and bool(self._readable.poll(0))

    def exchange(self, frame: bytes, seconds: float) -> Json:
        """Send one request and wait for its answer, `seconds` at most, or `_Lost`."""
        deadline = time.monotonic() + seconds
        self._process.send_signal(signal.SIGCONT)
        try:
            rest = memoryview(frame)
            while rest:
                self._wait(self._writable, deadline, seconds)
                rest = rest[os.write(self._to, rest) :]
            answer = b""
            while len(answer) < 4 or len(answer) < 4 + _HEADER.unpack_from(answer)[0]:
                self._wait(self._readable, deadline, seconds)
                part = os.read(self._from, _LONGEST_ANSWER)
                if not part:
                    raise _Lost(self._obituary())
                answer += part
                if len(answer) > _LONGEST_ANSWER:
                    raise _Lost(_GARBLED)
            decoded = json.loads(answer[4:])
        except OSError as error:
            raise _Lost(self._obituary()) from error
        except (ValueError, RecursionError) as error:
            raise _Lost(_GARBLED) from error
        if not isinstance(decoded, dict):
            raise _Lost(_GARBLED)
        # A thread that the author left behind would go on without an end, at our cost.
        self._process.send_signal(signal.SIGSTOP)
        return decoded

    def end(self) -> None:
        """Kill it and remove its folder. A second time, or after a fork, this does nothing."""
        if not self._open or self.owner != os.getpid():
            return
        self._open = False
        os.close(self._lifeline)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _wait(self, poller: "select.poll", deadline: float, seconds: float) -> None:
        left = max(0.0, deadline - time.monotonic())
        if not poller.poll(math.ceil(left * 1000)):
            raise _Lost(f"time_limit: no answer within {seconds:g} s")

    def _obituary(self) -> str:
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "crash: the process closed its pipes"
        if status < 0:
            return f"crash: the process was killed by {signal.Signals(-status).name}"
        return f"crash: the process exited with status {status}"


def _answer(raw: Json, number: int) -> Answer:
    error, reward = raw.get("error"), raw.get("reward")
    if raw.get("number") != number:
        raise _Lost(_GARBLED)
    if error is not None:
        return Answer(0.0, runtime_error=str(error))
    if not isinstance(reward, float) or not math.isfinite(reward):
        raise _Lost(_GARBLED)
    return Answer(reward)


def _frame(message: Mapping[str, Any]) -> bytes:
    body = json.dumps(message, default=_plain).encode()
    return _HEADER.pack(len(body)) + body


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _environment(scratch: str) -> dict[str, str]:
    """Nothing of ours, but where the loader finds Python's own library, if it must be told."""
    kept = {k: v for k, v in os.environ.items() if k in {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}}
    # Threads of numerical libraries each reserve address space, which is what is limited.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"HOME": scratch, "TMPDIR": scratch, **single, **kept}


def _packages() -> list[str]:
    """Where installed packages lie: OpenAI's image offers numpy and the like, so do we."""
    paths = sysconfig.get_paths()
    found = [p for p in sys.path if Path(p).name in {"site-packages", "dist-packages"}]
    return list(dict.fromkeys([*found, paths["purelib"], paths["platlib"]]))


def _readable() -> list[str]:
    """Python, its packages, and the system's libraries."""
    paths = sysconfig.get_paths()
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    return [
        paths["stdlib"],
        paths["platstdlib"],
        *_packages(),
        *(str(Path(prefix, "lib")) for prefix in sorted(prefixes)),
        *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo"),
        *(
            "/nix/store",
            "/etc/ld.so.cache",
            "/etc/localtime",
            "/dev/urandom",
            "/sys/devices/system/cpu",
        ),
    ]
