"""Mending a training file: a corrected copy, a log of what was changed, and what was kept apart."""

import base64
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, BinaryIO, NamedTuple

from agentloop.base.errors import RecordError, StoreError
from agentloop.base.records import Fault, Json, Method, Row, RowRules
from agentloop.base.records.message import verbatim
from agentloop.base.store.seen import Seen
from agentloop.harvest.checks.file import again, check, leak, note, wrong
from agentloop.harvest.checks.findings import Report
from agentloop.harvest.checks.fixes import Change, fixed
from agentloop.harvest.checks.personal import Personal
from agentloop.harvest.checks.reading import BOM, Line, lines, parsed
from agentloop.harvest.checks.whole import Whole


class Places(NamedTuple):
    """The three files that mending writes."""

    fixed: Path
    """The rows that are fit, those that needed nothing byte for byte."""
    changes: Path
    """One line a change: `line` and `now` (lines in the old file and in the new), `code`, `did`,
    `was`."""
    apart: Path
    """One line for each line that is not in the corrected file: `line`, `reasons`, and the line
    itself as `text`, or as `base64` where it is not UTF-8."""

    @classmethod
    def beside(cls, fixed: Path) -> "Places":
        """The log and what is kept apart stand beside the corrected file, named after it."""
        stem = fixed.name.removesuffix(".jsonl")
        return cls(
            fixed,
            fixed.with_name(f"{stem}.changes.jsonl"),
            fixed.with_name(f"{stem}.apart.jsonl"),
        )


class Mended(NamedTuple):
    """What mending did."""

    places: Places
    kept: int
    """Rows in the corrected file."""
    changed: int
    """How many of them were changed."""
    apart: int
    """Lines that could not be mended, or that count twice or on both sides of a split."""
    did: Mapping[str, int]
    """How many changes mend each code, and how many lines are apart for it."""
    report: Report
    """What is still to be said of the corrected file."""


def mend(
    file: Path,
    method: Method,
    *,
    to: Path,
    overwrite: bool = False,
    rules: RowRules | None = None,
    valid: Path | None = None,
    personal: Personal | None = None,
) -> Mended:
    """Write a corrected copy of a training file, and say what was done. Nothing is lost: each line
    is in the copy, or apart with its reasons; what was changed is in the log.

    Memory is the same however long the file is. The three files appear whole or not at all.

    Args:
        to: the corrected file.
        overwrite: whether it may take the place of a file, the one that is read included.
        valid: the validation file; it is read, never changed. Rows that it asks too go apart.
        personal: tells the kinds of personal data in a text; they are told, and stay: what stands
            in for a value must be the same in the whole row, which a harvest sees to.

    Raises:
        RecordError: the file cannot be read, or has a line of more than 64 MiB; a file would be
            written over without `overwrite`.
        StoreError: a file cannot be written.
    """
    places = Places.beside(to)
    for place in places:
        if valid is not None and place.exists() and valid.exists() and place.samefile(valid):
            raise RecordError(f"{place} is the validation file; name another place with --out")
        if place.exists() and not overwrite:
            what = "the file that is read" if file.exists() and place.samefile(file) else "there"
            raise RecordError(f"{place} is {what}; name another place with --out, or --overwrite")
    if not file.is_file():
        raise RecordError(f"cannot read {file}: no such file")
    try:
        draft = Path(mkdtemp(prefix=f".{to.name}-", dir=to.resolve().parent))
    except OSError as error:
        raise StoreError(f"cannot write {to}: {error.strerror}") from error
    drafts = Places(*(draft / place.name for place in places))
    try:
        with Mending(method, rules, valid) as mending:
            mending.run(file, drafts)
        for new, place in reversed([*zip(drafts, places, strict=True)]):  # the original goes last
            new.replace(place)
    except OSError as error:
        raise StoreError(f"cannot write {to}: {error.strerror}; nothing was changed") from error
    finally:
        for new in drafts:
            new.unlink(missing_ok=True)
        draft.rmdir()
    again_checked = check(to, method, rules=rules, valid=valid, personal=personal)
    return Mended(
        places, mending.kept, mending.changed, mending.apart, dict(mending.did), again_checked
    )


