"""How one model talks: its chat template makes prompts of messages, and labels of training rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError

from agentloop.base.errors import ConfigError, RecordError
from agentloop.base.records import Json

MASKED = -100
"""The label of a token that is not learned; torch's own convention."""

LOCAL = {"local_files_only": True, "trust_remote_code": False}
"""Nothing is fetched, and no code that lies in a model folder is run, or asked about."""

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None


class Prompt(NamedTuple):
    """What is put before the model."""

    text: str
    ids: list[int]


class Lesson(NamedTuple):
    """Tokens to train on; `labels` repeats the learned ones and is `MASKED` elsewhere."""

    ids: list[int]
    labels: list[int]


class Dialect:
    """The tokenizer and chat template of a model folder.

    Raises:
        ConfigError: the folder has no tokenizer or no chat template.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
            config = AutoConfig.from_pretrained(folder, **LOCAL).get_text_config()
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the tokenizer in {str(folder)!r}: {error}") from error
        if not self.tokenizer.chat_template:
            raise ConfigError(
                f"the model in {str(folder)!r} has no chat template; put a chat_template.jinja "
                "beside its tokenizer"
            )
        self.ends = frozenset(_ends(folder, self.tokenizer, config))
        """Tokens that end a message."""
        self.context = _context(self.tokenizer, config)
        """How many tokens prompt and answer may have together."""
        self.template = self.tokenizer.chat_template
        if not isinstance(self.template, str):  # several, by name
            self.template = self.tokenizer.get_chat_template(tools=[])

    def prompt(self, messages: Messages, tools: Tools = None) -> Prompt:
        """The conversation so far, and the beginning of the assistant's next message.

        Raises:
            RecordError: the model's chat template refuses the conversation.
        """
        text = self._render(self.plain(messages), tools, asks=True)
        return Prompt(text, self.encode(text))

    def answer(self, messages: Messages, tools: Tools, reply: Mapping[str, Any]) -> Prompt:
        """What the model would have to write to say `reply`, its end included.

        Raises:
            RecordError: see `prompt`.
        """
        plain = self.plain([*messages, reply])
        before = self._render(plain[:-1], tools, asks=True)
        after = self._render(plain, tools, asks=False)
        text = after[_common(before, after) :]
        ids = self.encode(text)
        return Prompt(text, ids[: self._learned_end(ids, 0, len(ids))])

    def going_on(
        self,
        messages: Messages,
        tools: Tools,
        reply: Mapping[str, Any],
        results: Messages,
    ) -> list[int]:
        """What stands between the end of `reply`, as the model wrote it, and its next message.

        Args:
            results: what came after the reply: its tools' results.

        Raises:
            RecordError: see `prompt`; or the template writes earlier messages differently when
                others follow, so that nothing can be put after what the model wrote.
        """
        plain = self.plain([*messages, reply, *results])
        before = self._render(plain[: len(messages)], tools, asks=True)
        said = self._render(plain[: len(messages) + 1], tools, asks=False)
        after = self._render(plain, tools, asks=True)
        if not (said.startswith(before) and after.startswith(said)):
            raise RecordError(
                "the model's chat template writes a message differently when others follow it, so "
                "an episode of several messages cannot be trained on"
            )
        own = self.encode(said[len(before) :])
        return own[self._learned_end(own, 0, len(own)) :] + self.encode(after[len(said) :])

    def lessons(self, messages: Messages, tools: Tools = None) -> list[Lesson]:
        """The conversation as training data: what the assistant wrote is learned, ends included.

        A message of weight 0 is not. One lesson, unless the template writes earlier messages
        differently from the last one (as templates do that leave out old reasoning): then one
        for each message learned, as the model would see it when it is about to write it.

        Raises:
            RecordError: see `prompt`.
        """
        plain = self.plain(messages)
        spoken = [n for n, message in enumerate(plain) if message["role"] == "assistant"]
        weights = [int(messages[n].get("weight", 1)) for n in spoken]
        found = self._marked(plain, tools, len(spoken)) or self._nested(plain, tools, spoken)
        if found is None:
            return [
                _lesson(*self._last(plain[: n + 1], tools), [1])
                for n, weight in zip(spoken, weights, strict=True)
                if weight
            ]
        return [_lesson(*found, weights)]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text in which the template has already put what it puts."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def plain(self, messages: Messages) -> list[Json]:
        """The messages in the form that chat templates are written for."""
        names: dict[str, str] = {}
        made: list[Json] = []
        for message in messages:
            role = message["role"]
            if role == "developer" and "developer" not in self.template:
                role = "system"
            new: Json = {"role": role, "content": _text(message)}
            if calls := list(_calls(message)):
                names.update({call["id"]: call["function"]["name"] for call in calls})
                new["tool_calls"] = [self._call(call) for call in calls]
            if reasoning := message.get("reasoning_content"):
                new["reasoning_content"] = reasoning
            if role in ("tool", "function"):
                new["role"] = "tool"
                new["tool_call_id"] = message.get("tool_call_id", "")
                new["name"] = names.get(new["tool_call_id"]) or message.get("name", "")
            elif message.get("name"):
                new["name"] = message["name"]
            made.append(new)
        return made

    @cached_property
    def _wants_objects(self) -> bool:
        """Whether the template writes arguments itself, and would quote a text once more."""
        probe = '{"probe": 1}'
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": probe}}
        chat: list[Json] = [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        try:
            return probe not in self._render(chat, None, asks=False)
        except RecordError:
            return True

    def _call(self, call: Json) -> Json:
        function = dict(call["function"])
        if self._wants_objects:
            try:
                function["arguments"] = json.loads(function["arguments"])
            except ValueError:
                # A model once wrote it so; the template gets what there is.
                function["arguments"] = {"": function["arguments"]}
        return {"id": call["id"], "type": "function", "function": function}

    def _render(self, plain: Sequence[Json], tools: Tools, *, asks: bool) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(plain),
                tools=[dict(tool) for tool in tools] if tools else None,
                tokenize=False,
                add_generation_prompt=asks,
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise RecordError(
                f"the model's chat template does not take this conversation: {error}"
            ) from error
        return text

    def _marked(
        self, plain: list[Json], tools: Tools, messages: int
    ) -> tuple[list[int], list[tuple[int, int]]] | None:
        """By the template's own `{% generation %}` marks, if it has one for each message."""
        if "generation" not in self.template or "endgeneration" not in self.template:
            return None
        self._render(plain, tools, asks=False)
        made = self.tokenizer.apply_chat_template(
            plain,
            tools=[dict(tool) for tool in tools] if tools else None,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids, marks = made["input_ids"], made["assistant_masks"]
        starts = [n for n, m in enumerate(marks) if m and not (n and marks[n - 1])]
        stops = [n + 1 for n, m in enumerate(marks) if m and not (marks[n + 1 :] or [0])[0]]
        if len(starts) != messages:
            return None
        spans = [
            (start, self._learned_end(ids, start, min(stop + 1, len(ids)), least=stop))
            for start, stop in zip(starts, stops, strict=True)
        ]
        return ids, spans

    def _nested(
        self, plain: list[Json], tools: Tools, spoken: list[int]
    ) -> tuple[list[int], list[tuple[int, int]]] | None:
        """By rendering up to each message, if every such text begins the whole one."""
        whole = self._render(plain, tools, asks=False)
        ids: list[int] = []
        spans = []
        at = 0
        for n in spoken:
            before = self._render(plain[:n], tools, asks=True) if n else ""
            after = self._render(plain[: n + 1], tools, asks=False)
            if not (whole.startswith(after) and after.startswith(before) and at <= len(before)):
                return None
            # Encoded apart, as the model will see the prompt apart when it writes the answer.
            ids += self.encode(whole[at : len(before)])
            start = len(ids)
            ids += self.encode(whole[len(before) : len(after)])
            spans.append((start, self._learned_end(ids, start, len(ids))))
            at = len(after)
        return ids, spans

    def _last(self, plain: list[Json], tools: Tools) -> tuple[list[int], list[tuple[int, int]]]:
        before = self._render(plain[:-1], tools, asks=True) if plain[1:] else ""
        after = self._render(plain, tools, asks=False)
        common = _common(before, after)
        ids = self.encode(after[:common])
        start = len(ids)
        ids += self.encode(after[common:])
        return ids, [(start, self._learned_end(ids, start, len(ids)))]

    def _learned_end(self, ids: list[int], start: int, stop: int, least: int | None = None) -> int:
        """Where learning stops: after the token that ends the message, if there is one."""
        for n in range(stop - 1, start - 1, -1):
            if ids[n] in self.ends:
                return n + 1
        return stop if least is None else least


def _common(a: str, b: str) -> int:
    """How many characters two texts begin with in common."""
    if b.startswith(a):
        return len(a)
    return next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _lesson(ids: list[int], spans: list[tuple[int, int]], weights: list[int]) -> Lesson:
    labels = [MASKED] * len(ids)
    for (start, stop), weight in zip(spans, weights, strict=True):
        if weight:
            labels[start:stop] = ids[start:stop]
    return Lesson(ids, labels)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None:
        return str(message.get("refusal") or "")
    for part in content:
        if part.get("type") not in ("text", "refusal"):
            raise RecordError(f"content of type {part.get('type')!r} is nothing this model reads")
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in content)


def _calls(message: Mapping[str, Any]) -> Iterator[Json]:
    for n, call in enumerate(message.get("tool_calls") or ()):
        yield {"id": call.get("id") or f"call_{n}", "function": dict(call["function"])}
    if message.get("function_call"):  # the form of 2023
        yield {"id": "call_0", "function": dict(message["function_call"])}


def _ends(folder: Path, tokenizer: Any, config: Any) -> set[int]:
    found: set[int] = set()
    path = folder / "generation_config.json"
    generation = json.loads(path.read_text()) if path.is_file() else {}
    for ends in (generation.get("eos_token_id"), config.eos_token_id, tokenizer.eos_token_id):
        found.update([ends] if isinstance(ends, int) else ends or [])
    return found


def _context(tokenizer: Any, config: Any) -> int:
    # Tokenizers that know no limit say a very large number.
    limits = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    return min(int(limit) for limit in limits if limit)
