"""The files of a harvest as a dataset: read row by row, wherever the folder came from."""

import json
from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from agentloop.base.errors import NotFound, RecordError
from agentloop.base.records import Json, Row, RowPlace
from agentloop.base.store import Stored
from agentloop.harvest.files import files_of
from agentloop.harvest.splits import SIDES


class _File(NamedTuple):
    """A file of rows, and what is said beside them."""

    starts: "array[int]"
    """Where each row begins, in bytes."""
    beside: Path
    offsets: "array[int]"
    """Where what is said of each row begins, in `beside`."""


class Folder:
    """A folder that a harvest wrote, in whole files or in shards. Memory holds 16 bytes a row.

    Raises:
        RecordError: it is none, or its files do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.name = folder, str(folder)
        try:
            self.manifest: Json = json.loads((folder / "manifest.json").read_bytes())
            if not isinstance(self.manifest, dict) or "content_hash" not in self.manifest:
                raise RecordError(f"{folder} is no harvest: its manifest.json names no dataset")
            self._files = dict(self._opened())
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, RecordError):
                raise
            raise RecordError(f"{folder} is no harvest: {error}") from error

    def _opened(self) -> Iterator[tuple[str, _File]]:
        shards = self.manifest.get("shards")
        metas = [one["meta"] for one in shards] if shards else ["rows.meta.jsonl"]
        sides = {side: files_of(self._folder, self.manifest, side) for side in SIDES}
        for n, meta in enumerate(metas):
            beside = self._folder / meta
            offsets, begin = _starts(beside), 0
            for side in SIDES:
                file = sides[side][n]
                starts = _starts(file)
                yield file.name, _File(starts, beside, offsets[begin : begin + len(starts)])
                begin += len(starts)
            if begin != len(offsets):
                raise RecordError(f"{beside} has not one line for each row: it was changed")

    def shas(self) -> Iterator[tuple[str, int, str]]:
        """File, line and hash of every row as it stands there, whoever wrote it."""
        for file in self._files:
            with (self._folder / file).open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    yield file, number, sha256(line.rstrip(b"\n")).hexdigest()

    def rows(self, places: Iterable[tuple[str, int]]) -> Iterator[Stored]:
        """The rows at these places (file, and line from 1), in that order.

        Raises:
            NotFound: there is no such place.
            RecordError: what is said of a row cannot be read.
        """
        for file, line in places:
            there = self._files.get(file)
            if there is None or not 0 < line <= len(there.starts):
                raise NotFound(f"{self.name} has no line {line} in {file}")
            text = _line(self._folder / file, there.starts[line - 1])
            try:
                said = json.loads(_line(there.beside, there.offsets[line - 1]))
                row = Row(
                    body=json.loads(text),
                    split=said["split"],
                    **{name: tuple(said[name]) for name in ("traces", "calls", "opinions")},
                )
            except (ValueError, KeyError, TypeError) as error:
                raise RecordError(
                    f"{self.name}: line {line} of {file} cannot be read: {error}"
                ) from error
            trace = row.traces[0] if row.traces else None
            sha = sha256(text.rstrip(b"\n")).hexdigest()
            yield Stored(RowPlace(file=file, line=line, trace=trace), sha, row)


def _line(file: Path, start: int) -> bytes:
    with file.open("rb") as lines:
        lines.seek(start)
        return lines.readline()


def _starts(file: Path) -> "array[int]":
    """Where each line begins."""
    starts, at = array("Q"), 0
    with file.open("rb") as lines:
        for line in lines:
            starts.append(at)
            at += len(line)
    return starts
