"""Decontamination: what is to be tested with must not be learned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from agentloop.base.errors import ConfigError, RecordError
from agentloop.base.records import (
    DPOExample,
    Example,
    Json,
    KTOExample,
    Message,
    RFTExample,
    SFTExample,
)
from agentloop.base.records.message import canonical, verbatim
from agentloop.base.records.record import complaint
from agentloop.harvest.checks.reading import lines
from agentloop.harvest.duplicates import THRESHOLD, Near, pieces, runs, words

RUN = 13
"""Words in a row that are no accident.

Source: T. Brown et al., "Language Models are Few-Shot Learners" (2020), appendix C: overlaps of 13
words, lower case, without punctuation."""
COMMON = 10
"""Prompts of a test set that may hold a run of words before it is a phrase of the trade, as a
greeting is, and says nothing; or more than half of them, where that is fewer: then it is the form
that all have. The same source lets runs count that few documents hold."""

OFFERED = ("tools", "parallel_tool_calls", "functions", "response_format")
"""What stands beside the messages of a row and is no answer."""


class Reference(NamedTuple):
    """One item of a test set."""

    where: str
    """`FILE:LINE`, or a number."""
    asked: tuple[str, ...]
    """What users say, message for message, up to the last time."""
    answers: tuple[str, ...]
    """What the assistant says, and what is known of the right answer."""

    def runs(self) -> Iterator[int]:
        """A hash (64 bits, of this process) of every `RUN` words in a row within one message."""
        for text in (*self.asked, *self.answers):
            if len(said := words(text)) >= RUN:
                yield from map(hash, runs(said, RUN))


class Against:
    """A test set, and which examples must not be learned because of it.

    An example is in the test set when its users ask the same: all that they say is, word for word
    or nearly, what the users of an item say. Or when one message of a user, or one answer, shares
    13 words in a row with an item, as long answers that are nearly the same do. A short answer
    alone (`It ships tomorrow.`) is no hit, and neither is what tools return: training and test ask
    the same ones.

    Memory holds about 100 bytes for each word of the test set.
    """

    def __init__(self, references: Iterable[Reference], *, near: float = THRESHOLD) -> None:
        """
        Args:
            near: how alike prompts are that count as one, in (0, 1]; see `Near`.

        Raises:
            RecordError: there are no references.
        """
        self._prompts: Near[str] = Near(near)
        held: dict[int, tuple[str, set[str]]] = {}
        prompts: set[str] = set()
        content, count = sha256(), 0
        for item in references:
            count += 1
            content.update(canonical([item.asked, item.answers]))
            asked = "\n".join(item.asked)
            if words(asked):
                self._prompts.seen(item.where, asked)
            # Ten rollouts of one prompt are one holder; without a prompt, each item is one.
            prompts.add(prompt := asked or item.where)
            for run in item.runs():
                _, holders = held.setdefault(run, (item.where, set()))
                if len(holders) <= COMMON:
                    holders.add(prompt)
        if not count:
            raise RecordError("the test set holds no row, so nothing can be in it")
        self.recipe: Json = {"sha256": content.hexdigest(), "rows": count}
        """What a recipe says of it: a hash of its texts, and how many rows it is."""
        most = min(COMMON, max(1, len(prompts) // 2))
        self._runs = {run: at for run, (at, holders) in held.items() if len(holders) <= most}

    @classmethod
    def of(
        cls, said: "str | Path | Mapping[str, Any] | Against | None", *, near: float = THRESHOLD
    ) -> "Against | None":
        """The test set that somebody named: a file of rows, or one that is read already.

        Raises:
            ConfigError: it is what a recipe says of one, which is not the test set itself.
        """
        if said is None or isinstance(said, Against):
            return said
        if isinstance(said, Mapping):
            raise ConfigError(f"a recipe does not hold its test set ({dict(said)}); name its file")
        return cls.of_file(Path(said), near=near)

    @classmethod
    def of_file(cls, file: Path, *, near: float = THRESHOLD) -> "Against":
        """The test set in a file of rows for SFT, DPO or RFT, or of texts (JSON strings), one a
        line.

        Raises:
            RecordError: the file cannot be read, or a line is none of these; the message names it.
        """
        return cls(_of_file(file), near=near)

    @classmethod
    def of_texts(cls, texts: Iterable[str], *, near: float = THRESHOLD) -> "Against":
        """The test set of these texts, each a prompt or an answer; hits name it by its number."""
        items = (Reference(f"text {n}", (text,), ()) for n, text in enumerate(texts, 1))
        return cls(items, near=near)

    def hit(self, example: Example) -> str | None:
        """What an example shares with the test set, and with which item; None: nothing."""
        item = _of_example(example)
        asked = "\n".join(item.asked)
        if words(asked) and (at := self._prompts.first(self._prompts.outline(asked))):
            return f"its users ask what those of {at} ask"
        shared = next((run for run in item.runs() if run in self._runs), None)
        return None if shared is None else f"{RUN} words in a row as in {self._runs[shared]}"


def _of_example(example: Example) -> Reference:
    match example:
        case SFTExample():
            weights = iter(example.weights)
            answers = [m for m in example.context if m.role == "assistant"]
            taught = [*(m for m in answers if next(weights, 1)), example.output]
            return _reference("", example.context, map(_said, taught))
        case DPOExample():
            both = (example.preferred, example.rejected)
            return _reference("", example.context, map(_said, both))
        case KTOExample():
            return _reference("", example.context, [_said(example.answer)])
        case RFTExample():
            return _reference("", example.context, [canonical(example.fields).decode()])
    raise TypeError(f"no prompt is known of a {type(example).__name__}")


def _of_file(file: Path) -> Iterator[Reference]:
    for line in lines(file):
        where = f"{file.name}:{line.number}"
        if line.fault is not None:
            raise RecordError(f"{where}: {line.fault.message}")
        try:
            yield _of_row(where, line.row)
        except ValidationError as error:
            raise RecordError(f"{where}: no message: {complaint(error)}") from error


def _of_row(where: str, row: Any) -> Reference:
    match row:
        case str():
            return Reference(where, (row,), ())
        case {"input": {"messages": [*context]}, **rest}:
            answers = [*_listed(rest, "preferred_output"), *_listed(rest, "non_preferred_output")]
            return _reference(where, _messages(context), map(_said, _messages(answers)))
        case {"prompt": [*context], "completion": [*answers]}:
            said = [_said(message) for message in _messages(map(_as_openais, answers))]
            return _reference(where, _messages(map(_as_openais, context)), said)
        case {"messages": [*said], **rest}:
            messages = _messages(said)
            answers = [_said(message) for message in messages if message.role == "assistant"]
            fields = {key: rest[key] for key in rest if key not in OFFERED}
            known = [canonical(fields).decode()] if fields else []
            return _reference(where, messages, [*answers, *known])
    raise RecordError(
        f"{where}: no row: a JSON object with `messages`, or with `input.messages` and two "
        "outputs, or with `prompt` and `completion`, or a text as a JSON string"
    )


def _as_openais(message: Any) -> Any:
    """A message of TRL's, whose calls have objects for arguments."""
    if not isinstance(message, Mapping) or not isinstance(message.get("tool_calls"), list):
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        if not isinstance(function["arguments"], str):
            text = verbatim(function["arguments"]).decode()
            call = {**call, "function": {**function, "arguments": text}}
        calls.append(call)
    return {**message, "tool_calls": calls}


def _listed(row: Mapping[Any, Any], key: str) -> list[Any]:
    return row[key] if isinstance(row.get(key), list) else []


def _messages(said: Iterable[Any]) -> list[Message]:
    return [Message.model_validate(message) for message in said]


def _reference(where: str, context: Sequence[Message], answers: Iterable[str]) -> Reference:
    asked = tuple(_said(message) for message in context if message.role == "user")
    return Reference(where, asked, tuple(answers))


def _said(message: Message) -> str:
    return "\n".join(pieces(message))
