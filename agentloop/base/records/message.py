"""What was said: one chat message, and the identity it has in the conversation tree."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer

from agentloop.base.records.record import Json, bare, to_json

NONE: Mapping[str, str] = MappingProxyType({})

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class _Wire(BaseModel):
    """A JSON object that comes back as it went in: absent stays absent, null stays null."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_serializer(mode="plain")
    def to_dict(self) -> Json:
        """The object as it stood on the wire, keys that we do not know included. The same inside
        another record, whatever that one leaves out of itself."""
        given, fields = self.__dict__, self.__pydantic_fields_set__
        if self.__pydantic_extra__:
            given = {**given, **self.__pydantic_extra__}
        return {
            k: v if type(v) is str else _plain(v)  # nearly all are, and there are many
            for k, v in given.items()
            if k in fields
        }

    def __eq__(self, other: object) -> bool:
        """Equal on the wire: a null and an absent key are two things."""
        return super().__eq__(other) and isinstance(other, _Wire) and self._set == other._set

    __hash__ = BaseModel.__hash__

    @classmethod
    def _with(cls, values: Json, said: Json) -> Self:
        """What has these values of its fields, and the other keys of `said`."""
        beside = (
            {} if said.keys() <= values.keys() else {k: said[k] for k in said if k not in values}
        )
        return bare(cls, values, set(said), beside)

    def but(self, **changes: Any) -> Self:
        """The same with other values in some fields: `model_copy`, and quicker."""
        given = self._set | changes.keys()
        return bare(type(self), self.__dict__ | changes, given, self.__pydantic_extra__)

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

    @classmethod
    def trusted(cls, said: Json) -> "Function":
        """As `Message.trusted`."""
        return cls._with({"name": said["name"], "arguments": said["arguments"]}, said)


class ToolCall(_Wire):
    """One call of a tool, as the assistant asked for it."""

    id: str
    type: str = "function"
    function: Function

    @classmethod
    def trusted(cls, said: Json, ids: Mapping[str, str] = NONE) -> "ToolCall":
        """As `Message.trusted`."""
        values = {
            "id": ids.get(said["id"], said["id"]),
            "type": said.get("type", "function"),
            "function": Function.trusted(said["function"]),
        }
        return cls._with(values, said)


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

    @classmethod
    def trusted(cls, said: Json, ids: Mapping[str, str] = NONE) -> "Message":
        """The message that `to_dict` gave: what `model_validate` makes of it, and many times
        quicker, for nothing is looked at.

        Args:
            ids: tool-call ids -> what is to stand in their place.
        """
        asked, answers = said.get("tool_calls"), said.get("tool_call_id")
        values = {
            "role": said["role"],
            "content": said.get("content"),
            "tool_calls": None,
            "tool_call_id": None if answers is None else ids.get(answers, answers),
        }
        if asked is not None:
            values["tool_calls"] = tuple([ToolCall.trusted(call, ids) for call in asked])
        return cls._with(values, said)

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
    numbers = Numbers()
    return Renumbered(tuple(map(numbers.given_to, messages)), tuple(numbers.ids))


class Numbers:
    """The numbers that the tool calls of a conversation have so far."""

    __slots__ = ("_latest", "ids")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._latest: dict[str, str] = {}

    def copy(self) -> "Numbers":
        """The same numbers, to be gone on with in another way."""
        other = Numbers()
        other.ids, other._latest = self.ids.copy(), self._latest.copy()
        return other

    def given_to(self, message: Message) -> Message:
        """The next message, with numbers in place of its ids."""
        if message.tool_calls:
            calls = tuple(call.but(id=self._new(call.id)) for call in message.tool_calls)
            return message.but(tool_calls=calls)
        if message.tool_call_id is not None:
            return message.but(tool_call_id=self._number(message.tool_call_id))
        return message

    def written(self, message: Message) -> Json:
        """The next message as it stands on the wire, with numbers in place of its ids: what
        `given_to` gives, without a message in between."""
        said = message.to_dict()
        if message.tool_calls:
            for call in said["tool_calls"]:
                call["id"] = self._new(call["id"])
        elif message.tool_call_id is not None:
            said["tool_call_id"] = self._number(message.tool_call_id)
        return said

    def _number(self, original: str) -> str:
        return self._latest.get(original) or self._new(original)

    def _new(self, original: str) -> str:
        self.ids.append(original)
        number = self._latest[original] = f"call_{len(self.ids)}"
        return number


def restore(said: Iterable[Json], ids: Sequence[str]) -> Iterator[Message]:
    """The conversation that `renumber` was given, byte for byte.

    Args:
        said: what it made of that, each message as `to_dict` gives it.
    """
    original = {f"call_{n}": id for n, id in enumerate(ids, 1)}
    return (Message.trusted(message, original) for message in said)


def highest(said: Json) -> int:
    """The highest number in a message of those that `renumber` gave, 3 for `call_3`; 0: none."""
    if asked := said.get("tool_calls"):
        return max(int(call["id"][5:]) for call in asked)
    return 0 if (answers := said.get("tool_call_id")) is None else int(answers[5:])


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no spaces: equal values give equal bytes."""
    return to_json(value, sort_keys=True)


def verbatim(value: Any) -> bytes:
    """`value` as JSON with its keys in the order they have: what a chat template will see."""
    return to_json(value)


def digest(*parts: bytes) -> str:
    """A content hash of 32 hexadecimal digits (BLAKE2b, 128 bits)."""
    framed = b""
    for part in parts:
        framed += len(part).to_bytes(8, "big") + part
    return hashlib.blake2b(framed, digest_size=16).hexdigest()


ROOT = ""
"""The parent of a conversation's first message."""


def node_id(parent: str, message_hash: str) -> str:
    """Where a message stands in the tree: the path that led to it, and what it says."""
    return digest(parent.encode(), message_hash.encode())
