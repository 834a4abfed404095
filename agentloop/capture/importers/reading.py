"""What every format shares: what an import gives, and how a file is read a piece at a time."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from pydantic import ValidationError

from agentloop.base.errors import RecordError
from agentloop.base.records import Json, Opinion, Outcome, Trace
from agentloop.base.records.message import verbatim
from agentloop.base.records.record import complaint

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""When a trace began that does not say. Fixed, so that a second import adds nothing."""

IN_MEMORY = 8_000_000
"""Bytes of a file whose spans are put together in memory; a larger one is dealt out on disk."""

BUCKETS = 200
"""Files that the spans of a large file are dealt into, by their trace; one at a time is read."""


UNREADABLE = (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
"""What is raised where a value has not the shape that its format gives it."""


class Imported(NamedTuple):
    """One trace, and everything its source says about it."""

    line: int
    trace: Trace
    opinions: tuple[Opinion, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()
    """What was odd about it and how it was taken, a sentence each; nothing of it is lost."""
    content: str = ""
    """A hash of all that its source says, where one id could be given twice."""


class Problem(NamedTuple):
    """A line that could not be imported, and why."""

    line: int
    why: str


def unreadable(error: Exception) -> str:
    """Why a value cannot be read, in one line."""
    if isinstance(error, ValidationError):
        return complaint(error)
    said = " ".join(str(error).split())
    return f"not of the shape of its format ({type(error).__name__}: {said:.200})"


class Piece(NamedTuple):
    """A JSON value of a file, and the line that it begins on."""

    line: int
    value: Any


def pieces(file: Path) -> Iterator[Piece | Problem]:
    """The JSON values of a file: one a line, or the whole file where it is one value over several
    lines. Of a file of lines, one line is in memory at a time.

    Raises:
        RecordError: the file cannot be opened.
    """
    try:
        with file.open("rb") as lines:
            if _is_one_value(lines):
                yield _piece(1, lines.read())
            else:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield _piece(number, line)
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error


def _is_one_value(lines: IO[bytes]) -> bool:
    """Whether a file is one JSON value over several lines; by its first two lines."""
    first = [line.strip() for line in islice((line for line in lines if line.strip()), 2)]
    lines.seek(0)
    if not first or first[0] in (b"{", b"["):
        return bool(first)
    return not any(isinstance(_piece(0, line), Piece) for line in first)


def _piece(number: int, text: bytes) -> Piece | Problem:
    try:
        return Piece(number, json.loads(text))
    except (ValueError, RecursionError) as error:
        return Problem(number, f"no JSON: {error}")


class Part(NamedTuple):
    """A JSON value that belongs to a trace: one of its spans, or what is said of it."""

    line: int
    trace: str
    value: Json


def by_trace(
    file: Path,
    parts: Callable[[Piece], Iterable[Part | Problem]],
    read: Callable[[Path], Iterable[Piece | Problem]] = pieces,
) -> Iterator[list[Part] | Problem]:
    """The parts of a file, those of a trace together wherever they stand in it.

    The traces of a small file come in their order. A large one is dealt into buckets on disk, so
    that no more than one of them is in memory.

    Raises:
        RecordError: the file cannot be read, or there is no room for the buckets.
    """
    try:
        large = file.stat().st_size > IN_MEMORY
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error
    found = _parts(read(file), parts)
    if large:
        yield from _dealt(found)
        return
    traces: dict[str, list[Part]] = {}
    for part in found:
        if isinstance(part, Problem):
            yield part
        else:
            traces.setdefault(part.trace, []).append(part)
    yield from traces.values()


def _parts(
    found: Iterable[Piece | Problem], parts: Callable[[Piece], Iterable[Part | Problem]]
) -> Iterator[Part | Problem]:
    for piece in found:
        if isinstance(piece, Problem):
            yield piece
        else:
            yield from parts(piece)


def _dealt(found: Iterable[Part | Problem]) -> Iterator[list[Part] | Problem]:
    try:
        with ExitStack() as opened:
            buckets = [opened.enter_context(TemporaryFile()) for _ in range(BUCKETS)]
            for part in found:
                if isinstance(part, Problem):
                    yield part
                else:
                    place = zlib.crc32(part.trace.encode(errors="surrogatepass")) % BUCKETS
                    buckets[place].write(verbatim(part) + b"\n")
            for bucket in buckets:
                bucket.seek(0)
                traces: dict[str, list[Part]] = {}
                for line in bucket:
                    part = Part(*json.loads(line))
                    traces.setdefault(part.trace, []).append(part)
                yield from traces.values()
    except OSError as error:
        raise RecordError(f"no room to sort the file in: {error.strerror}") from error
