"""What a model wrote, taken apart: text, reasoning, tool calls. Whatever does not parse is text."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from agentloop.base.records import Json
from agentloop.local.disk.ids import fresh

HERMES: Json = {
    "defaults": {"role": "assistant"},
    "start_anchor_pattern": r"(?!)",
    "fields": {
        "reasoning_content": {
            "open": "<think>",
            "close_pattern": r"</think>\s*",
            "content": "text",
        },
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"content": "text"},
    },
}
"""How Hermes, Qwen and many more write tool calls; for tokenizers without a template of their
own. The form is transformers' `response_template`."""


class Said(NamedTuple):
    """A piece of plain text."""

    text: str


class Thought(NamedTuple):
    """A piece of reasoning."""

    text: str


class Called(NamedTuple):
    """One tool call, complete."""

    name: str
    arguments: str
    """JSON of an object."""


Piece = Said | Thought | Called


class Reader:
    """Reads one answer as it is written. White space around the text is dropped."""

    def __init__(
        self, template: Json | None, prompt: str, *, tools: bool, at_most: int | None = None
    ) -> None:
        """
        Args:
            template: the tokenizer's `response_template`; None reads the Hermes form.
            prompt: the text before the answer: it may have begun a region (`<think>`).
            tools: whether tool calls are looked for; otherwise they are text.
            at_most: how many tool calls are taken; later ones are left out.
        """
        from transformers.utils.chat_parsing import ResponseParser

        self._spec = _spec(json.dumps(template or HERMES), tools)
        self._parser = ResponseParser(self._spec, prefix=prompt if template else "")
        self._left = at_most
        self._raw = ""
        self._read = 0
        """How much of `_raw` has become pieces."""
        self._seen = 0
        """How much of `_raw` the parser has passed on in events."""
        self._broken = False
        self._begun = False
        self._space = ""

    def feed(self, text: str) -> list[Piece]:
        """What `text` completes."""
        made: list[Piece] = []
        # In small parts, because what precedes a malformed call in one part is lost with it.
        for part in re.split("(?=<)", text):
            self._raw += part
            if self._broken:
                made += self._plain()
                continue
            try:
                made += self._pieces(self._parser.feed(part))
            except (ValueError, KeyError):
                made += self._give_up()
        return made

    def end(self) -> list[Piece]:
        """What is complete now that the answer is."""
        if self._broken:
            return self._plain()
        try:
            return self._pieces(self._parser.finalize()[1])
        except (ValueError, KeyError):
            return self._give_up()

    def _pieces(self, events: Sequence[Json]) -> list[Piece]:
        made: list[Piece] = []
        for event in events:
            kind, field = event["type"], event["field"]
            if kind == "region_chunk":
                self._seen = self._raw.index(event["text"], self._seen) + len(event["text"])
                if field == "content":
                    made += self._say(event["text"])
                elif field == "reasoning_content":
                    made.append(Thought(event["text"]))
                if not event.get("dirty"):
                    self._read = self._seen
            elif kind == "region_close" and field == "tool_calls":
                calls = list(_called(event["value"]))
                self._pass_over(field)
                if calls:
                    made += self._take(calls)
                    self._read = self._seen
                else:
                    made += self._plain(self._seen)
        return made

    def _take(self, calls: list[Called]) -> list[Called]:
        if self._left is not None:
            calls = calls[: self._left]
            self._left -= len(calls)
        self._space = ""
        return calls

    def _pass_over(self, field: str) -> None:
        """The delimiter after a region belongs to it."""
        close = self._spec.fields[field].close_re
        if close is not None and (match := close.match(self._raw, self._seen)):
            self._seen = match.end()

    def _give_up(self) -> list[Piece]:
        self._broken = True
        return self._plain()

    def _plain(self, stop: int | None = None) -> list[Piece]:
        """Everything not read yet, as text."""
        text = self._raw[self._read : stop]
        self._read += len(text)
        return list(self._say(text))

    def _say(self, text: str) -> list[Piece]:
        text = self._space + text
        if not self._begun:
            text = text.lstrip()
        kept = text.rstrip()
        self._space = text[len(kept) :]
        if not kept:
            return []
        self._begun = True
        return [Said(kept)]


@lru_cache(maxsize=64)
def _spec(template: str, tools: bool) -> Any:
    """The template, read once; without tools, a tool call is text."""
    from transformers.utils.chat_parsing.response_templates import load_response_template

    chosen = json.loads(template)
    if not tools:
        chosen["fields"].pop("tool_calls", None)
    return load_response_template(chosen)


def message(pieces: Sequence[Piece]) -> Json:
    """The assistant's message that these pieces make, in OpenAI's form."""
    text = "".join(piece.text for piece in pieces if isinstance(piece, Said))
    thought = "".join(piece.text for piece in pieces if isinstance(piece, Thought))
    calls = [tool_call(piece) for piece in pieces if isinstance(piece, Called)]
    made: Json = {"role": "assistant", "content": text if text or not calls else None}
    made["refusal"] = None
    if calls:
        made["tool_calls"] = calls
    if thought.strip():
        made["reasoning_content"] = thought.strip()
    return made


def tool_call(piece: Called) -> Json:
    """The call with a fresh id, in OpenAI's form."""
    function = {"name": piece.name, "arguments": piece.arguments}
    return {"id": fresh("call_"), "type": "function", "function": function}


def _called(value: Any) -> Iterator[Called]:
    """The calls in what a template made of one region; none if it is not of their form."""
    for call in value if isinstance(value, list) else [value]:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            continue
        arguments = function.get("arguments", function.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = _object(arguments)
        if function["name"] and isinstance(arguments, dict):
            yield Called(function["name"], json.dumps(arguments, ensure_ascii=False))


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
