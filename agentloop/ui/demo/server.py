"""The demo's local provider: `agentloop local serve`, started for the demo and ended with it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from agentloop.base.errors import ProviderBusy

START_SECONDS = 120.0
"""How long the provider may take until it answers."""


@contextmanager
def local_provider(root: Path) -> Iterator[Callable[[], str]]:
    """A local provider that keeps its files under `root`, listens on a free port of loopback, and
    ends with the block. Gives what waits until it answers and returns its address, up to and
    including `/v1`, or raises `ProviderBusy` with its last words.
    """
    root.mkdir(parents=True, exist_ok=True)
    log = root / "server.log"
    with log.open("wb") as output:
        command = [*_AGENTLOOP, "local", "serve", "--root", str(root), "--port", "0"]
        server = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603
    try:
        yield lambda: _address(server, root, log)
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


_AGENTLOOP = (sys.executable, "-m", "agentloop")


def _address(server: "subprocess.Popen[bytes]", root: Path, log: Path) -> str:
    until = monotonic() + START_SECONDS
    told = root / "server.json"
    while monotonic() < until and server.poll() is None:
        try:
            body = json.loads(told.read_text())
        except (OSError, ValueError):
            body = {}
        if body.get("pid") == server.pid:
            return f"{body['url']}/v1"
        sleep(0.05)
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    why = last[0] if last else f"no word within {START_SECONDS:.0f} s"
    raise ProviderBusy(f"the local provider did not start: {why}; see {log}", provider="local")
