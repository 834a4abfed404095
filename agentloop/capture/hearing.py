"""What a chat completion says of itself and the SDK does not pass on: which model answered, and why
it stopped."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

from agents import Model, OpenAIChatCompletionsModel

from agentloop.capture.recorder import ANSWERING, Answered

FETCH = "_fetch_response"
"""The method that asks the server: the last place where the completion is whole."""


@dataclass(slots=True)
class _Ear:
    before: Any
    """What the object itself had under that name: nothing, as a rule."""
    calls: int


_ears: dict[int, _Ear] = {}
_lock = Lock()  # calls of several threads may use one model


def listen(model: Model) -> bool:
    """Until `leave`, have each call through `model` note on its `Answered` what the completion
    says. False where there is nothing to be overheard: with other models than the SDK's for Chat
    Completions."""
    if not isinstance(model, OpenAIChatCompletionsModel):
        return False
    own: dict[str, Any] = getattr(model, "__dict__", {})
    with _lock:
        if ear := _ears.get(id(model)):
            ear.calls += 1
            return True
        fetch = getattr(model, FETCH, None)
        if fetch is None:
            return False
        before = own.get(FETCH)

        async def fetch_response(*args: Any, **kwargs: Any) -> Any:
            return _noted(await fetch(*args, **kwargs), ANSWERING.get())

        try:
            setattr(model, FETCH, fetch_response)
        except AttributeError:  # it has slots and no place for ours
            return False
        _ears[id(model)] = _Ear(before, 1)
        return True


def leave(model: Model) -> None:
    """Undo one `listen` that there was something to hear for. After the last, the object is what it
    was before the first."""
    with _lock:
        ear = _ears[id(model)]
        ear.calls -= 1
        if not ear.calls:
            del _ears[id(model)]
            delattr(model, FETCH)
            if ear.before is not None:
                setattr(model, FETCH, ear.before)


def _noted(given: Any, answered: Answered | None) -> Any:
    """What the server gave, as it was given: a completion, or the beginning of a response and the
    stream of its chunks."""
    if answered is None:
        return given
    if isinstance(given, tuple):
        begun, stream = given
        return begun, _Overheard(stream, answered)
    _note(given, answered)
    return given


def _note(completion: Any, answered: Answered) -> None:
    answered.served_model = getattr(completion, "model", None) or answered.served_model
    for choice in getattr(completion, "choices", None) or ():
        if getattr(choice, "index", 0) == 0 and choice.finish_reason is not None:
            answered.finish_reason = choice.finish_reason


class _Overheard:
    """A stream of chunks, each noted when it passes by."""

    def __init__(self, stream: Any, answered: Answered) -> None:
        self._stream = stream
        self._answered = answered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for chunk in self._stream:
            _note(chunk, self._answered)
            yield chunk
