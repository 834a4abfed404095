"""Writes that are either done or not begun, whatever is killed in between."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentloop.base.records import Json

_UNFINISHED = ".agentloop-"
"""Begins names that no reader looks at. Long, because `sweep` deletes whatever bears it."""


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`; a reader sees the old content or the new, never a part."""
    aside = beside(path)
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write` of `value` as JSON."""
    write(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def read_json(path: Path) -> Json:
    """The JSON object at `path`."""
    value: Json = json.loads(path.read_bytes())
    return value


def commit(filled: Path, place: Path) -> None:
    """Make the folder `filled` appear at `place`, complete; what stood there goes."""
    for path in filled.rglob("*"):
        sync(path)
    sync(filled)
    discard(place)
    filled.rename(place)
    sync(place.parent)


def discard(path: Path) -> None:
    """Take a file or folder away at once, then delete it at leisure."""
    aside = beside(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A fresh name next to `path`, for what is unfinished or on its way out; see `sweep`."""
    return path.with_name(f"{_UNFINISHED}{path.name}.{secrets.token_hex(4)}")


def sweep(folder: Path) -> None:
    """Delete what was left unfinished in `folder`."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def append(path: Path, value: Json) -> None:
    """Add `value` as one line; a line that a crash cut short is removed first."""
    line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
    with path.open("ab") as file:
        if file.tell() and not _ends_whole(path):
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.write(line)


def lines(path: Path) -> Iterator[Json]:
    """Every whole line of `path` as JSON; none when there is no such file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def parse(line: bytes) -> Any:
    """One line of JSON in UTF-8, and nothing that Python takes beyond that.

    Raises:
        ValueError: it is none; a byte order mark, UTF-16 and NaN are not.
    """
    return json.loads(line.decode(), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def sync(path: Path) -> None:
    """Have the disk hold what was written to the file or folder `path`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
