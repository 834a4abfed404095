"""How many tokens a row has for the model that will learn it, and rows that fit its window."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from agentloop.base.errors import ConfigError, RecordError
from agentloop.base.records import Example, Json, Message, SFTExample
from agentloop.base.records.message import verbatim

REMEMBERED = 4096
"""Texts whose count is remembered: instructions and tools are the same in many rows, and a
conversation comes back in its next turn."""

INSTRUCTIONS = ("system", "developer")

LONGER_THAN_ANY = 1 << 40
"""Tokens; what stands for no limit."""

Count = Callable[[Json], int]
"""The tokens of a row's body."""


class Tokens(NamedTuple):
    """Who counts, and what a manifest says of it."""

    name: str
    """`gpt-4.1`, or `FOLDER@HASH` of a tokenizer's files."""
    count: Count

    @classmethod
    def of(cls, said: "str | Path | Count | Tokens") -> "Tokens":
        """Who counts for a model: one of OpenAI's by name, another by a folder with its tokenizer
        (`tokenizer.json`, `tokenizer_config.json`), or a function of a row's body.

        Raises:
            ConfigError: there is no such model or folder, or the extra that it needs.
        """
        if isinstance(said, Tokens):
            return said
        if callable(said):
            return cls("given", said)
        folder = Path(said)
        if folder.is_dir():
            return cls(_named(folder), TemplateTokens(folder))
        name = str(said)
        return cls(name, OpenAITokens(name))


# ---------------------------------------------------------------------- OpenAI's models


ENCODINGS = {
    **dict.fromkeys(("gpt-3.5", "gpt-35", "gpt-4"), "cl100k_base"),
    **dict.fromkeys(("chatgpt-4o", "gpt-4.1", "gpt-4.5", "gpt-4o", "gpt-5"), "o200k_base"),
    **dict.fromkeys(("gpt-oss", "o1", "o3", "o4"), "o200k_base"),
}
"""How a model's name begins -> its encoding; the longest beginning counts."""

A_MESSAGE, A_NAME, A_REPLY = 3, 1, 3
A_FUNCTION, A_FUNCTION_BEFORE_4O, ALL_FUNCTIONS = 7, 10, 12
ALL_PROPERTIES, A_PROPERTY, AN_ENUM, A_VALUE = 3, 3, -3, 3
"""Tokens beside what is said. Source: OpenAI's cookbook, `How_to_count_tokens_with_tiktoken`."""
FLAT = ("type", "description", "enum", "title")
"""What the formula counts of a property; a title no model sees."""


def encoding_of(model: str) -> str:
    """The encoding of a model of OpenAI's, tuned ones (`ft:gpt-4.1:…`) among them.

    >>> encoding_of("gpt-4.1-mini-2025-04-14"), encoding_of("ft:gpt-4-0613:shop::1")
    ('o200k_base', 'cl100k_base')

    Raises:
        ConfigError: no model of OpenAI's that we know begins so.
    """
    name = model.removeprefix("ft:")
    starts = [start for start in ENCODINGS if name.startswith(start)]
    if not starts:
        raise ConfigError(
            f"no tokenizer {model!r}: name a model of OpenAI's ({', '.join(sorted(ENCODINGS))}) or "
            "a folder with a tokenizer.json"
        )
    return ENCODINGS[max(starts, key=len)]


SAID = ("content", "refusal", "reasoning_content")
"""Where a message has its text."""


