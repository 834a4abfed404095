"""The grader JSON: one record per type, and the sentence that refuses a wrong one."""

import keyword
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import ValidationError

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


class Multi(Spec):
    """Several graders and the formula over their rewards."""

    type: Literal["multi"]
    graders: dict[str, StringCheck | TextSimilarity | Python]
    """By name: what the formula calls them."""
    calculate_output: str


_TYPES: dict[str, type[Spec]] = {
    "multi": Multi,
    "python": Python,
    "string_check": StringCheck,
    "text_similarity": TextSimilarity,
}

_NOT_OFFERED = {
    "endpoint": "it asks a server",
    "label_model": "it asks a model",
    "score_model": "it asks a model",
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
    if not isinstance(type_, str) or type_ not in _TYPES | _NOT_OFFERED:
        raise GraderError(f"{where}type: {type_!r} is no grader; {known}")
    if type_ in _NOT_OFFERED:
        raise GraderError(
            f"{where}type: {type_!r} is not offered yet ({_NOT_OFFERED[type_]}); {known}"
        )
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
            return f"{field}: missing; a {type_} grader needs {needed}"
        case "extra_forbidden":
            known = ", ".join(model.model_fields)
            shown = field if field.isprintable() else repr(field)
            return f"{shown}: no field of a {type_} grader; its fields are {known}"
        case _:
            return f"{field}: {first['msg']}, not {first['input']!r:.80}"


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
