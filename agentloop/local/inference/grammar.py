"""What an answer is held to: JSON of a schema, tool calls of a form, as masks over the next token.

llguidance does the work. This says what it is asked for: a grammar made of the model's own way to
write tool calls, which is learned from its chat template, and of JSON schemas.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from agentloop.base.errors import RecordError
from agentloop.base.records import Json
from agentloop.local.inference.dialect import Dialect
from agentloop.local.inference.reading import HERMES, Called, Reader

ANY_OBJECT: Json = {"type": "object"}
"""The schema of `json_object`."""

KEPT = 256
"""Grammars that stay compiled, for each model, and schemas of which it is known what is wrong."""

_SPACE = r"(\n {0,16}| )?"
"""Between two parts of a JSON text: none, one space, or a new line. Without a bound a model could
write white space until it has no room left."""


class Function(NamedTuple):
    """A tool that may be called."""

    name: str
    schema: Json
    strict: bool
    """Whether a schema that cannot be kept is refused; otherwise it is kept as far as it can be."""


@dataclass(frozen=True)
class Wish:
    """What is asked of an answer."""

    schema: Json | None = None
    """Text is JSON of this schema; None leaves text free."""
    strict: bool = True
    """Of `schema`, as in `Function`."""
    functions: tuple[Function, ...] = ()
    """Those that may be called."""
    must_call: bool = False
    """There is at least one call, and no text."""
    at_most: int | None = None
    """1: no second call; None: as many as it likes."""

    @classmethod
    def of(cls, response_format: Json | None, tools: Sequence[Json] = ()) -> "Wish":
        """What `response_format` and `tools` of a request or a training row ask for.

        >>> Wish.of({"type": "json_object"}).schema
        {'type': 'object'}
        >>> Wish.of(None, [{"type": "function", "function": {"name": "f"}}]).functions
        (Function(name='f', schema={}, strict=False),)
        """
        told = response_format or {"type": "text"}
        form = told.get("json_schema") or {}
        functions = [tool["function"] for tool in tools]
        return cls(
            schema=None if told["type"] == "text" else form.get("schema") or ANY_OBJECT,
            strict=told["type"] != "json_schema" or bool(form.get("strict")),
            functions=tuple(
                Function(of["name"], of.get("parameters") or {}, bool(of.get("strict")))
                for of in functions
            ),
        )


class Unkept(ValueError):
    """A wish that cannot be kept; who asks for it makes an error of its own of that.

    `place` says which part: `schema`, `calls`, or the name of a function.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


class Bound:
    """What one sequence is held to, as far as it has come. Not for several threads."""

    def __init__(self, matcher: LLMatcher, known: int) -> None:
        """`known`: tokens that have a name; a model may have room for more."""
        self._matcher = matcher
        self.known = known
        self.failure = ""
        """Why it can go on no more, if it cannot."""

    def fill(self, bits: "np.ndarray[Any, np.dtype[np.uint32]]") -> None:
        """Set the bit of each token that may come next, in a row of 32-bit words."""
        try:
            self._matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        except ValueError as error:
            self.failure = str(error)
            bits[:] = 0xFFFFFFFF

    def take(self, token: int) -> None:
        """The next token has been chosen."""
        if not self._matcher.consume_token(token):
            self.failure = self.failure or self._matcher.get_error()


def forbid(logits_BV: torch.Tensor, bounds: Mapping[int, Bound]) -> torch.Tensor:
    """`logits_BV` with minus infinity where the rows that `bounds` names may not go on."""
    known = max(bound.known for bound in bounds.values())
    words = (known + 31) // 32
    bits_RW = np.zeros((len(bounds), words), dtype=np.uint32)
    for bits, bound in zip(bits_RW, bounds.values(), strict=True):
        bound.fill(bits)
    allowed_RV = np.zeros((len(bounds), logits_BV.shape[1]), dtype=bool)
    width = min(known, logits_BV.shape[1])
    flags_RV = np.unpackbits(bits_RW.view(np.uint8), axis=1, bitorder="little")
    allowed_RV[:, :width] = flags_RV[:, :width]
    rows = torch.tensor(list(bounds), device=logits_BV.device)
    mask_RV = torch.from_numpy(~allowed_RV).to(logits_BV.device)
    made_BV = logits_BV.clone()
    made_BV[rows] = made_BV[rows].masked_fill(mask_RV, float("-inf"))
    return made_BV


