"""`--format auto`: of which format a file is, by the first of it that says so."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from agentloop.base.errors import RecordError
from agentloop.capture.importers.atif import is_atif
from agentloop.capture.importers.langfuse import is_langfuse
from agentloop.capture.importers.openai_trace import is_openai_trace
from agentloop.capture.importers.otlp import told_apart, values
from agentloop.capture.importers.reading import Piece


def _is_chat(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("messages"), list)


SIGNS: dict[str, Callable[[Any], bool]] = {
    "chat": _is_chat,
    "atif": is_atif,
    "openai-trace": is_openai_trace,
    "openinference": lambda value: told_apart(value) == "openinference",
    "otlp": lambda value: told_apart(value) == "otlp",
    "langfuse": is_langfuse,
}
"""Format -> whether a JSON value is of it; the first that agrees is taken."""

LOOKED_AT = 20
"""Lines that are looked at before we give up; some tracers begin with what is no trace."""


def told(file: Path) -> str:
    """The format of a file.

    Raises:
        RecordError: the file cannot be read, or its format cannot be told.
    """
    for piece in islice(values(file), LOOKED_AT):
        if isinstance(piece, Piece):
            for name, agrees in SIGNS.items():
                if agrees(piece.value):
                    return name
    raise RecordError(
        f"{file}: cannot tell the format; name it with --format ({', '.join(sorted(SIGNS))})"
    )
