"""A harvest's rows, written for another library: all at once or not at all."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from agentloop.base.errors import ConfigError, NotFound, RecordError
from agentloop.base.records import Dataset, Json, Method, faults
from agentloop.base.records.message import digest
from agentloop.base.store.seen import Seen, Sight
from agentloop.harvest.exports.card import card
from agentloop.harvest.exports.forms import (
    TAKEN,
    Form,
    Left,
    Unfit,
    fields,
    is_masked,
    read,
    reshaped,
    written,
)
from agentloop.harvest.files import files_of, replacing
from agentloop.harvest.splits import SIDES

OURS = re.compile(
    r"(train|valid|left)\.(jsonl|parquet)|README\.md|export\.json|dataset_dict\.json"
    r"|train|validation"
)
"""Names of what an export holds."""


class Format(StrEnum):
    """Who reads it."""

    OPENAI = "openai"
    """The rows as they are: `train.jsonl`, `valid.jsonl`."""
    TRL = "trl"
    """TRL's form for the method, as JSON lines; see `forms`."""
    KTO = "kto"
    """TRL's form for single verdicts, as JSON lines: of a pair, each side is one."""
    PARQUET = "parquet"
    """TRL's form: `train.parquet`, `valid.parquet`."""
    DATASETS = "datasets"
    """TRL's form: a folder for `datasets.load_from_disk`, with `train` and `validation`."""


class Exported(NamedTuple):
    """What was written."""

    to: Path
    dataset: str
    """Id of the dataset whose rows they are."""
    format: Format
    form: Form | None
    """None: OpenAI's."""
    rows: dict[str, int]
    """Rows in `train` and `valid`."""
    left: dict[str, int]
    """Reason -> how many rows, or turns of rows, could not be written in this form."""

    @property
    def wire(self) -> Json:
        """What `export.json` holds: no path and no time, so that equal exports are equal."""
        return {
            "dataset": self.dataset,
            "format": self.format.value,
            "form": self.form.value if self.form else None,
            "rows": self.rows,
            "left": self.left,
        }


def export(
    made: Dataset | Path, format: Format | str, to: Path, *, overwrite: bool = False
) -> Exported:
    """Write the rows of a dataset, or of the folder that a harvest wrote, for another library.

    `to` becomes a folder with the rows, `export.json` (`Exported.wire`), and, where rows could not
    be written in the form, `left.jsonl`: one line each with `file`, `line`, `code`, `sentence`.
    JSON lines have a `README.md` beside them, a dataset card that tells `datasets.load_dataset(to)`
    the types of the columns; without, it guesses them from the first 10 MB, and fails at the first
    row that is unlike those.

    In Parquet and Arrow these are the types: `prompt`, `completion`, `chosen`, `rejected`,
    `messages`: list of JSON texts, one a message; `tools`: a JSON text; `label`: a boolean; fields
    of RFT rows: a text where all rows have texts, else a JSON text. So no row gets the keys of
    another one. What is written is exact; what `datasets` reads of a JSON text is exact but for
    decimals, which it takes to 15 digits.

    Memory is the same however many rows a folder has.

    Raises:
        ConfigError: the method has no such form, or the extra `export` is not installed.
        NotFound: the folder holds no harvest.
        RecordError: `to` is there already; a row is not as a harvest writes it; no row is left.
        StoreError: it cannot be written; nothing is left behind.
    """
    format = Format(format)
    source = _source(made)
    _fits(source.method, format)
    _free(to, overwrite)
    with replacing(to, OURS) as draft:
        if format is Format.OPENAI:
            done = Exported(to, source.id, format, None, _copied(source, draft), {})
        else:
            done = _reshaped(source, format, to, draft)
        if not done.rows["train"]:
            told = "; ".join(f"{n} {code}: {Left(code).sentence}" for code, n in done.left.items())
            raise RecordError(f"{source.id} has no row to export{f' ({told})' * bool(told)}")
        (draft / "export.json").write_text(json.dumps(done.wire, indent=2) + "\n")
    return done


# ---------------------------------------------------------------------- from where, and to where


class _Line(NamedTuple):
    """A row where it stands."""

    file: str
    number: int
    text: str

    def row(self, method: Method) -> Json:
        """What the line holds."""
        row: Json = read(self.text)
        if wrong := faults(row, method):
            said = f"{wrong[0].message}; `agentloop data check` finds all"
            raise RecordError(f"{self.file}:{self.number}: {said}")
        return row


class _Source(NamedTuple):
    id: str
    method: Method
    lines: Callable[[str], Iterable[_Line]]
    """The rows of `train` or `valid`."""

    def rows(self, side: str) -> Iterator[tuple[_Line, Json | Left]]:
        """The rows, or why others could not read one."""
        for line in self.lines(side):
            try:
                yield line, line.row(self.method)
            except Unfit as unfit:
                yield line, unfit.reason
            except (json.JSONDecodeError, RecursionError) as error:
                raise RecordError(f"{line.file}:{line.number} is no JSON: {error}") from error


def _source(made: Dataset | Path) -> _Source:
    if isinstance(made, Dataset):
        sides = {"train": made.rows, "valid": made.valid}
        return _Source(
            made.id,
            made.method,
            lambda side: (
                _Line(f"{side}.jsonl", n, row.line) for n, row in enumerate(sides[side], 1)
            ),
        )
    try:
        manifest = json.loads((made / "manifest.json").read_bytes())
        id, method = manifest["dataset"], Method(manifest["method"])
    except OSError as error:
        said = f"{made} holds no harvest: manifest.json: {error.strerror}"
        raise NotFound(f"{said}; `agentloop harvest` writes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{made / 'manifest.json'} is none of a harvest: {error}") from error
    return _Source(id, method, lambda side: _in(files_of(made, manifest, side)))


