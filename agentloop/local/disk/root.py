"""The folder of one server: where things lie in it, and who owns it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from agentloop.base.errors import ConfigError
from agentloop.base.records import Json
from agentloop.local.disk.atomic import discard, read_json, sweep, write_json


class Root:
    """A folder for one server. `hold` it before anything else; `release` it at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.files = self.folder / "files"
        self.jobs = self.folder / "jobs"
        self.models = self.folder / "models"
        self.uploads = self.folder / "uploads"
        self._lock: int | None = None

    @property
    def announcement(self) -> Path:
        """`server.json`: pid, port and url of the server that listens."""
        return self.folder / "server.json"

    def hold(self) -> None:
        """Take the folder, make what is missing and sweep what a crash left.

        Raises:
            ConfigError: another server holds it, or it cannot be made.
        """
        try:
            for folder in (self.files, self.jobs, self.models, self.uploads):
                folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot use the folder {str(self.folder)!r}: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ConfigError(
                f"another server{self._holder()} works in {str(self.folder)!r}; stop it, or choose "
                "another folder"
            ) from error
        self._lock = lock
        self.announcement.unlink(missing_ok=True)
        for folder in (self.folder, self.files, self.jobs, self.models, self.uploads):
            sweep(folder)

    def release(self) -> None:
        """Let another server have the folder. Does nothing when it is not held."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def announce(self, about: Json) -> None:
        """Write `server.json`."""
        write_json(self.announcement, about)

    @property
    def url(self) -> str | None:
        """Where the server of this folder listens; None: it does not."""
        with suppress(OSError, ValueError, KeyError):
            return str(read_json(self.announcement)["url"])
        return None

    def withdraw(self) -> None:
        """Remove `server.json`."""
        discard(self.announcement)

    def _holder(self) -> str:
        with suppress(OSError, ValueError, KeyError):
            about = read_json(self.announcement)
            return f" (process {about['pid']}, {about['url']})"
        return ""
