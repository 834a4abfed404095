"""Conversations that a server keeps: of these only what is new is sent, and what the model saw is
put together from what was recorded before."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Literal, NamedTuple

from agentloop.base.errors import StoreError
from agentloop.base.records import Call, Message, Trace

Kept = Literal["previous_response_id", "conversation_id"]
"""How a call names the conversation that it goes on with."""

KEPT: tuple[Kept, ...] = ("previous_response_id", "conversation_id")

REMEMBERED = 1_000
"""Conversations that are remembered, at most; of more, the store is asked."""


class Before(NamedTuple):
    """What the model saw before that which was sent."""

    said: tuple[Message, ...]
    """Without the system prompt: it is sent with every call, and none is kept by the server."""
    lost: tuple[str, ...]
    """Why this is not all of it; empty when it is."""


Find = Callable[[str], tuple[Trace, Call] | None]
"""The stored call of a response with its trace, None when there is none."""


class Conversations:
    """What was said in them, by the response or the conversation that it goes on from. Used where
    calls become records, one after the other."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._said: OrderedDict[tuple[Kept, str], Before] = OrderedDict()
        self._lock = Lock()  # a full queue has callers make records as well

    def before(self, kept: tuple[Kept, str] | None, system: str | None) -> Before:
        """What was said before a call.

        Args:
            system: the system prompt of the call.
        """
        if kept is None:
            return Before((), ())
        name, id = kept
        with self._lock:
            known = self._said.get(kept)
        if known is None and name == "previous_response_id" and (found := self._stored(id)):
            known = _whole(*found, system)
        if known is None:
            return Before((), (f"{name} was set: {UNKNOWN[name]}",))
        return known

    def _stored(self, response_id: str) -> tuple[Trace, Call] | None:
        try:
            return self._find(response_id)
        except StoreError:  # it does not answer now, and the call is recorded all the same
            return None

    def heard(
        self, call: Call, said: tuple[Message, ...], kept: tuple[Kept, str] | None, *, consent: bool
    ) -> None:
        """A call is over.

        Args:
            said: all of its path but the system prompt.
            kept: the conversation that it went on with.
        """
        if call.output is None or call.response_id is None:
            return
        lost = _lost(call, consent=consent)
        self._remember("previous_response_id", call.response_id, Before(said, lost))
        if kept is not None and kept[0] == "conversation_id":
            self._remember(*kept, Before(said, lost))

    def _remember(self, name: Kept, id: str, before: Before) -> None:
        with self._lock:
            self._said[name, id] = before
            self._said.move_to_end((name, id))
            if len(self._said) > REMEMBERED:
                self._said.popitem(last=False)


UNKNOWN: dict[Kept, str] = {
    "previous_response_id": "the server has earlier messages that were not sent, and that "
    "response is not in the store",
    "conversation_id": "the server has earlier messages that were not sent, and may have more than "
    "was seen here",
}
"""Why a context is not whole."""


def _lost(call: Call, *, consent: bool) -> tuple[str, ...]:
    lost = tuple(call.incomplete.split("; ")) if call.incomplete else ()
    return lost if consent else (*lost, "what was said before was said without consent")


def _whole(trace: Trace, call: Call, system: str | None) -> Before | None:
    """What a stored call saw and said. Its system prompt stands first, as a message that the user
    put there would. None where what was said was not kept."""
    said, lost = call.path, _lost(call, consent=trace.consent)
    if call.output is None:
        return None
    if said and said[0].role == "system":
        said = said[1:]
        if system is None:
            lost = (*lost, "whether the first message was a system prompt is not known")
    return Before(said, lost)