class OpenAITokens:
    """Tokens of a row for a model of OpenAI's: an estimate, for training is not said to count as
    prompts do. For the example with tools in the cookbook it is what their service counted: 101
    tokens for gpt-4o, 105 for gpt-4.

    Every message is its text, role and name, and 3; a tool call is its name and arguments, and 3;
    a row is 3 more. A tool is its name and description, and each of its properties by name, type,
    description and values, with some beside; what that formula has no word for (lists and objects
    in properties) is counted as JSON. Of a preference, the longer answer counts. Images do not
    count.
    """

    def __init__(self, model: str) -> None:
        """
        Raises:
            ConfigError: no model of OpenAI's is called so, or the extra `tokens` is not installed.
        """
        encoding = encoding_of(model)
        if find_spec("bpe_openai") is None:
            raise ConfigError(
                "counting tokens needs the extra: pip install 'openagentloop[tokens]'"
            )
        import bpe_openai

        self._encode = bpe_openai.get_encoding(encoding).encode_ordinary
        self._function = A_FUNCTION_BEFORE_4O if encoding == "cl100k_base" else A_FUNCTION
        self._text = lru_cache(maxsize=REMEMBERED)(self._new_text)
        self._tools = lru_cache(maxsize=64)(self._new_tools)

    def __call__(self, body: Json) -> int:
        longest = max(map(self._messages, _conversations(body)))
        tools = body.get("input", body).get("tools")
        return A_REPLY + longest + (self._tools(verbatim(tools)) if tools else 0)

    def _messages(self, messages: Sequence[Json]) -> int:
        return sum(map(self._message, messages))

    def _message(self, message: Json) -> int:
        said = A_MESSAGE + self._text(message["role"])
        if name := message.get("name"):
            said += A_NAME + self._text(name)
        for key in SAID:
            if key in message:
                said += sum(map(self._text, _texts(message[key])))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            arguments = function["arguments"]
            if not isinstance(arguments, str):  # as TRL has them
                arguments = verbatim(arguments).decode()
            said += A_MESSAGE + self._text(function["name"]) + self._text(arguments)
        return said

    def _new_text(self, text: str) -> int:
        return len(self._encode(text))

    def _new_tools(self, tools: bytes) -> int:
        return ALL_FUNCTIONS + sum(
            self._function + self._offer(tool.get("function") or {}) for tool in json.loads(tools)
        )

    def _offer(self, function: Json) -> int:
        about = str(function.get("description") or "").removesuffix(".")
        said = self._new_text(f"{function.get('name')}:{about}")
        properties = (function.get("parameters") or {}).get("properties") or {}
        if properties:
            said += ALL_PROPERTIES
        return said + sum(self._property(*item) for item in properties.items())

    def _property(self, name: str, schema: Any) -> int:
        if not isinstance(schema, Mapping):
            return A_PROPERTY + self._new_text(name)
        about = str(schema.get("description") or "").removesuffix(".")
        said = A_PROPERTY + self._new_text(f"{name}:{schema.get('type', '')}:{about}")
        if values := schema.get("enum"):
            said += AN_ENUM + sum(A_VALUE + self._new_text(str(value)) for value in values)
        more = {key: schema[key] for key in schema if key not in FLAT}
        return said + (self._new_text(verbatim(more).decode()) if more else 0)


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(text := part.get("text"), str):
            yield text


def _conversations(body: Json) -> Iterator[list[Json]]:
    """A row as the conversations that a model would read: two of a preference."""
    if "input" in body:
        for key in ("preferred_output", "non_preferred_output"):
            yield [*body["input"]["messages"], *body[key]]
    elif "prompt" in body:
        yield [*body["prompt"], *body["completion"]]
    else:
        yield body["messages"]


# ---------------------------------------------------------------------- any other model

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
)
"""What says how a folder's tokenizer counts."""