class Grammars:
    """The grammars of one model. Safe to use from several threads."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._lock = threading.Lock()
        ends = sorted(dialect.ends)
        self._tokenizer: LLTokenizer = from_tokenizer(dialect.tokenizer, eos_token=ends)
        self._known = int(self._tokenizer.vocab_size)
        self._added: dict[int, str] = {
            number: token.content
            for number, token in dialect.tokenizer.added_tokens_decoder.items()
        }
        form = _Form.of(dialect)
        # A call that nobody could read is no call.
        self._form = form if form is not None and form.is_read(dialect) else None
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._looked_at: OrderedDict[str, str] = OrderedDict()
        """What is wrong with the schemas of late."""

    def bound(self, wish: Wish, prompt: str = "") -> Bound | None:
        """What holds one answer to `wish`; None where nothing needs to.

        Args:
            prompt: the text before the answer: it may have begun a thought.

        Raises:
            Unkept: a schema has what cannot be kept, or this model has no form of tool calls.
        """
        text = self._grammar(wish, prompt)
        if text is None:
            return None
        with self._lock:
            found = self._compiled.get(text)
            if found is None:
                found = LLMatcher(self._tokenizer, text, log_level=0)
                if found.is_error():
                    raise Unkept(f"cannot be kept: {_reason(found.get_error())}", "calls")
                self._compiled[text] = found
                if len(self._compiled) > KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(text)
            return Bound(found.deep_copy(), self._known)

    def content(self, token: int) -> bytes:
        """The text of a token; of some it is a part of a character."""
        if token in self._added:
            return self._added[token].encode()
        return bytes(self._tokenizer.decode_bytes([token])) if token < self._known else b""

    def _grammar(self, wish: Wish, prompt: str) -> str | None:
        calls = self._calls(wish)
        if wish.must_call:
            return self._after_thought(calls, prompt)
        if wish.schema is not None:
            json_rule = f"json: {self._json(wish.schema, wish.strict, 'schema')}\n"
            if calls is None:
                return self._after_thought(json_rule, prompt, "json")
            return self._after_thought(json_rule + calls, prompt, "(json | calls)")
        opener = self._form.opener(self._added) if self._form else None
        held = wish.at_most is not None or any(function.strict for function in wish.functions)
        if calls is None or opener is None or not held:
            return None
        free = [n for n in self._added if n != opener and n not in self._dialect.ends]
        marks = f"(<[{','.join(map(str, free))}]> TEXT?)*" if free else ""
        return f"start: TEXT? {marks} calls?\n{calls}{_text(self._added[opener])}"

    def _after_thought(self, rules: str | None, prompt: str, what: str = "calls") -> str:
        """The grammar that holds to `what`, once the model has thought."""
        names = {content: number for number, content in self._added.items()}
        template = getattr(self._dialect.tokenizer, "response_template", None) or HERMES
        start = what
        if "reasoning_content" in template["fields"] and {"<think>", "</think>"} <= set(names):
            closing = f'TEXT? <[{names["</think>"]}]> ("\\n")*'
            if prompt.rstrip().endswith("<think>"):
                start = f"{closing} {what}"
            else:
                start = f"(<[{names['<think>']}]> {closing})? {what}"
        return f"start: {start}\n{rules or ''}{_text('</think>')}"

    def _calls(self, wish: Wish) -> str | None:
        """The rules of `calls`; None without functions."""
        if not wish.functions:
            return None
        if self._form is None:
            if wish.must_call:
                raise Unkept("this model writes tool calls in a form that cannot be kept", "calls")
            return None
        form = self._form
        several = wish.at_most is None and form.between is not None
        more = f" ({self._literal(form.between or '')} call)*" if several else ""
        rules = [
            f"calls: call{more}",
            f"call: {self._literal(form.open)} named {self._literal(form.close)}",
            "named: " + " | ".join(f"call_{n}" for n in range(len(wish.functions))),
        ]
        for n, function in enumerate(wish.functions):
            schema = self._json(function.schema or ANY_OBJECT, function.strict, function.name)
            name = json.dumps(function.name, ensure_ascii=False)
            rules.append(f"call_{n}: {name} {self._literal(form.middle)} {schema}")
        return "\n".join(rules) + "\n"

    def _json(self, schema: Json, strict: bool, place: str) -> str:
        """`schema` as a part of a grammar."""
        options = {"whitespace_pattern": _SPACE, "lenient": not strict}
        part = f"%json {json.dumps({**schema, 'x-guidance': options})}"
        wrong = self._wrong(part)
        if wrong and strict:
            raise Unkept(_reason(wrong), place)
        return f"%json {json.dumps({**ANY_OBJECT, 'x-guidance': options})}" if wrong else part

    def _wrong(self, part: str) -> str:
        """What is wrong with a part of a grammar, or nothing."""
        with self._lock:
            if part not in self._looked_at:
                wrong = LLMatcher.validate_grammar(f"start: {part}", self._tokenizer)
                self._looked_at[part] = wrong
                if len(self._looked_at) > KEPT:
                    self._looked_at.popitem(last=False)
            self._looked_at.move_to_end(part)
            return self._looked_at[part]

    def _literal(self, text: str) -> str:
        """`text` as a part of a grammar; tokens with a name of their own are meant as such."""
        names = {content: number for number, content in self._added.items()}
        if not text:
            return '""'
        pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        parts = re.split(f"({pattern})", text) if pattern else [text]
        return " ".join(
            f"<[{names[part]}]>" if part in names else json.dumps(part, ensure_ascii=False)
            for part in parts
            if part
        )


class _Form(NamedTuple):
    """How a model writes tool calls, learned from what its chat template makes of two of them."""

    open: str
    """Before the name."""
    middle: str
    """Between name and arguments."""
    close: str
    """After the arguments."""
    between: str | None
    """Between two calls; None where a message has one."""

    @classmethod
    def of(cls, dialect: Dialect) -> "_Form | None":
        """None where name and arguments cannot be told in it, or are not in that order."""
        text = _probe(dialect, 2)
        found = _PAIR.findall(text) if text is not None else []
        if text is None or len(found) < 2:
            text = _probe(dialect, 1)
            found = _PAIR.findall(text) if text is not None else []
        if text is None or not found:
            return None
        spans = [match.span() for match in _PAIR.finditer(text)]
        middles = {match["middle"] for match in _PAIR.finditer(text)}
        open, rest = text[: spans[0][0]], text[spans[-1][1] :]
        if len(middles) != 1:
            return None
        if len(spans) == 1:
            return cls(open, middles.pop(), rest, None)
        gap = text[spans[0][1] : spans[1][0]]
        if not (gap.startswith(rest) and gap.endswith(open) and len(gap) >= len(rest + open)):
            return None
        return cls(open, middles.pop(), rest, gap[len(rest) : len(gap) - len(open)])

    def is_read(self, dialect: Dialect) -> bool:
        """Whether what is written so is taken apart again."""
        template = getattr(dialect.tokenizer, "response_template", None)
        prompt = dialect.prompt([{"role": "user", "content": "q"}]).text
        reader = Reader(template, prompt, tools=True)
        text = f"{self.open}probe_name{self.middle}{{}}{self.close}"
        return [*reader.feed(text), *reader.end()] == [Called("probe_name", "{}")]

    def opener(self, added: Mapping[int, str]) -> int | None:
        """The token that a call begins with and text does not have."""
        start = self.open.lstrip()
        return next((n for n, name in added.items() if name and start.startswith(name)), None)


_PAIR = re.compile(r'probe_name(?P<middle>.*?)\{\s*"probe"\s*:\s*1\s*\}', re.DOTALL)


def _probe(dialect: Dialect, calls: int) -> str | None:
    """A message with so many calls, without the token that ends it."""
    schema = {"type": "object", "properties": {"probe": {"type": "integer"}}}
    function = {"name": "probe_name", "description": "", "parameters": schema}
    asked = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": "probe_name", "arguments": '{"probe": 1}'},
        }
        for n in range(calls)
    ]
    reply = {"role": "assistant", "content": "", "tool_calls": asked}
    question = [{"role": "user", "content": "q"}]
    try:
        prompt = dialect.answer(question, [{"type": "function", "function": function}], reply)
    except RecordError:
        return None
    ids = prompt.ids[:-1] if prompt.ids and prompt.ids[-1] in dialect.ends else prompt.ids
    text: str = dialect.tokenizer.decode(ids, skip_special_tokens=False)
    return text


def _text(without: str) -> str:
    """The rule of free text in which a mark does not stand, spelled letter by letter either."""
    mark = re.escape(without).replace("/", r"\/")
    return rf"TEXT: /(.|\n)+/ & ~/(.|\n)*{mark}(.|\n)*/" + "\n"


def _reason(error: str) -> str:
    """llguidance's own words, without the grammar that it was given."""
    first = next((line for line in error.splitlines() if line.strip()), "the grammar is refused")
    return re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", first)
