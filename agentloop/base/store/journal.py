"""Journals: files that keep records while the store cannot take them."""

import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from threading import Lock
from typing import IO, NamedTuple
from uuid import uuid4

from agentloop.base.errors import RecordError
from agentloop.base.records import Call, Opinion, Outcome, Span, Trace
from agentloop.base.store.batch import Storable

log = logging.getLogger("agentloop.store")

BATCH = 1_000
"""Records that are stored together, at most: some in each transaction."""

BATCH_BYTES = 16_000_000
"""Bytes of records that are stored together, about; a record that is larger is alone."""

KINDS: dict[str, type[Storable]] = {
    kind.__name__: kind for kind in (Trace, Call, Span, Opinion, Outcome)
}


class Journal:
    """Where one writer puts the records that the store did not take: a JSON line each, synced to
    disk. A lock on each file says that its writer is alive. Safe to use from several threads, but
    emptied by one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._full: deque[Open] = deque()
        self._file: Open | None = None
        self._lock = Lock()

    def __bool__(self) -> bool:
        """Whether there is something in it."""
        return bool(self._full) or self._file is not None

    def append(self, records: Iterable[Storable]) -> Path:
        """Add records, all or none. They are on disk when this returns, in that file.

        Raises:
            OSError: none of them could be added.
        """
        lines = b"".join(f"{type(r).__name__} {r.to_line()}\n".encode() for r in records)
        with self._lock:
            path, file = self._opened()
            end = file.tell()
            try:
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                file.seek(end)
                raise
            return path

    def _opened(self) -> "Open":
        """The file to add to: a new one where there is none, or where somebody has removed it."""
        if self._file is not None and not os.fstat(self._file.file.fileno()).st_nlink:
            self._full.append(self._file)  # what is in it can still be read, by us alone
            self._file = None
        self._file = self._file or _opened(self._folder)
        return self._file

    def empty(self, into: Callable[[list[Storable]], None]) -> None:
        """Give everything to `into`, oldest first, and forget what it has taken. Records that are
        added meanwhile wait for the next time."""
        self._empty_full(into)  # first, so that a store that is down makes no file after file
        with self._lock:
            if self._file is not None:
                self._full.append(self._file)
                self._file = None
        self._empty_full(into)

    def _empty_full(self, into: Callable[[list[Storable]], None]) -> None:
        while self._full:
            path, file = self._full[0]
            file.seek(0)
            with FileIO(file.fileno(), closefd=False) as again, BufferedReader(again) as lines:
                for records in batches(lines):
                    into(records)
            path.unlink(missing_ok=True)
            file.close()
            self._full.popleft()

    def close(self) -> None:
        """Let go of the files; the next writer on the folder empties them."""
        with self._lock:
            for _, file in (*self._full, *((self._file,) if self._file else ())):
                file.close()
            self._full.clear()
            self._file = None


class Open(NamedTuple):
    """A file that is open, and locked."""

    path: Path
    file: FileIO


def _opened(folder: Path) -> Open:
    """A new file, locked before it has its name: nobody finds it unlocked while we live."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / f"spill-{os.getpid()}-{uuid4().hex[:12]}.journal"
        draft = path.with_name(f".{path.name}")
        file = FileIO(draft, "x+")
        if _lock(file) and os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # somebody took it for one that a killed writer has left
    draft.rename(path)
    there = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(there)  # that there is such a file is on disk too
    finally:
        os.close(there)
    return Open(path, file)


def _lock(file: IO[bytes] | FileIO) -> bool:
    """Lock a file; False when another has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sweep(folder: Path) -> None:
    """Remove files that writers were killed over before they had put anything in."""
    for draft in folder.glob(".spill-*.journal"):
        try:
            with draft.open("rb") as file:
                if _lock(file):
                    draft.unlink(missing_ok=True)
        except OSError:
            continue


def batches(file: IO[bytes]) -> Iterator[list[Storable]]:
    """The records of a journal, in lists of at most `BATCH` and about `BATCH_BYTES`."""
    batch: list[Storable] = []
    start = file.tell()
    for record in read(file):
        batch.append(record)
        if len(batch) == BATCH or file.tell() - start >= BATCH_BYTES:
            yield batch
            batch, start = [], file.tell()
    if batch:
        yield batch


def orphans(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """The journals in `folder` whose writers are gone, oldest first, each locked while it is
    looked at."""
    for path in sorted(folder.glob("spill-*.journal"), key=_age):
        try:
            file = path.open("rb")
        except OSError:
            continue
        with file:
            # Without a link, somebody else was faster.
            if _lock(file) and os.fstat(file.fileno()).st_nlink:
                yield path, file


def read(file: IO[bytes]) -> Iterator[Storable]:
    """The records of a journal. The last line of a writer that was killed may be half a line."""
    for line in file:
        kind, _, body = line.rstrip(b"\n").partition(b" ")
        try:
            yield KINDS[kind.decode()].from_line(body)
        except (KeyError, UnicodeDecodeError, RecordError) as error:
            log.warning("a line of %s cannot be read: %s", file.name, error)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
