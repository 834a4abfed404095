"""What every record shares: frozen, closed to unknown fields, times in UTC, one JSON line."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Self
from uuid import uuid4

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from agentloop.base.errors import RecordError

Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A quality in [0, 1], without unit: 0 is the worst, 1 the best."""

Time = Annotated[AwareDatetime, AfterValidator(lambda t: t.astimezone(UTC))]
"""A moment. Naive datetimes are refused; any offset is brought to UTC."""

Json = dict[str, Any]
"""A JSON object as it stands on the wire."""


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
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The record with these fields, or `RecordError` naming the first that is wrong."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise RecordError(f"not a {cls.__name__}: {complaint(error)}") from error


def complaint(error: ValidationError) -> str:
    """The first complaint of pydantic's, in one line: `messages.2.role: Field required`."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
