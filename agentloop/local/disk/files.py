"""Uploaded files, and the result files of jobs."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agentloop.base.records import Json
from agentloop.local.disk.atomic import beside, commit, discard, read_json, write_json
from agentloop.local.disk.ids import fresh, now


class Files:
    """Every file of a server, as OpenAI's file objects, with their contents on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = self._folder = folder
        """Where they lie. What is unfinished may be put here aside; see `atomic.beside`."""
        self._lock = threading.RLock()
        self._objects: dict[str, Json] = {}
        found = [read_json(path) for path in folder.glob("*/object.json")]
        for stored in sorted(found, key=lambda stored: int(stored["serial"])):
            self._objects[stored["object"]["id"]] = stored["object"]
        self.all()  # those whose time is over are deleted

    def add(
        self,
        *,
        filename: str,
        purpose: str,
        fill: Callable[[Path], str | None],
        lifetime: int | None = None,
    ) -> Json:
        """A new file.

        Args:
            fill: writes the content to the path it is given; says what is wrong with it, if
                something is. When it raises, there is no file.
            lifetime: seconds until it is deleted; None keeps it.
        """
        self.all()  # those whose time is over make room
        id = fresh("file-")
        aside = beside(self._folder / id)
        aside.mkdir()
        try:
            content = aside / "content"
            fault = fill(content)
            about: Json = {
                "id": id,
                "object": "file",
                "bytes": content.stat().st_size,
                "created_at": now(),
                "filename": filename,
                "purpose": purpose,
                "status": "processed" if fault is None else "error",
                "status_details": fault,
            }
            if lifetime is not None:
                about["expires_at"] = about["created_at"] + lifetime
            write_json(aside / "object.json", {"object": about, "serial": time.time_ns()})
            commit(aside, self._folder / id)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        with self._lock:
            self._objects[id] = about
        return about

    def get(self, id: str) -> Json | None:
        """The file object, or None when there is none of that id, or no longer."""
        with self._lock:
            about = self._objects.get(id)
            if about is not None and about.get("expires_at", now() + 1) <= now():
                self.delete(id)
                return None
            return about

    def content(self, id: str) -> Path:
        """Where the content of the file lies."""
        return self._folder / id / "content"

    def all(self) -> list[Json]:
        """Every file, oldest first."""
        with self._lock:
            return [about for id in list(self._objects) if (about := self.get(id)) is not None]

    def delete(self, id: str) -> bool:
        """Delete the file; whether there was one."""
        with self._lock:
            if self._objects.pop(id, None) is None:
                return False
            discard(self._folder / id)
            return True
