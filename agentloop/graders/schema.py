"""The grader JSON: one record per type, and the sentence that refuses a wrong one."""

import keyword
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from agentloop.base.errors import GraderError
from agentloop.base.records import Record
from agentloop.graders.formula import FUNCTIONS


class Spec(Record):
    """What every grader has. OpenAI's schemas ask for a name, its guides leave it out."""

    type: str
    name: str
    pass_threshold: float | None = None
    """Evals say with it what passes; a reward has no use for it. Kept, never read."""


class StringCheck(Spec):
    """`input` against `reference`: eq and ne compare, like and ilike look for it inside."""

    type: Literal["string_check"]
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(Spec):
    """How alike `input` and `reference` are, by one of OpenAI's metrics."""

    type: Literal["text_similarity"]
    input: str
    reference: str
    evaluation_metric: str


class Python(Spec):
    """The author's `grade(sample, item)`."""

    type: Literal["python"]
    source: str
    image_tag: str | None = None
    """OpenAI's container, such as "2025-05-08". Kept; here it runs on the packages installed."""


class Part(Record):
    """A part of what a judge is shown: a text with templates, an image, or sound."""

    type: Literal["input_text", "output_text", "input_image", "input_audio"]
    text: str | None = None
    image_url: str | None = None
    detail: Literal["low", "high", "auto"] | None = None
    input_audio: dict[str, str] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        kept = {"input_image": "image_url", "input_audio": "input_audio"}.get(self.type, "text")
        if getattr(self, kept) is None:
            raise ValueError(f"a part of type {self.type!r} needs {kept!r}")
        return self


class Shown(Record):
    """A message to a judge."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Part | tuple[Part, ...]
    type: Literal["message"] | None = None


class SamplingParams(Record):
    """How a judge answers; what is absent is as its server has it."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_completions_tokens: int | None = Field(default=None, ge=1)
    reasoning_effort: str | None = None


class ScoreModel(Spec):
    """A model says a number in `range`."""

    type: Literal["score_model"]
    model: str
    input: tuple[Shown, ...] = Field(min_length=1)
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: SamplingParams | None = None

    @field_validator("range")
    @classmethod
    def _rising(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not (isfinite(ends[0]) and isfinite(ends[1]) and ends[0] < ends[1]):
            raise ValueError("the lower end comes first, and the upper one is above it")
        return ends


class LabelModel(Spec):
    """A model says one of `labels`; those in `passing_labels` are worth 1, the others 0."""

    type: Literal["label_model"]
    model: str
    input: tuple[Shown, ...] = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=2)
    passing_labels: tuple[str, ...] = Field(min_length=1)
    sampling_params: SamplingParams | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if strangers := [one for one in self.passing_labels if one not in self.labels]:
            raise ValueError(f"{strangers[0]!r} in passing_labels is none of the labels")
        return self


class Endpoint(Spec):
    """A server of the author's gives the reward."""

    type: Literal["endpoint"]
    url: str = Field(pattern=r"^https?://")
    headers: dict[str, str] = Field(default={}, repr=False)
    """Sent with each request; they may hold a key, and are never shown in a message or a log."""
    rate_limit: float | None = Field(default=None, gt=0)
    """Requests a second, at most."""


class Multi(Spec):
    """Several graders and the formula over their rewards."""

    type: Literal["multi"]
    graders: dict[str, StringCheck | TextSimilarity | Python | ScoreModel | LabelModel | Endpoint]
    """By name: what the formula calls them."""
    calculate_output: str


_TYPES: dict[str, type[Spec]] = {
    "endpoint": Endpoint,
    "label_model": LabelModel,
    "multi": Multi,
    "python": Python,
    "score_model": ScoreModel,
    "string_check": StringCheck,
    "text_similarity": TextSimilarity,
}


def read(spec: object, *, where: str = "", name: str | None = None) -> Spec:
    """The grader that `spec` describes, as a record; its `model_dump` is the canonical JSON.

    Args:
        spec: a JSON object in OpenAI's form. The `graders` of a multi may be an object by name
            (canonical), a list, or one grader: OpenAI's guide, example and schema in turn.
        where: the path to it, for the sentence of a refusal.
        name: what to call it when it does not say; its type, when absent.

    Raises:
        GraderError: it is none. The sentence names the field and the way out.
    """
    if not isinstance(spec, Mapping):
        raise GraderError(
            f"{where[:-1] or 'grader'}: a grader is a JSON object with a type, not {_kind(spec)}"
        )
    model = _model(spec.get("type"), where)
    fields = {"name": name or spec["type"], **spec}
    if model is Multi:
        fields["graders"] = _parts(spec.get("graders"), where)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise GraderError(where + _complaint(error, model)) from error


def _model(type_: object, where: str) -> type[Spec]:
    known = f"known are {', '.join(_TYPES)}"
    if type_ is None:
        raise GraderError(f"{where}type: missing; {known}")
    if not isinstance(type_, str) or type_ not in _TYPES:
        raise GraderError(f"{where}type: {type_!r} is no grader; {known}")
    return _TYPES[type_]


def _parts(graders: object, where: str) -> dict[str, Spec]:
    """The sub-graders by name, whichever of the three shapes they came in."""
    if isinstance(graders, Mapping) and isinstance(graders.get("type"), str):
        graders = [graders]
    if isinstance(graders, Mapping):
        named: Iterable[tuple[Any, object]] = graders.items()
    elif isinstance(graders, list | tuple):
        named = [(_own_name(part, f"{where}graders[{n}]."), part) for n, part in enumerate(graders)]
    else:
        raise GraderError(
            f'{where}graders: give an object of sub-graders by name, {{"a": {{…}}}}, '
            f"not {_kind(graders)}"
        )
    if not graders:
        raise GraderError(f"{where}graders: empty; give at least one, by name")
    parts: dict[str, Spec] = {}
    for name, part in named:
        here = f"{where}graders.{name}."
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise GraderError(
                f"{where}graders: a formula cannot say {name!r}; name it with letters, 0-9 and _"
            )
        if name in FUNCTIONS:
            raise GraderError(f"{here[:-1]}: {name!r} is a function of formulas; name it otherwise")
        if name in parts:
            raise GraderError(f"{here[:-1]}: two sub-graders have this name; rename one")
        if isinstance(part, Mapping) and part.get("type") == "multi":
            raise GraderError(f"{here}type: a multi cannot stand in a multi; put its parts here")
        parts[name] = read(part, where=here, name=name)
    return parts


def _own_name(part: object, where: str) -> object:
    if not isinstance(part, Mapping):
        return read(part, where=where).name
    if "name" not in part:
        raise GraderError(f"{where}name: missing; in a list each grader needs one")
    return part["name"]


def _complaint(error: ValidationError, model: type[Spec]) -> str:
    """The first complaint, with the way out: `operation: Input should be 'eq', …`."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    type_ = next(name for name, known in _TYPES.items() if known is model)
    match first["type"]:
        case "missing":
            fields = model.model_fields.items()
            needed = ", ".join(n for n, f in fields if f.is_required() and n != "name")
            a = "an" if type_[0] in "aeio" else "a"
            return f"{field}: missing; {a} {type_} grader needs {needed}"
        case "extra_forbidden":
            known = ", ".join(model.model_fields)
            shown = field if field.isprintable() else repr(field)
            a = "an" if type_[0] in "aeio" else "a"
            return f"{shown}: no field of {a} {type_} grader; its fields are {known}"
        case "value_error":
            said = first["msg"].removeprefix("Value error, ")
            return f"{field}: {said}" if field else said
        case _:
            return f"{field}: {first['msg']}, not {first['input']!r:.80}"


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
