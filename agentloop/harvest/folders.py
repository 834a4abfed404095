"""The files of a harvest as a dataset: read row by row, wherever the folder came from."""

import json
from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from agentloop.base.errors import NotFound, RecordError
from agentloop.base.records import Json, Row, RowPlace
from agentloop.base.store import Stored

FILES = ("train.jsonl", "valid.jsonl")
BESIDE = "rows.meta.jsonl"


class Folder:
    """A folder that a harvest wrote. Memory holds 16 bytes for each row.

    Raises:
        RecordError: it is none, or its files do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.name = folder, str(folder)
        try:
            self.manifest: Json = json.loads((folder / "manifest.json").read_bytes())
            starts = {f: _starts(folder / f) for f in (*FILES, BESIDE)}
        except (OSError, ValueError) as error:
            raise RecordError(f"{folder} is no harvest: {error}") from error
        if not isinstance(self.manifest, dict) or "content_hash" not in self.manifest:
            raise RecordError(f"{folder} is no harvest: its manifest.json names no dataset")
        self._starts = starts
        if len(starts["train.jsonl"]) + len(starts["valid.jsonl"]) != len(starts[BESIDE]):
            raise RecordError(f"{folder} was changed: {BESIDE} has not one line for each row")

    def shas(self) -> Iterator[tuple[str, int, str]]:
        """File, line and hash of every row as it stands there, whoever wrote it."""
        for file in FILES:
            with (self._folder / file).open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    yield file, number, sha256(line.rstrip(b"\n")).hexdigest()

    def rows(self, places: Iterable[tuple[str, int]]) -> Iterator[Stored]:
        """The rows at these places (file, and line from 1), in that order.

        Raises:
            NotFound: there is no such place.
        """
        for file, line in places:
            starts = self._starts.get(file, array("Q"))
            if not 0 < line <= len(starts):
                raise NotFound(f"{self.name} has no line {line} in {file}")
            number = line - 1 + (len(self._starts["train.jsonl"]) if file != "train.jsonl" else 0)
            said = self._said(self._line(BESIDE, number), number + 1)
            row = Row(
                body=json.loads(self._line(file, line - 1)),
                split=said["split"],
                traces=tuple(said["traces"]),
                calls=tuple(said["calls"]),
                opinions=tuple(said["opinions"]),
                producers=tuple(said["producers"]),
            )
            trace = row.traces[0] if row.traces else None
            yield Stored(RowPlace(file=file, line=line, trace=trace), said["sha256"], row)

    def _line(self, file: str, number: int) -> bytes:
        with (self._folder / file).open("rb") as lines:
            lines.seek(self._starts[file][number])
            return lines.readline()

    def _said(self, line: bytes, number: int) -> Json:
        try:
            said: Json = json.loads(line)
            bytes.fromhex(said["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.name}/{BESIDE}:{number} tells of no row: {error}") from error
        return said


def _starts(file: Path) -> "array[int]":
    """Where each line begins."""
    starts, at = array("Q"), 0
    with file.open("rb") as lines:
        for line in lines:
            starts.append(at)
            at += len(line)
    return starts
