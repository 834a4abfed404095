"""What every record shares: frozen, closed to unknown fields, times in UTC, one JSON line."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from functools import lru_cache, partial
from math import isfinite
from typing import Annotated, Any, Self, TypeVar
from uuid import uuid4

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from agentloop.base.errors import RecordError

Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A quality in [0, 1], without unit: 0 is the worst, 1 the best."""

Time = Annotated[AwareDatetime, AfterValidator(lambda t: t.astimezone(UTC))]
"""A moment. Naive datetimes are refused; any offset is brought to UTC."""

Json = dict[str, Any]
"""A JSON object as it stands on the wire."""

Model = TypeVar("Model", bound=BaseModel)


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def new_id(kind: str) -> str:
    """A fresh id that says what it names: `new_id("job")` -> `job_3f…`."""
    return f"{kind}_{uuid4().hex[:24]}"


def to_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """`value` as JSON without spaces. Nothing is refused: a lone surrogate is escaped, an integer
    may be of any size, what is no number is null, and what has no JSON form stands as its `str`."""
    try:
        option = orjson.OPT_SORT_KEYS if sort_keys else None
        return orjson.dumps(value, option=option, default=_nearest)
    except TypeError:  # what orjson refuses; the standard library is slower, but takes it
        return json.dumps(_plain(value), sort_keys=sort_keys, separators=(",", ":")).encode()


def _nearest(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)


def _plain(value: Any) -> Any:
    match value:
        case BaseModel():
            return _plain(value.model_dump(exclude_none=True))
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case datetime():
            return value.isoformat()
        case float() if not isfinite(value):
            return None
        case str() | bool() | int() | float() | None:
            return value
    return str(value)


def of_json(text: str | bytes) -> Any:
    """What a JSON text says: `to_json` read back.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return from_json(text)
    except (TypeError, ValueError):
        # That parser refuses lone surrogates, escaped or not; the standard library's does not.
        return json.loads(text)


def bare(kind: type[Model], values: Json, given: set[str], extra: Json | None = None) -> Model:
    """A model that holds these values as they are, without a look at them.

    Args:
        values: all fields, in the order of the model's.
        given: the names of those that are no defaults.
        extra: what the model knows no field for.
    """
    made = kind.__new__(kind)
    put(made, "__dict__", values)
    put(made, "__pydantic_fields_set__", given)
    put(made, "__pydantic_extra__", extra)
    put(made, "__pydantic_private__", None)
    return made


put = object.__setattr__  # a frozen model's own refuses


class Record(BaseModel):
    """An immutable fact. To change one, write a new one: `model_copy(update=...)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_line(self) -> str:
        """One JSON line, without a newline; `from_line` reads it back equal."""
        return to_json(self.model_dump(exclude_none=True)).decode()

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        """The record that `to_line` wrote.

        Raises:
            RecordError: `line` is no such record; the message names the field.
        """
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] != "json_invalid":
                raise RecordError(f"not a {cls.__name__}: {complaint(error)}") from error
        # Pydantic's own parser refuses lone surrogates; the standard library's does not.
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"not a {cls.__name__}: no JSON: {error}") from error
        return cls.of(fields)

    @classmethod
    def trusted(cls, fields: Json) -> Self:
        """The record with these fields, that a record of this kind was once taken apart into: equal
        to `of(fields)`, and many times quicker, for nothing is looked at. A field that this kind
        does not have is an error here too.

        Args:
            fields: each value as validation would leave it: records, tuples, times in UTC.
        """
        blank, fresh = _blank(cls)
        if not fields.keys() <= blank.keys():
            return cls.of(fields)
        values = blank | fields
        for name, make in fresh:
            if name not in fields:
                values[name] = make()
        return bare(cls, values, set(fields))

    def but(self, **changes: Any) -> Self:
        """The same with other values in some fields: `model_copy`, and quicker."""
        given = self.__pydantic_fields_set__ | changes.keys()
        return bare(type(self), self.__dict__ | changes, given)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The record with these fields, or `RecordError` naming the first that is wrong."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise RecordError(f"not a {cls.__name__}: {complaint(error)}") from error


Fresh = tuple[tuple[str, Callable[[], Any]], ...]
"""Fields whose default is made anew for each record, and what makes it."""


@lru_cache
def _blank(kind: type[Record]) -> tuple[Json, Fresh]:
    """All fields of a kind, in order, with their defaults (those without one hold None until they
    are given); and those defaults that no two records may share."""
    blank: Json = {}
    fresh: list[tuple[str, Callable[[], Any]]] = []
    for name, field in kind.model_fields.items():
        blank[name] = None if field.is_required() else field.get_default()
        if field.default_factory is not None:
            fresh.append((name, partial(field.get_default, call_default_factory=True)))
        elif isinstance(blank[name], dict | list | set):
            empty = not blank[name]
            fresh.append((name, type(blank[name]) if empty else partial(deepcopy, field.default)))
    return blank, tuple(fresh)


def complaint(error: ValidationError) -> str:
    """The first complaint of pydantic's, in one line: `messages.2.role: Field required`."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
