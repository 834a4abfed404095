"""Files that come in parts. What was uploaded is there after a restart, and goes after an hour."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agentloop.base.errors import NotFound, RecordError, TransitionError
from agentloop.base.records import Json
from agentloop.local.disk.atomic import discard, read_json, sync, write_json
from agentloop.local.disk.ids import fresh, now

LIFE = 3600
"""Seconds after which an upload that was not completed expires, as at OpenAI."""

_CHUNK = 1 << 20


class Uploads:
    """Every upload of a server, as OpenAI's upload objects. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._objects: dict[str, Json] = {}
        self._busy: set[str] = set()
        for path in folder.glob("*/upload.json"):
            about = read_json(path)
            if about["object"]["expires_at"] > now():
                self._objects[path.parent.name] = about
            else:
                discard(path.parent)

    def add(self, *, filename: str, purpose: str, bytes: int, lifetime: int | None) -> Json:
        """A new upload of that many bytes. `lifetime`: of the file in the end; see `Files.add`."""
        id = fresh("upload_")
        about = {
            "id": id,
            "object": "upload",
            "bytes": bytes,
            "created_at": now(),
            "expires_at": now() + LIFE,
            "filename": filename,
            "purpose": purpose,
            "status": "pending",
        }
        (self.folder / id).mkdir()
        self._write(id, {"object": about, "lifetime": lifetime})
        return about

    def get(self, id: str) -> Json:
        """The upload.

        Raises:
            NotFound: there is none of that id.
        """
        with self._lock:
            if (about := self._objects.get(id)) is None:
                raise NotFound(f"No such Upload object: {id}")
            found: Json = about["object"]
            if found["status"] == "pending" and found["expires_at"] <= now():
                return self._end(id, "expired")
            return found

    def lifetime(self, id: str) -> int | None:
        """That of the file in the end."""
        with self._lock:
            seconds: int | None = self._objects[id]["lifetime"]
            return seconds

    def part(self, id: str, source: Path, *, most: int) -> Json:
        """`source`, which is moved here, as a part of the upload.

        Args:
            most: bytes of all parts together.

        Raises:
            TransitionError: the upload is not pending.
            RecordError: with this part there were too many bytes.
        """
        with self._pending(id):
            there = sum(path.stat().st_size for path in (self.folder / id).glob("part_*"))
            if there + source.stat().st_size > most:
                raise RecordError(f"the parts of {id!r} would have more than {most} bytes")
            part = fresh("part_")
            sync(source)
            source.rename(self.folder / id / part)
            return {"id": part, "object": "upload.part", "created_at": now(), "upload_id": id}

    @contextmanager
    def completing(self, id: str) -> Iterator[None]:
        """Nobody else touches the upload meanwhile.

        Raises:
            TransitionError: it is not pending.
        """
        with self._pending(id):
            yield

    def join(self, id: str, parts: Sequence[str], target: Path, *, md5: str | None) -> None:
        """Write the parts, in that order, to `target`.

        Raises:
            RecordError: there is no such part, or together they are not what was promised.
        """
        digest, size = hashlib.md5(usedforsecurity=False), 0
        with target.open("wb") as joined:
            for part in parts:
                path = self.folder / id / Path(part).name
                if not part.startswith("part_") or not path.is_file():
                    raise RecordError(f"the upload {id!r} has no part {part!r}")
                with path.open("rb") as source:
                    while chunk := source.read(_CHUNK):
                        digest.update(chunk)
                        size += joined.write(chunk)
        if size != (promised := self.get(id)["bytes"]):
            raise RecordError(f"the parts have {size} bytes; the upload was to have {promised}")
        if md5 is not None and md5.lower() != digest.hexdigest():
            raise RecordError(f"the parts have the md5 {digest.hexdigest()}, not {md5}")

    def completed(self, id: str, file: Json) -> Json:
        """The upload has become `file`; its parts go."""
        return self._end(id, "completed", file=file)

    def cancel(self, id: str) -> Json:
        """Nothing will come of it.

        Raises:
            TransitionError: it is not pending.
        """
        with self._pending(id):
            return self._end(id, "cancelled")

    @contextmanager
    def _pending(self, id: str) -> Iterator[None]:
        with self._lock:
            if (status := self.get(id)["status"]) != "pending" or id in self._busy:
                doing = "being completed" if id in self._busy else status
                raise TransitionError(f"the upload {id!r} is {doing}; start another")
            self._busy.add(id)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(id)

    def _end(self, id: str, status: str, **fields: Json) -> Json:
        with self._lock:
            about = self._objects[id]
            changed: Json = {**about["object"], "status": status, **fields}
            self._write(id, {**about, "object": changed})
        for path in (self.folder / id).glob("part_*"):
            discard(path)
        return changed

    def _write(self, id: str, about: Json) -> None:
        write_json(self.folder / id / "upload.json", about)
        with self._lock:
            self._objects[id] = about