class Mending:
    """A file while it is mended."""

    def __init__(self, method: Method, rules: RowRules | None, valid: Path | None) -> None:
        self.kept = self.changed = self.apart = 0
        self.did: Counter[str] = Counter()
        self._method, self._rules, self._valid = method, rules, valid
        self._open = ExitStack()
        self._seen = self._open.enter_context(Seen())

    def __enter__(self) -> "Mending":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def run(self, file: Path, to: Places) -> None:
        """Read `file` twice, and write the three files."""
        if self._valid is not None:
            for line in lines(self._valid):
                if line.fault is None and not _wrong(line.row, self._method, None):
                    note(line, self._method, self._seen)
        optional = self._optional(file)
        out, log, apart = (self._open.enter_context(path.open("wb")) for path in to)
        for line, cut in _whole(file):
            changes = [Change("byte_order_mark", "left out the byte order mark", None)] * cut
            self._one(line, optional, changes, out, log, apart)
        for opened in (out, log, apart):
            opened.flush()
            os.fsync(opened.fileno())

    def _one(
        self,
        line: Line,
        optional: frozenset[str],
        changes: list[Change],
        out: BinaryIO,
        log: BinaryIO,
        apart: BinaryIO,
    ) -> None:
        try:
            if isinstance(line.row, dict):
                changes += fixed(line.row, self._method, rules=self._rules, optional=optional)
            reasons = list(self._reasons(line))
        except RecursionError:
            reasons = [Fault("invalid_json", "the line is nested too deeply")]
        if reasons:
            self.apart += 1
            self.did.update({reason.code for reason in reasons})
            apart.write(verbatim(_kept_apart(line, reasons)) + b"\n")
            return
        self.kept += 1
        self.changed += bool(changes)
        only_bytes = {change.code for change in changes} <= {"byte_order_mark"}
        text = line.text if only_bytes else Row(body=line.row).line.encode()
        out.write(text + b"\n")
        for change in changes:
            self.did[change.code] += 1
            log.write(verbatim({"line": line.number, "now": self.kept, **change._asdict()}) + b"\n")

    def _reasons(self, line: Line) -> Iterator[Fault]:
        """Why a line cannot be in the corrected file, even as it is now."""
        if line.fault is not None:
            if line.fault.code == "line_too_long":  # there is no room to keep it apart
                raise RecordError(f"line {line.number}: {line.fault.message}; take it out by hand")
            yield line.fault
            return
        yield from (found := wrong(line.row, self._method, self._rules))
        if not found:
            leaked = self._valid and leak(line, self._method, self._seen, self._valid)
            if leaked:
                yield leaked
            else:
                yield from again(line, self._seen, "kept")

    def _optional(self, file: Path) -> frozenset[str]:
        """The keys that some rows have that can be mended, and others have not."""
        whole = Whole(self._method)
        for line, _ in _whole(file):
            if isinstance(line.row, dict):
                fixed(line.row, self._method, rules=self._rules)
                if not _wrong(line.row, self._method, self._rules):
                    whole.keys_of(line.row, line.number, line.example)
        return whole.optional


def _wrong(row: Any, method: Method, rules: RowRules | None) -> bool:
    try:
        return bool(wrong(row, method, rules))
    except RecursionError:
        return True


def _whole(file: Path) -> Iterator[tuple[Line, bool]]:
    """The lines, and whether a byte order mark was taken off."""
    for line in lines(file):
        if line.fault is not None and line.fault.code == "byte_order_mark":
            text = line.text.removeprefix(BOM)
            row, fault = parsed(text)
            yield line._replace(text=text, row=row, fault=fault), True
        else:
            yield line, False


def _kept_apart(line: Line, reasons: list[Fault]) -> Json:
    body: Json = {
        "line": line.number,
        "reasons": [{"code": reason.code, "message": reason.message} for reason in reasons],
    }
    try:
        return {**body, "text": line.text.decode()}
    except UnicodeDecodeError:
        return {**body, "base64": base64.b64encode(line.text).decode()}
