"""A real server in a process of its own, and the real client on it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

REPO = Path(__file__).parents[2]
DONE = ("succeeded", "failed", "cancelled")

PROGRAM = """
import json, sys
from pathlib import Path
from agentloop.local.serve import serve
order = json.loads(sys.argv[1])
bases = {name: Path(path) for name, path in order.pop("bases").items()}
serve(Path(order.pop("root")), bases, **order)
"""


class Served:
    """A server that has begun to start."""

    def __init__(self, root: Path, bases: dict[str, Path], **options: Any) -> None:
        self.root = root
        order = {"root": str(root), "bases": {k: str(v) for k, v in bases.items()}, "port": 0}
        root.mkdir(parents=True, exist_ok=True)
        self.log = root / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps({**order, **options})],
                cwd=REPO,
                env={**os.environ, "PYTHONPATH": str(REPO)},
                stdout=log,
                stderr=log,
            )
        until(self._listens, "the server to listen", seconds=60)
        about = json.loads((root / "server.json").read_text())
        self.url = about["url"]

    def client(self, **options: Any) -> openai.OpenAI:
        key = options.pop("api_key", "none")
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def _listens(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log.read_text()[-2000:]}")
        told = self.root / "server.json"
        return told.exists() and json.loads(told.read_text())["pid"] == self.process.pid


@contextmanager
def served(root: Path, bases: dict[str, Path], **options: Any):
    """A server for the time of a block."""
    server = Served(root, bases, **options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def until(true: Callable[[], Any], what: str, *, seconds: float = 120) -> Any:
    """Wait until `true()` is; what it is then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def finished(client: openai.OpenAI, id: str) -> Any:
    """The job at its end."""

    def ended() -> Any:
        job = client.fine_tuning.jobs.retrieve(id)
        return job if job.status in DONE else None

    return until(ended, f"{id} to end")


def events(client: openai.OpenAI, id: str) -> list[Any]:
    """The job's events, oldest first."""
    return list(client.fine_tuning.jobs.list_events(id, limit=1000).data)[::-1]


def upload(client: openai.OpenAI, rows: list[Any]) -> str:
    """The id of a file with these rows."""
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return client.files.create(file=("rows.jsonl", body), purpose="fine-tune").id


def running(pid: int) -> bool:
    """Whether a process of that id is there and not just a corpse."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after[1]) == pid and after[0] != "Z":
            found.append(int(path.parent.name))
    return found
