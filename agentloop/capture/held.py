"""Models that agents hold: an agent whose `model` is an object is not served by any provider."""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from agents import Model, ModelResponse

log = logging.getLogger("agentloop.capture")

METHODS = ("get_response", "stream_response")


class Original(Model):
    """A held model as it is when nobody is listening."""

    def __init__(self, model: Model) -> None:
        self.held = model
        self._get_response = model.get_response
        self._stream_response = model.stream_response

    def __getattr__(self, name: str) -> Any:
        return getattr(self.held, name)

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        response: ModelResponse = await self._get_response(*args, **kwargs)
        return response

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        events: AsyncIterator[Any] = self._stream_response(*args, **kwargs)
        return events


Listener = Callable[[Original], Model | None]
"""Who answers in place of a held model in the present run; None: the model itself."""


@dataclass(slots=True)
class _Hold:
    original: Original
    before: dict[str, Any]
    """What the object itself had under the names of its methods: nothing, as a rule."""
    runs: int


HELD = 10_000
"""Models that are listened to at a time, at most. Runs that are never finished and never end would
hold more and more; of more, the oldest go unheard, with a warning."""

HELD_BY_A_RUN = 100
"""Models that one run listens to at a time, at most. An older one is listened to again when it is
about to be called."""

_holds: dict[int, _Hold] = {}
_lock = Lock()  # runs of several threads may use one model


def hold(model: Model, listener: Listener) -> bool:
    """Have `listener` asked whenever `model` is called, until `release`. False for a model that
    cannot be listened to."""
    with _lock:
        if found := _holds.get(id(model)):
            found.runs += 1
            return True
        original = Original(model)
        before = {name: value for name in METHODS if (value := vars_of(model).get(name))}
        try:
            _wrap(model, original, listener)
        except AttributeError:  # it has slots and no place for our methods
            return False
        _holds[id(model)] = _Hold(original, before, 1)
        if len(_holds) > HELD:
            log.warning("more than %d models are held by runs that go on; the oldest go", HELD)
            _undo(next(iter(_holds)))
        return True


def release(model: Model) -> None:
    """Undo one `hold`. After the last, the object is again what it was before the first."""
    with _lock:
        found = _holds.get(id(model))
        if found is None:
            return
        found.runs -= 1
        if not found.runs:
            _undo(id(model))


def _undo(key: int) -> None:
    found = _holds.pop(key)
    own = vars_of(found.original.held)
    for name in METHODS:
        own.pop(name, None)
    own.update(found.before)


def vars_of(model: Model) -> dict[str, Any]:
    """What the object has of its own."""
    own: dict[str, Any] = getattr(model, "__dict__", {})
    return own


def _wrap(model: Model, original: Original, listener: Listener) -> None:
    async def get_response(*args: Any, **kwargs: Any) -> ModelResponse:
        return await (listener(original) or original).get_response(*args, **kwargs)

    async def stream_response(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for event in (listener(original) or original).stream_response(*args, **kwargs):
            yield event

    model.get_response = get_response  # type: ignore[method-assign]
    model.stream_response = stream_response  # type: ignore[method-assign]
