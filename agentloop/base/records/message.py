"""What was said: one chat message, and the identity it has in the conversation tree."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer

from agentloop.base.records.record import Json, to_json

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class _Wire(BaseModel):
    """A JSON object that comes back as it went in: absent stays absent, null stays null."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_serializer(mode="plain")
    def to_dict(self) -> Json:
        """The object as it stood on the wire, keys that we do not know included. The same inside
        another record, whatever that one leaves out of itself."""
        given = {**self.__dict__, **(self.__pydantic_extra__ or {})}
        return {k: _plain(v) for k, v in given.items() if k in self.__pydantic_fields_set__}

    def __eq__(self, other: object) -> bool:
        """Equal on the wire: a null and an absent key are two things."""
        return super().__eq__(other) and isinstance(other, _Wire) and self._set == other._set

    __hash__ = BaseModel.__hash__

    @property
    def _set(self) -> set[str]:
        return self.__pydantic_fields_set__


def _plain(value: Any) -> Any:
    if isinstance(value, _Wire):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return deepcopy(value) if isinstance(value, list | dict) else value


class Function(_Wire):
    """Which function a tool call calls, and with what."""

    name: str
    arguments: str
    """A JSON text, exactly as the model wrote it; never parsed and written again."""


class ToolCall(_Wire):
    """One call of a tool, as the assistant asked for it."""

    id: str
    type: str = "function"
    function: Function


class Message(_Wire):
    """One message of a Chat Completions conversation."""

    role: Role
    content: str | list[Json] | None = None
    """A text, or content parts (`{"type": "text", …}`); null beside tool calls."""
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    """On a tool message: the call it answers."""

    @classmethod
    def of_json(cls, text: str) -> "Message":
        """The message of a JSON text."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:  # pydantic's own parser refuses lone surrogates
            return cls.model_validate(json.loads(text))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, none if there are none."""
        return self.tool_calls or ()

    @property
    def text(self) -> str:
        """The text of the content, parts joined; empty when there is none."""
        if isinstance(self.content, list):
            return "".join(str(part.get("text") or "") for part in self.content)
        return self.content or ""


class Renumbered(NamedTuple):
    """Messages whose tool-call ids are `call_1`, `call_2`, … and the ids that stood there."""

    messages: tuple[Message, ...]
    ids: tuple[str, ...]


def renumber(messages: Iterable[Message]) -> Renumbered:
    """The same conversation with tool-call ids in order of appearance.

    Ids differ from run to run and say nothing; without them two runs that went the same way are
    the same path. An id that an assistant uses a second time names a new call, and a tool message
    answers the latest call of its id. `restore` is the inverse.
    """
    ids: list[str] = []
    latest: dict[str, str] = {}

    def fresh(original: str) -> str:
        ids.append(original)
        latest[original] = f"call_{len(ids)}"
        return latest[original]

    renamed = []
    for message in messages:
        if message.tool_calls:
            calls = tuple(c.model_copy(update={"id": fresh(c.id)}) for c in message.tool_calls)
            message = message.model_copy(update={"tool_calls": calls})
        elif message.tool_call_id is not None:
            known = latest.get(message.tool_call_id) or fresh(message.tool_call_id)
            message = message.model_copy(update={"tool_call_id": known})
        renamed.append(message)
    return Renumbered(tuple(renamed), tuple(ids))


def restore(messages: Iterable[Message], ids: Sequence[str]) -> tuple[Message, ...]:
    """The conversation that `renumber` was given, byte for byte."""
    original = {f"call_{n}": id for n, id in enumerate(ids, 1)}
    restored = []
    for message in messages:
        if message.tool_calls:
            calls = tuple(
                c.model_copy(update={"id": original.get(c.id, c.id)}) for c in message.tool_calls
            )
            message = message.model_copy(update={"tool_calls": calls})
        elif message.tool_call_id is not None:
            id = original.get(message.tool_call_id, message.tool_call_id)
            message = message.model_copy(update={"tool_call_id": id})
        restored.append(message)
    return tuple(restored)


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no spaces: equal values give equal bytes."""
    return to_json(value, sort_keys=True)


def verbatim(value: Any) -> bytes:
    """`value` as JSON with its keys in the order they have: what a chat template will see."""
    return to_json(value)


def digest(*parts: bytes) -> str:
    """A content hash of 32 hexadecimal digits (BLAKE2b, 128 bits)."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.hexdigest()


ROOT = ""
"""The parent of a conversation's first message."""


def node_id(parent: str, message_hash: str) -> str:
    """Where a message stands in the tree: the path that led to it, and what it says."""
    return digest(parent.encode(), message_hash.encode())
