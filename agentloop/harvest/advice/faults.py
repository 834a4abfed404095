"""Faults of a call that need no judge: a tool that is not there, arguments that do not fit its
schema, an answer without the format that was asked for."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from agentloop.base.records import Call, Json
from agentloop.base.records.message import verbatim

Fits = Callable[[Any], bool]
Wrong = Literal["unknown", "unparsable", "misfit"]

REMEMBERED = 1_000
"""Schemas that are kept compiled."""


class Asked(NamedTuple):
    """A tool call of a model, and what is wrong with it; None: nothing."""

    tool: str
    arguments: str
    wrong: Wrong | None


class Faults:
    """Looks at calls; remembers the schemas that it has compiled."""

    def __init__(self) -> None:
        self._compiled: dict[bytes, Fits | None] = {}

    def tools(self, call: Call) -> Iterator[Asked]:
        """The tool calls that a call asked for.

        Where no tool was recorded as offered (an import may not say), none is unknown. A schema
        that is none itself is not held against the model.
        """
        if call.output is None or not call.output.calls:
            return
        offered = {
            tool["function"].get("name"): tool["function"].get("parameters")
            for tool in call.tools
            if isinstance(tool.get("function"), Mapping)
        }
        for asked in call.output.calls:
            name, said = asked.function.name, asked.function.arguments
            arguments = _object(said)
            wrong: Wrong | None = None
            if call.tools and name not in offered:
                wrong = "unknown"
            elif arguments is None:
                wrong = "unparsable"
            elif not self._fits(arguments, offered.get(name)):
                wrong = "misfit"
            yield Asked(name, said, wrong)

    def format(self, call: Call) -> bool | None:
        """Whether an answer has the format that was asked for; None where none was, or where the
        model called a tool first."""
        shape = call.response_format or {}
        if call.output is None or call.output.calls or "type" not in shape:
            return None
        if shape["type"] not in ("json_object", "json_schema"):
            return None
        try:
            said = json.loads(call.output.text)
        except ValueError:
            return False
        if shape["type"] == "json_object":
            return isinstance(said, dict)
        named = shape.get("json_schema")
        return self._fits(said, named.get("schema") if isinstance(named, Mapping) else None)

    def _fits(self, value: Any, schema: Any) -> bool:
        if not isinstance(schema, Mapping):
            return True
        key = verbatim(schema)
        if key not in self._compiled:
            if len(self._compiled) >= REMEMBERED:
                self._compiled.clear()
            self._compiled[key] = _compiled(schema)
        fits = self._compiled[key]
        return fits is None or fits(value)


def _compiled(schema: Mapping[str, Any]) -> Fits | None:
    """What says whether a value fits; None where the schema is none."""
    # Loaded when the first schema is met: opening a loop does without.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return None
    validator = Draft202012Validator(schema, registry=Registry())

    def fits(value: Any) -> bool:
        try:
            return validator.is_valid(value)
        except Unresolvable:  # it refers to what is elsewhere; nothing is fetched
            return True

    return fits


def _object(arguments: str) -> Json | None:
    """The arguments as a JSON object; no arguments are an empty one."""
    try:
        said = json.loads(arguments or "{}")
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