class TemplateTokens:
    """Tokens of a row as a model's own chat template and tokenizer have it: exactly, where the
    template writes arguments of tools as objects, as most do."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            ConfigError: the folder holds no tokenizer with a chat template, or transformers (the
                extra `local`) is not installed.
        """
        if find_spec("transformers") is None:
            raise ConfigError(
                f"the tokenizer in {folder} needs the extra: pip install 'openagentloop[local]'"
            )
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._tokenizer.model_max_length = LONGER_THAN_ANY  # it would warn of a long row
        except (OSError, ValueError) as error:
            raise ConfigError(f"no tokenizer in {folder}: {error}") from error
        template = self._tokenizer.chat_template
        if not template:
            raise ConfigError(f"the tokenizer in {folder} has no chat template")
        self._knows_developer = "developer" in str(template)

    def __call__(self, body: Json) -> int:
        """
        Raises:
            RecordError: the template does not take the conversation.
        """
        tools = body.get("input", body).get("tools")
        return max(self._read(said, tools) for said in _conversations(body))

    def _read(self, messages: Sequence[Json], tools: Sequence[Json] | None) -> int:
        from jinja2 import TemplateError

        plain = [self._plain(message) for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                plain, tools=list(tools) if tools else None, tokenize=False
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise RecordError(f"the model's chat template does not take it: {error}") from error
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _plain(self, message: Json) -> Json:
        """A message as templates are written for: a text, and arguments as objects."""
        role = message["role"]
        plain = {**message, "content": "".join(_texts(message.get("content")))}
        if role == "developer" and not self._knows_developer:
            plain["role"] = "system"
        if calls := message.get("tool_calls"):
            plain["tool_calls"] = [
                {**call, "function": {**call["function"], "arguments": _object(call)}}
                for call in calls
            ]
        return plain


def _object(call: Json) -> Any:
    text = call["function"]["arguments"]
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _named(folder: Path) -> str:
    """A folder's name, and a hash of what its tokenizer is: the same wherever it lies."""
    said = sha256()
    for name in FILES:
        if (file := folder / name).is_file():
            said.update(f"{name}\n".encode() + file.read_bytes())
    return f"{folder.resolve().name}@{said.hexdigest()[:12]}"


# ---------------------------------------------------------------------- what fits


E = TypeVar("E", bound=Example)


class Fitted(NamedTuple, Generic[E]):
    """An example that fits, or the shortest that it can be made."""

    example: E
    tokens: int
    exchanges: int
    """How many of the oldest were dropped."""
    messages: int
    """How many messages these were."""

    @property
    def note(self) -> Json:
        """What `rows.meta.jsonl` says."""
        note: Json = {"tokens": self.tokens}
        if self.messages:
            note["dropped"] = {"exchanges": self.exchanges, "messages": self.messages}
        return note


def fitted(example: E, count: Callable[[E], int], *, limit: int, window: bool = False) -> Fitted[E]:
    """An example with at most `limit` tokens, where dropping whole exchanges can do it.

    What a limit cuts off is the end, which is what was to be learned. So the oldest exchanges go:
    a user's message (or several) with all that came of it, as few of them as will do, and never
    the last one. Instructions stay, no message is cut, and no tool call parts from its answer.

    Args:
        window: whether anything may be dropped at all.

    Returns:
        The example as it is when it fits, and the shortest there is when none does: `tokens` says
        which.
    """
    whole = Fitted(example, count(example), 0, 0)
    if whole.tokens <= limit or not window:
        return whole
    ends = cuts(example.context)
    best = whole
    low, high = 0, len(ends) - 1
    while low <= high:
        middle = (low + high) // 2
        shorter, messages = _from(example, ends[middle])
        tried = Fitted(shorter, count(shorter), middle + 1, messages)
        if tried.tokens <= limit:
            best, high = tried, middle - 1
        else:
            low = middle + 1
            if best.tokens > limit:
                best = tried
    return best


def cuts(context: Sequence[Message]) -> list[int]:
    """Where a context may begin, instructions aside: at the first message of a user in a row,
    with no tool call before it that is answered after it; the beginning itself is none."""
    begun = False
    last: str | None = None
    answers = {m.tool_call_id: n for n, m in enumerate(context) if m.role in ("tool", "function")}
    owed = -1
    found = []
    for n, message in enumerate(context):
        if message.role in INSTRUCTIONS:
            continue
        if begun and message.role == "user" and last != "user" and owed < n:
            found.append(n)
        begun, last = True, message.role
        owed = max([owed, *(answers.get(call.id, -1) for call in message.calls)])
    return found


def _from(example: E, start: int) -> tuple[E, int]:
    """The example without what its context says before `start`, but for instructions, and how many
    messages that was."""
    before, after = example.context[:start], example.context[start:]
    kept = tuple(message for message in before if message.role in INSTRUCTIONS)
    changed: Json = {"context": (*kept, *after)}
    if isinstance(example, SFTExample):
        gone = sum(message.role == "assistant" for message in before)
        changed["weights"] = example.weights[gone:]
    return example.model_copy(update=changed), len(before) - len(kept)
