"""Plain runs, captured for code that never heard of us."""

from threading import Lock

from agentloop.base.errors import ConfigError
from agentloop.capture.plain import LISTENING
from agentloop.capture.recorder import Capture
from agentloop.capture.runner import CapturingRunner

_lock = Lock()


def instrument(
    runner: CapturingRunner, *, capture: Capture | None = None, consent: bool | None = None
) -> None:
    """Have `runner` capture all plain runs of this process, until `undo`. Once, however often it
    is asked for.

    Args:
        capture, consent: what each of them says of itself; None: as before, else as usual.

    Raises:
        ConfigError: another store captures them already.
    """
    with _lock:
        if LISTENING.everything is None:
            LISTENING.everything = runner
            LISTENING.hold(runner)
        elif LISTENING.everything is not runner:
            raise ConfigError("plain runs go to another store already; call its `uninstrument`")
        said = {"capture": capture, "consent": consent}
        LISTENING.defaults |= {name: value for name, value in said.items() if value is not None}


def undo(runner: CapturingRunner) -> None:
    """Leave plain runs alone again; nothing happens when `runner` does not capture them."""
    with _lock:
        if LISTENING.everything is runner:
            LISTENING.everything = None
            LISTENING.defaults = {}
            LISTENING.release(runner)
