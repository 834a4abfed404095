"""The server: a folder is taken, a port is listened on, `server.json` says where."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import uvicorn

from agentloop.base.errors import ConfigError
from agentloop.local.api.keys import LOOPBACK
from agentloop.local.app import create_app
from agentloop.local.disk.root import Root
from agentloop.local.queue.courier import Webhook

log = logging.getLogger(__name__)

_GRACE = 5
"""Seconds that requests have to finish when the server stops."""

SWITCH = 0.0005
"""Seconds for which a thread keeps Python's lock when another wants it. The one that generates
gives it away at every operation of torch, and would get it back after ten times that."""


def serve(
    root: Path,
    bases: Mapping[str, Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8421,
    key: str | None = None,
    warm: bool = True,
    max_batch: int = 64,
    memory: int = 0,
    threads: int = 0,
    save_every: float = 30.0,
    webhook: Webhook | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. Prints nothing; `ROOT/server.json` is there while it listens.

    Args:
        root: where files, jobs and models are kept.
        bases: model folders by the name that they are called by.
        port: 0 takes a free one; `server.json` says which.
        key: what clients must show as bearer token, required beyond loopback; None takes the
            environment's AGENTLOOP_LOCAL_KEY, if there is one.
        warm, max_batch, memory, threads, save_every: see `create_app`.
        webhook: who is told of the ends of jobs; None takes what the environment says.

    Raises:
        ConfigError: no key beyond loopback, the port is taken, a base is no model folder, or
            another server works in `root`.
    """
    sys.setswitchinterval(SWITCH)
    Server(
        root,
        bases,
        host=host,
        port=port,
        key=key or os.environ.get("AGENTLOOP_LOCAL_KEY"),
        warm=warm,
        max_batch=max_batch,
        memory=memory,
        threads=threads,
        save_every=save_every,
        webhook=webhook or Webhook.of(os.environ),
    ).run()


class Server:
    """A server that can be stopped from another thread."""

    def __init__(
        self,
        root: Path,
        bases: Mapping[str, Path],
        *,
        host: str = "127.0.0.1",
        port: int = 8421,
        key: str | None = None,
        warm: bool = True,
        max_batch: int = 64,
        memory: int = 0,
        threads: int = 0,
        save_every: float = 30.0,
        webhook: Webhook | None = None,
    ) -> None:
        """See `serve`."""
        if host not in LOOPBACK and not key:
            raise ConfigError(
                f"listening on {host!r} lets others in: set AGENTLOOP_LOCAL_KEY, or listen on "
                "127.0.0.1"
            )
        self._root = Root(root)
        self._root.hold()
        try:
            app = create_app(
                self._root,
                bases,
                key=key or None,
                warm=warm,
                max_batch=max_batch,
                memory=memory,
                threads=threads,
                save_every=save_every,
                webhook=webhook,
            )
            self._socket = _listen(host, port)
        except BaseException:
            self._root.release()
            raise
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        """Without `/v1`."""
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE
        )
        self._uvicorn = _Uvicorn(config, self._announce)

    def run(self) -> None:
        """Serve until `stop`, or a signal if this is the main thread."""
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._root.withdraw()
            self._socket.close()
            self._root.release()

    def stop(self) -> None:
        """Have `run` return. Safe from any thread."""
        self._uvicorn.should_exit = True

    def _announce(self) -> None:
        port = self._socket.getsockname()[1]
        self._root.announce({"pid": os.getpid(), "port": port, "url": self.url})
        log.info("listening on %s", self.url)


class _Uvicorn(uvicorn.Server):
    """Says when it listens, and leaves nothing to the signals once it has stopped."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises them again at the end, before our caller can tidy up.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self._stop) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def _stop(self, *_: "int | FrameType | None") -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error}; choose another with --port, or 0 for a "
            "free one"
        ) from error
    return listening
