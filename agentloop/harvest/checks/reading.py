"""Reading a training file: one line at a time, each a row or the reason why it is none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agentloop.base.errors import RecordError
from agentloop.base.records import Complaint, Fault
from agentloop.base.records.complaint import no_json, no_lines

LONGEST = 64 << 20
"""Bytes of a line; a longer one is not held in memory, and not taken for a row."""

BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line that is not empty."""

    number: int
    """From 1, empty lines counted: what an editor shows."""
    example: int
    """From 1, empty lines not counted: what a server says."""
    text: bytes
    """As it stands in the file, without its end; cut to `LONGEST` bytes."""
    row: Any
    """What the line holds; None when it cannot be read."""
    fault: Fault | None
    """Why it cannot be read."""

    @property
    def complaint(self) -> Complaint | None:
        """What a server says of a line that it cannot read."""
        if self.fault is None:
            return None
        if self.example == 1:  # the first one is looked at when the file is uploaded
            start = self.text[:40].decode(errors="replace").strip()
            return no_lines(self.number, start)
        return no_json(self.example, self.fault.message.removeprefix("the line is no JSON: "))


def lines(file: Path) -> Iterator[Line]:
    """The lines of a file that are not empty. Memory holds one of them.

    Raises:
        RecordError: the file cannot be opened or read.
    """
    example = 0
    try:
        with file.open("rb") as opened:
            number = 0
            while text := opened.readline(LONGEST):
                number += 1
                whole = text.endswith(b"\n") or len(text) < LONGEST
                while not whole:  # the rest of a line that is too long
                    more = opened.readline(LONGEST)
                    whole = more.endswith(b"\n") or len(more) < LONGEST
                    if whole:
                        example += 1
                        said = f"the line is longer than {LONGEST} bytes; no row is"
                        yield Line(number, example, text, None, Fault("line_too_long", said))
                        text = b""
                text = text.rstrip(b"\r\n")
                if not text.strip():
                    continue
                example += 1
                if number == 1 and text.startswith(BOM):
                    said = "the file begins with a byte order mark; save it without"
                    yield Line(number, example, text, None, Fault("byte_order_mark", said))
                    continue
                row, fault = parsed(text)
                yield Line(number, example, text, row, fault)
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error


def parsed(text: bytes) -> tuple[Any, Fault | None]:
    """What a line holds, or why it cannot be read."""
    try:
        return json.loads(text.decode(), parse_constant=_refuse), None
    except UnicodeDecodeError:
        return None, Fault("not_utf8", "the line is not UTF-8")
    except RecursionError:
        return None, Fault("invalid_json", "the line is nested too deeply")
    except ValueError as error:
        hint = ""
        if text.strip() in (b"[", b"{"):
            hint = "; the file looks like one JSON document, write one row a line"
        return None, Fault("invalid_json", f"the line is no JSON: {error}{hint}")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
