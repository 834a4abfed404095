"""Judges: models that say what an answer is worth, asked through OpenAI's chat API.

A judge is asked for JSON of one shape; a server that cannot promise it is asked again in words, and
what it says is then read as well as can be. Who judges is the grader's own `model`; where it is
asked is not for the grader to say, which may be anybody's: see `Address`.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from agentloop.base.records import Json
from agentloop.graders.schema import LabelModel, Part, SamplingParams, ScoreModel, Shown
from agentloop.graders.templates import Template

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

SECONDS = 120.0
"""For one answer of a judge."""

RETRIES = 3
"""After a lost connection, a 429 or a 5xx, with a pause that doubles."""


class Address(NamedTuple):
    """Where a judge is asked, and with which key."""

    base_url: str
    key: str

    def __repr__(self) -> str:
        """Without the key."""
        return f"Address({self.base_url!r})"

    @classmethod
    def of_environment(cls, model: str) -> "Address | None":  # noqa: ARG003 - one place for all
        """`AGENTLOOP_JUDGE_BASE_URL` with `AGENTLOOP_JUDGE_API_KEY` (a server of one's own may need
        none); else OpenAI, or `OPENAI_BASE_URL`, with `OPENAI_API_KEY`. None: neither is set."""
        asked = os.environ.get
        if url := asked("AGENTLOOP_JUDGE_BASE_URL"):
            return cls(url, asked("AGENTLOOP_JUDGE_API_KEY") or "none")
        if key := asked("AGENTLOOP_JUDGE_API_KEY") or asked("OPENAI_API_KEY"):
            return cls(asked("OPENAI_BASE_URL") or "https://api.openai.com/v1", key)
        return None


Judges = Callable[[str], Address | None]
"""Where a model is asked; None: nobody knows."""

UNKNOWN = (
    "nobody to ask: set AGENTLOOP_JUDGE_BASE_URL (and AGENTLOOP_JUDGE_API_KEY), or OPENAI_API_KEY"
)


class Said(NamedTuple):
    """What a judge made of a sample."""

    value: float | str | None = None
    """The number, or the label; None: there is none, and `flag` says why."""
    flag: str | None = None
    details: str | None = None
    model: str | None = None
    """Who answered, as its server calls it."""
    usage: Mapping[str, int] | None = None


class Judge:
    """A model with a question that has holes. Safe to use from several threads."""

    def __init__(self, spec: ScoreModel | LabelModel, judges: Judges, *, where: str) -> None:
        self._spec = spec
        self._judges = judges
        self._messages = [
            _Message(shown, f"{where}input[{n}].") for n, shown in enumerate(spec.input)
        ]
        self._in_words = False
        self._client: OpenAI | None = None
        self._lock = Lock()

    @property
    def unready(self) -> str | None:
        """Why nobody can be asked; None: somebody can."""
        return None if self._judges(self._spec.model) else f"model {self._spec.model!r}: {UNKNOWN}"

    def close(self) -> None:
        """Give connections back."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def ask(self, spaces: Mapping[str, object]) -> Said:
        """What the judge says of a sample and an item.

        Raises:
            Unresolved: a template finds nothing.
        """
        from openai import APIStatusError, BadRequestError, OpenAIError

        messages = [message.render(spaces) for message in self._messages]
        try:
            client = self._connected()
            if client is None:
                return Said(flag="model_grader_server_error", details=self.unready)
            if not self._in_words:
                try:
                    return self._read(self._create(client, messages, self._shape))
                except BadRequestError:
                    self._in_words = True  # it may not know schemas; if it is that, words will do
            return self._read(self._create(client, self._with_words(messages), None))
        except APIStatusError as error:
            # What a server says of a key may repeat some of it.
            said = "" if error.status_code in (401, 403) else f": {error.message}"
            details = f"{type(error).__name__} {error.status_code}{said}"[:500]
            return Said(flag="model_grader_server_error", details=details)
        except OpenAIError as error:
            details = f"{type(error).__name__}: {error}"[:500]
            return Said(flag="model_grader_server_error", details=details)

    def _connected(self) -> "OpenAI | None":
        with self._lock:
            if self._client is None and (at := self._judges(self._spec.model)) is not None:
                from openai import OpenAI

                self._client = OpenAI(
                    base_url=at.base_url, api_key=at.key, timeout=SECONDS, max_retries=RETRIES
                )
            return self._client

    def _create(self, client: "OpenAI", messages: Sequence[Json], shape: Json | None) -> Any:
        asked: Json = {"model": self._spec.model, "messages": list(messages)}
        asked |= _sampling(self._spec.sampling_params)
        if shape is not None:
            wanted = {"name": "grade", "strict": True, "schema": shape}
            asked["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return client.chat.completions.create(**asked)

    @property
    def _shape(self) -> Json:
        """What a judge answers: steps first, for what it says first it bears in mind."""
        step = _object(description={"type": "string"}, conclusion={"type": "string"})
        return _object(steps={"type": "array", "items": step}, **{self._name: self._kind})

    @property
    def _name(self) -> str:
        return "result" if isinstance(self._spec, ScoreModel) else "label"

    @property
    def _kind(self) -> Json:
        if isinstance(self._spec, LabelModel):
            return {"type": "string", "enum": list(self._spec.labels)}
        return {"type": "number"}

    def _with_words(self, messages: Sequence[Json]) -> list[Json]:
        if isinstance(self._spec, LabelModel):
            what = f"one of {json.dumps(list(self._spec.labels), ensure_ascii=False)}"
        else:
            what = "a number from {:g} to {:g}".format(*self._spec.range)
        words = f'Answer with one JSON object and nothing else: {{"{self._name}": {what}}}'
        first = messages[0]
        if first["role"] == "system" and isinstance(first["content"], str):
            return [{**first, "content": f"{first['content']}\n\n{words}"}, *messages[1:]]
        return [{"role": "system", "content": words}, *messages]

    def _read(self, answer: "ChatCompletion") -> Said:
        used = answer.usage
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        usage = None if used is None else {name: int(getattr(used, name) or 0) for name in names}
        said = Said(model=answer.model, usage=usage)
        message = answer.choices[0].message if answer.choices else None
        if message is None:
            return said._replace(flag="model_grader_parse_error")
        if message.refusal:
            return said._replace(flag="model_grader_refusal_error")
        value = self._value(message.content or "")
        return said._replace(
            value=value, flag=None if value is not None else "model_grader_parse_error"
        )

    def _value(self, text: str) -> float | str | None:
        body = _json_in(text)
        told = body.get(self._name) if isinstance(body, dict) else body
        if isinstance(self._spec, LabelModel):
            told = text.strip() if body is None else told
            return told if isinstance(told, str) and told in self._spec.labels else None
        if isinstance(told, str):
            try:
                told = float(told)
            except ValueError:
                return None
        if isinstance(told, bool) or not isinstance(told, int | float) or not isfinite(told):
            return None
        low, high = self._spec.range
        return min(max(float(told), low), high)


class _Message:
    """A message with its templates, checked once."""

    def __init__(self, shown: Shown, where: str) -> None:
        # Not every server knows developers; OpenAI's takes the one for the other.
        self._role = "system" if shown.role == "developer" else shown.role
        parts = shown.content
        self._text = Template(parts, where=f"{where}content") if isinstance(parts, str) else None
        listed = () if isinstance(parts, str) else (parts,) if isinstance(parts, Part) else parts
        self._parts = [
            (part, Template(_words(part), where=f"{where}content[{n}]"))
            for n, part in enumerate(listed)
        ]

    def render(self, spaces: Mapping[str, object]) -> Json:
        """As the chat API takes it."""
        if self._text is not None:
            return {"role": self._role, "content": self._text.render(spaces)}
        parts = [(part, words.render(spaces)) for part, words in self._parts]
        if all(part.text is not None for part, _ in parts):
            return {"role": self._role, "content": "\n".join(words for _, words in parts)}
        return {"role": self._role, "content": [_wire(part, words) for part, words in parts]}


def _words(part: Part) -> str:
    """What of a part may have holes."""
    return part.text or part.image_url or ""


def _wire(part: Part, words: str) -> Json:
    match part.type:
        case "input_image":
            image = {"url": words} | ({"detail": part.detail} if part.detail else {})
            return {"type": "image_url", "image_url": image}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.input_audio}
    return {"type": "text", "text": words}


def _sampling(params: SamplingParams | None) -> Json:
    said = {} if params is None else params.model_dump(exclude_none=True)
    if (most := said.pop("max_completions_tokens", None)) is not None:  # the grader's own word
        said["max_completion_tokens"] = most
    return said


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _json_in(text: str) -> Any:
    """The JSON that a text is, or the last object that stands in it; None: there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    reader, start = json.JSONDecoder(), text.rfind("{")
    while start >= 0:
        try:
            found, _ = reader.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.rfind("{", 0, start)
        else:
            return found
    return None