def _in(files: Iterable[Path]) -> Iterator[_Line]:
    for file in files:
        try:
            with file.open(encoding="utf-8", newline="\n") as lines:
                for n, text in enumerate(lines, 1):
                    yield _Line(file.name, n, text.removesuffix("\n"))
        except OSError as error:
            raise RecordError(f"cannot read {file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise RecordError(f"{file} is not UTF-8: {error}") from error


def _fits(method: Method, format: Format) -> None:
    """That there is such a form of the method's rows, and a library that writes it."""
    if format is Format.OPENAI and method is Method.KTO:
        raise ConfigError("no service of OpenAI's kind takes single verdicts; take --format trl")
    if format is Format.KTO and method not in (Method.DPO, Method.KTO):
        raise ConfigError(
            f"{method.value} rows are no verdicts, good and bad; harvest dpo, or take --format trl"
        )
    if format in (Format.PARQUET, Format.DATASETS):
        from agentloop.harvest.exports import arrow

        arrow.needed(format.value)


def _free(to: Path, overwrite: bool) -> None:
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if not overwrite:
        raise RecordError(f"{to} is there; name another place with --out, or --overwrite")
    if not (to / "export.json").is_file():
        raise RecordError(f"{to} is no export, so it is not written over; name another place")


# ---------------------------------------------------------------------- what is written


def _copied(source: _Source, draft: Path) -> dict[str, int]:
    rows = dict.fromkeys(SIDES, 0)
    for side in SIDES:
        with _lines(draft / f"{side}.jsonl") as put:
            for line in source.lines(side):
                put(line.text)
                rows[side] += 1
    return rows


def _reshaped(source: _Source, format: Format, to: Path, draft: Path) -> Exported:
    form, types = _looked_through(source, format)
    as_json = frozenset(name for name, type in types.items() if type == "json text")
    rows = dict.fromkeys(SIDES, 0)
    left: Counter[str] = Counter()
    with _lines(draft / "left.jsonl") as put_left:
        for side in SIDES:
            with _lines(draft / f"{side}.jsonl") as put, Seen() as seen:
                for line, row in source.rows(side):
                    try:
                        for new in reshaped(_whole(row), form, as_json=as_json):
                            text = written(new)
                            if form is not Form.UNPAIRED or _first(text, line.number, seen):
                                put(text)
                                rows[side] += 1
                    except Unfit as unfit:
                        left[unfit.reason.value] += 1
                        put_left(json.dumps(_left(line, unfit.reason)))
    there = [side for side in SIDES if rows[side]]
    if format in (Format.PARQUET, Format.DATASETS):
        from agentloop.harvest.exports import arrow

        arrow.convert(draft, there, types, parquet=format is Format.PARQUET)
    else:
        told = card(source.id, form, types, there, sha=_sha(draft / f"{s}.jsonl" for s in there))
        (draft / "README.md").write_text(told)
    return Exported(to, source.id, format, form, rows, dict(left.most_common()))


def _whole(row: Json | Left) -> Json:
    if isinstance(row, Left):
        raise Unfit(row)
    return row


def _left(line: _Line, reason: Left) -> Json:
    return {
        "file": line.file,
        "line": line.number,
        "code": reason.value,
        "sentence": reason.sentence,
    }


def _looked_through(source: _Source, format: Format) -> tuple[Form, dict[str, str]]:
    """The form, and the type of each column: `messages`, `json`, `bool`, `text`, or `json text`
    for a field that is a text in some rows and something else in others."""
    masked, tools = False, False
    kinds: dict[str, set[bool]] = {}
    for side in SIDES:
        for _, row in source.rows(side):
            if isinstance(row, Left):
                continue
            given = row["input"] if source.method is Method.DPO else row
            tools = tools or "tools" in given
            if source.method is Method.SFT:
                masked = masked or is_masked(row)
            if source.method is Method.RFT:
                for name, value in fields(row):
                    is_text = {isinstance(value, str)} if value is not None else set()
                    kinds.setdefault(name, set()).update(is_text)
    if taken := sorted(TAKEN & kinds.keys()):
        raise RecordError(f"TRL knows something else by the name {taken[0]!r}; rename that field")
    form = Form.UNPAIRED if format is Format.KTO else Form.of(source.method, masked=masked)
    types = dict.fromkeys(form.columns, "messages")
    types |= {"label": "bool"} if form is Form.UNPAIRED else {}
    types |= {"tools": "json"} if tools else {}
    for name, texts in kinds.items():
        types[name] = "json text" if len(texts) > 1 else "text" if texts == {True} else "json"
    return form, types


def _first(new: str, line: int, seen: Seen) -> bool:
    """Whether this verdict is new: an answer that stands in several pairs was judged once."""
    name = digest(new.encode())
    return seen.find(name) is None and seen.first(name, Sight(line, "")).line == line


def _sha(files: Iterable[Path]) -> str:
    """The first 12 digits of a hash of the files' bytes."""
    hashed = sha256()
    for file in files:
        with file.open("rb") as opened:
            while some := opened.read(1 << 20):
                hashed.update(some)
    return hashed.hexdigest()[:12]


@contextmanager
def _lines(file: Path) -> Iterator[Callable[[str], Any]]:
    """Writes lines; a file that gets none is not there."""
    with file.open("w", encoding="utf-8", newline="\n") as opened:
        yield lambda text: opened.write(f"{text}\n")
    if not file.stat().st_size:
        file.unlink()
