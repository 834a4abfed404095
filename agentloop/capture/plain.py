"""Plain runs: what the SDK's own `Runner` is asked for passes by here, as long as somebody listens.

Listens: who captures all plain runs of the process (`instrument`), and every run of ours while it
goes on, for what its tools run (`as_tool` with a configuration of its own) is part of it.
"""

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial, wraps
from threading import Lock
from typing import Any, NamedTuple, Protocol

from agents import Runner

log = logging.getLogger("agentloop.capture")

NAMES = ("run", "run_sync", "run_streamed")
"""What is replaced of the SDK's `Runner`: the class that everybody has imported stays the same."""


class Captures(Protocol):
    """A runner that captures plain runs."""

    def captured(self, config: Any) -> bool: ...

    def prepared_plain(
        self,
        agent: Any,
        input: Any,
        options: Mapping[str, Any],
        defaults: Mapping[str, Any] | None,
    ) -> Any: ...

    async def run_prepared(self, theirs: Any, agent: Any, input: Any, prepared: Any) -> Any: ...

    def run_prepared_sync(self, theirs: Any, agent: Any, input: Any, prepared: Any) -> Any: ...

    def run_prepared_streamed(self, theirs: Any, agent: Any, input: Any, prepared: Any) -> Any: ...


class Asked(NamedTuple):
    """A plain run that somebody asks for."""

    agent: Any
    input: Any
    options: dict[str, Any]


class Listening:
    """Who listens, and what of `Runner` is replaced for them.

    A run that is part of a captured one is captured as part of it, and once. What cannot be
    captured runs as it would without us, with a warning.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # runs begin and end in several threads
        self._holders: dict[Captures, int] = {}
        """Who has runs that go on, and how many."""
        self.everything: Captures | None = None
        """Who captures all plain runs."""
        self.defaults: dict[str, Any] = {}
        """What each of these says of itself."""
        self._before: dict[str, Any] = {}
        self._mine: dict[str, Any] = {}
        self._made: dict[str, tuple[Any, Any]] = {}
        """What was replaced last, and what by: it takes long to make, and runs begin often."""

    def hold(self, runner: Captures) -> None:
        """Listen, until as many `release`."""
        with self._lock:
            self._holders[runner] = self._holders.get(runner, 0) + 1
            if not self._mine:
                self._replace()

    def release(self, runner: Captures) -> None:
        """Undo one `hold`. After the last, what was there before the first is there again. Where
        somebody has put theirs on top of ours meanwhile, theirs stays, and what is under it does
        nothing more."""
        with self._lock:
            self._holders[runner] -= 1
            if not self._holders[runner]:
                del self._holders[runner]
            if not self._holders:
                for name, before in self._before.items():
                    if vars(Runner)[name] is self._mine[name]:
                        setattr(Runner, name, before)
                self._before, self._mine = {}, {}

    def _replace(self) -> None:
        for name, make in zip(NAMES, (_run, _run_sync, _run_streamed), strict=True):
            before = vars(Runner)[name]
            if name not in self._made or self._made[name][0] is not before:
                self._made[name] = before, classmethod(make(before.__func__))
            self._before[name], self._mine[name] = self._made[name]
            setattr(Runner, name, self._mine[name])

    def prepared(self, signature: inspect.Signature, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Who captures what is asked for, what that is, and how it is to run; None: as it would
        without us, as what we have prepared does."""
        runner = self.everything or next(iter(self._holders.copy()), None)
        if runner is None or runner.captured(kwargs.get("run_config")):
            return None, None, None
        options = dict(signature.bind(*args, **kwargs).arguments)
        options.pop("cls")
        asked = Asked(options.pop("starting_agent"), options.pop("input"), options)
        defaults = self.defaults if self.everything else None
        try:
            return runner, asked, runner.prepared_plain(*asked, defaults)
        except Exception as error:  # noqa: BLE001 - a run of others never fails because of us
            log.warning("a run was not captured: %s", error)
            return runner, asked, None


def _run(theirs: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(theirs)

    @wraps(theirs)
    async def run(cls: Any, *args: Any, **kwargs: Any) -> Any:
        runner, asked, prepared = LISTENING.prepared(signature, cls, *args, **kwargs)
        if prepared is None:
            return await theirs(cls, *args, **kwargs)
        return await runner.run_prepared(partial(theirs, cls), *asked[:2], prepared)

    return run


def _run_sync(theirs: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(theirs)

    @wraps(theirs)
    def run_sync(cls: Any, *args: Any, **kwargs: Any) -> Any:
        runner, asked, prepared = LISTENING.prepared(signature, cls, *args, **kwargs)
        if prepared is None:
            return theirs(cls, *args, **kwargs)
        return runner.run_prepared_sync(partial(theirs, cls), *asked[:2], prepared)

    return run_sync


def _run_streamed(theirs: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(theirs)

    @wraps(theirs)
    def run_streamed(cls: Any, *args: Any, **kwargs: Any) -> Any:
        runner, asked, prepared = LISTENING.prepared(signature, cls, *args, **kwargs)
        if prepared is None:
            return theirs(cls, *args, **kwargs)
        return runner.run_prepared_streamed(partial(theirs, cls), *asked[:2], prepared)

    return run_streamed


LISTENING = Listening()
"""Of this process."""

hold, release = LISTENING.hold, LISTENING.release
