"""From the engine's thread to the event loop: what several generations say, in one queue."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from agentloop.local.inference.sampling import Odds


class Heard(NamedTuple):
    """A generation said something."""

    choice: int
    text: str = ""
    odds: "Sequence[Odds]" = ()
    finish: str | None = None
    error: Exception | None = None


class Ear:
    """The engine's listener for one choice; passes everything on to a queue of the event loop."""

    def __init__(self, choice: int, heard: "asyncio.Queue[Heard]") -> None:
        self._choice = choice
        self._heard = heard
        self._loop = asyncio.get_running_loop()

    def say(self, text: str, odds: "Sequence[Odds]" = ()) -> None:
        """See `inference.engine.Listener`."""
        self._pass(Heard(self._choice, text=text, odds=odds))

    def close(self, finish: str) -> None:
        """See `inference.engine.Listener`."""
        self._pass(Heard(self._choice, finish=finish))

    def fail(self, error: Exception) -> None:
        """See `inference.engine.Listener`."""
        self._pass(Heard(self._choice, error=error))

    def _pass(self, heard: Heard) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard.put_nowait, heard)
