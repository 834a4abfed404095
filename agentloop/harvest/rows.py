"""One example, one row: its line in a provider's format, and where it came from."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from agentloop.base.errors import RecordError
from agentloop.base.records import (
    DPOExample,
    Example,
    Json,
    KTOExample,
    Message,
    Method,
    Recipe,
    Refusal,
    Refused,
    RFTExample,
    SFTExample,
    faults,
)
from agentloop.base.records.message import Numbers, canonical, digest, renumber
from agentloop.base.records.rules import unruly
from agentloop.harvest.balance import teaches
from agentloop.harvest.duplicates import THRESHOLD, Outline, outline, texts
from agentloop.harvest.redaction import Redactor
from agentloop.harvest.references import Against
from agentloop.harvest.rewards import REFERENCE
from agentloop.harvest.splits import split
from agentloop.harvest.tokens import LONGER_THAN_ANY, Fitted, Tokens, fitted


class Draft(NamedTuple):
    """A row but for what only the other rows can say: servers refuse a file whose rows differ in
    their optional keys, so a row without tools says so when another has some."""

    head: str
    tail: str
    """The line is head, missing optional keys, tail."""
    optional: Mapping[str, Any] | None
    """`tools` and `parallel_tool_calls` as the row would state them; None: this kind of row has
    no optional keys that all must have."""
    identity: str
    """A hash of what the row says, whatever the ids of its tool calls."""
    unit: str
    split: str
    traces: tuple[str, ...]
    calls: tuple[str, ...]
    opinions: tuple[str, ...]
    producers: tuple[str, ...]
    note: Json
    reference: Any = None
    """RFT: what an answer is compared with."""
    outline: Outline | None = None
    """What comparing it with other rows needs; None when none are compared, or all were."""
    teaches: tuple[str, ...] = ()
    """Its classes: see `balance`."""

    @property
    def needs(self) -> frozenset[str]:
        """The optional keys that this row cannot do without."""
        if not self.optional or not self.optional["tools"]:
            return frozenset()
        said = self.optional["parallel_tool_calls"] is not None
        return frozenset({"tools", "parallel_tool_calls"} if said else {"tools"})

    def line(self, keys: frozenset[str]) -> str:
        """The line as it stands in a file whose rows have these optional keys."""
        said = ""
        if self.optional is not None:
            if "tools" in keys and not self.optional["tools"]:
                said = ', "tools": []'
            if "parallel_tool_calls" in keys:
                may = self.optional["parallel_tool_calls"] is not False
                said += f', "parallel_tool_calls": {"true" if may else "false"}'
        return f"{self.head}{said}{self.tail}"

    def refused(self, code: Refusal, detail: str | None = None) -> Refused:
        """That this row is left out."""
        call = self.calls[-1] if self.calls else None
        return Refused(code=code, traces=self.traces, call=call, detail=detail)


class Cleaning(NamedTuple):
    """What drafting asks beside the recipe, which names it."""

    redactor: Redactor | None = None
    """Replaces personal data and secrets by pseudonyms; None leaves them."""
    against: Against | None = None
    """A test set that no row may be in."""
    tokens: Tokens | None = None
    """Who counts tokens."""

    @classmethod
    def asked(cls, redact: Any, knobs: Mapping[str, Any]) -> "Cleaning":
        """What somebody asked for: `redact` as in `Redactor.of`, and of the knobs of a harvest
        `against` (a file of rows, or an `Against`) and `tokenizer` (as in `Tokens.of`).

        Raises:
            ConfigError, RecordError: there is none such.
        """
        near, tokenizer = knobs.get("near"), knobs.get("tokenizer")
        return cls(
            Redactor.of(redact),
            Against.of(knobs.get("against"), near=THRESHOLD if near is None else near or 1.0),
            None if tokenizer is None else Tokens.of(tokenizer),
        )

    @property
    def recipe(self) -> Json:
        """What a recipe says of it."""
        return {
            "redact": self.redactor.recipe if self.redactor else False,
            "against": self.against.recipe if self.against else None,
            "tokenizer": self.tokens.name if self.tokens else None,
        }


def draft(example: Example, recipe: Recipe, cleaning: Cleaning) -> Draft | Refused:
    """The row of an example, short enough and without anybody's personal data, or why it is none:
    it is in the test set, it is too long, a provider would refuse it."""

    def refused(code: Refusal, detail: str) -> Refused:
        call = example.calls[-1] if example.calls else None
        return Refused(code=code, traces=example.traces, call=call, detail=detail)

    if cleaning.against is not None and (shared := cleaning.against.hit(example)):
        return refused(Refusal.CONTAMINATED, shared)
    note: Json = {}
    if cleaning.redactor is not None:
        (example,), (note,) = cleaning.redactor.all([example])
    body, said = _body(example)
    if cleaning.tokens is not None:
        try:
            fits = _fitted(example, body, recipe, cleaning.tokens)
        except RecordError as error:
            return refused(Refusal.BAD_ROW, str(error))
        if recipe.max_tokens is not None and fits.tokens > recipe.max_tokens:
            return refused(Refusal.TOO_LONG, _too_long(fits, recipe.max_tokens))
        note |= fits.note
        if fits.messages:
            example, (body, said) = fits.example, _body(fits.example)
    wrong = faults(body, recipe.method)
    if not wrong and (rules := recipe.rules) is not None:
        wrong = list(unruly(body, recipe.method, rules))
    if wrong:
        return refused(Refusal.BAD_ROW, wrong[0].message)
    optional = None
    if recipe.method is not Method.RFT:
        parallel = example.parallel_tool_calls
        if recipe.method is Method.KTO or (recipe.rules and not recipe.rules.parallel_tool_calls):
            parallel = None
        optional = {"tools": bool(example.tools), "parallel_tool_calls": parallel}
    head, tail = _cut(body)
    taught = teaches(example)
    by_talk = recipe.split_by == "conversation"
    unit = example.conversation if by_talk and example.conversation else example.unit
    return Draft(
        head=head,
        tail=tail,
        optional=optional,
        identity=_identity(example),
        unit=unit,
        split=split(unit, share=recipe.valid_share),
        traces=example.traces,
        calls=example.calls,
        opinions=example.opinions,
        producers=example.producers,
        note={**said, "teaches": list(taught), **note},
        reference=body.get(REFERENCE),
        outline=outline(*texts(example), threshold=recipe.near) if recipe.near else None,
        teaches=taught,
    )


def _fitted(example: Example, body: Json, recipe: Recipe, tokens: Tokens) -> Fitted[Example]:
    def count(one: Example) -> int:
        return tokens.count(body if one is example else _body(one)[0])

    limit = recipe.max_tokens or LONGER_THAN_ANY
    return fitted(example, count, limit=limit, window=recipe.window)


def _too_long(fits: Fitted[Example], limit: int) -> str:
    dropped = f", its last exchange alone ({fits.messages} messages dropped)"
    return f"{fits.tokens} tokens{dropped if fits.messages else ''}, and {limit} are read"


def stated(example: Example) -> Json:
    """The row as a JSON object, alone: without keys that only other rows have."""
    return _body(example)[0]


def _body(example: Example) -> tuple[Json, Json]:
    """What the row says of itself, and what is known beside it."""
    body: Json
    offered: Json = {"tools": list(example.tools)} if example.tools else {}
    match example:
        case SFTExample():
            return {"messages": _with_weights(example), **offered}, {}
        case DPOExample():
            body = {
                "input": {"messages": [_plain(m) for m in example.context], **offered},
                "preferred_output": [_plain(example.preferred)],
                "non_preferred_output": [_plain(example.rejected)],
            }
            note: Json = {"margin": example.margin, "source": example.source}
            if others := sorted(set(example.against) - set(example.producers)):
                note["rejected_producers"] = others
            return body, note
        case KTOExample():
            body = {
                "prompt": [_trl(m) for m in example.context],
                "completion": [_trl(example.answer)],
                "label": example.label,
                **offered,
            }
            return body, {}
        case RFTExample():
            messages = [_plain(m) for m in example.context]
            for message in messages:
                if message["role"] == "system":
                    message["role"] = "developer"
            note = {
                "pass_rate": example.pass_rate,
                "rollouts": example.rollouts,
                "scores": list(example.scores),
            }
            return {"messages": messages, **offered, **example.fields}, note
    raise TypeError(f"no row is made of a {type(example).__name__}")


def _cut(body: Json) -> tuple[str, str]:
    """The line, cut where its optional keys would go on."""
    if "input" in body:
        head = f'{{"input": {_text(body["input"])[:-1]}'
        rest = _text({key: value for key, value in body.items() if key != "input"})
        return head, f"}}, {rest[1:]}"
    return _text(body)[:-1], "}"


def _text(value: Json) -> str:
    """The JSON text of an object, as `json.dumps` writes it."""
    said = [
        f"{_written(key)}: {_of_tools(inner) if key == 'tools' else _written(inner)}"
        for key, inner in value.items()
    ]
    text = f"{{{', '.join(said)}}}"
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8; escaped it survives
        return json.dumps(value)
    return text


_written = json.JSONEncoder(ensure_ascii=False).encode


def _of_tools(tools: Any) -> str:
    """The same of what is offered. Rows of one agent offer the same objects, which are the longer
    part of many a row."""
    if type(tools) is not list:
        return _written(tools)
    return _offer(tools).text


class _Offer(NamedTuple):
    """What is offered in one or many rows."""

    tools: tuple[Any, ...]
    text: str
    digest: str
    """Of what it says."""


def _offer(tools: Sequence[Any]) -> _Offer:
    known = _offered.get(key := tuple(map(id, tools)))
    if known is None:
        if len(_offered) >= OFFERED:
            _offered.clear()
        said = list(tools)
        known = _offered[key] = _Offer(tuple(tools), _written(said), digest(canonical(said)))
    return known


_offered: dict[tuple[int, ...], _Offer] = {}
"""What was offered latest; by its objects, which stay there for as long."""

OFFERED = 64
"""So much is remembered of that."""


def _plain(message: Message) -> Json:
    """The message as servers take it: null says nothing but as the content beside tool calls, and
    only reinforcement knows a developer."""
    said = message.to_dict()
    body = {k: v for k, v in said.items() if k != "weight" and (v is not None or k == "content")}
    if body["role"] == "developer":
        body["role"] = "system"
    return body


def _trl(message: Message) -> Json:
    """The message as TRL's trainers take it: arguments as the object that a chat template writes
    out. What is no JSON stays as it is, for `faults` to find."""
    body = _plain(message)
    for call in body.get("tool_calls") or ():
        with suppress(ValueError, RecursionError):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return body


def _with_weights(example: SFTExample) -> list[Json]:
    """The messages; a masked one says so. Where all is learned, nothing is added."""
    weights = iter(example.weights)
    messages = []
    for message in example.context:
        body = _plain(message)
        if message.role == "assistant" and next(weights, 1) == 0:
            body["weight"] = 0
        messages.append(body)
    return [*messages, _plain(example.output)]


def _identity(example: Example) -> str:
    """What the example says, whatever its weights, and however it came to be."""
    match example:
        case SFTExample():
            said: tuple[Message, ...] = (*example.context, example.output)
            beside: Any = None
        case DPOExample():
            said = (*example.context, example.preferred)
            beside = renumber((*example.context, example.rejected)).messages[-1].to_dict()
        case KTOExample():
            said, beside = (*example.context, example.answer), example.label
        case RFTExample():
            said, beside = example.context, example.fields
        case _:
            raise TypeError(f"no row is made of a {type(example).__name__}")
    numbers = Numbers()
    messages = [numbers.written(message) for message in said]
    return digest(canonical([messages, _offer(example.tools).digest, beside]))
