"""Fine-tuning jobs: OpenAI's job objects, the states they may be in, their events."""

import os
import re
import shutil
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from agentloop.base.errors import NotFound, TransitionError
from agentloop.base.records import Json, Record
from agentloop.local.disk.atomic import append, beside, commit, lines, read_json, write_json
from agentloop.local.disk.ids import fresh, now


class Status(StrEnum):
    """Where a job stands, in OpenAI's words."""

    VALIDATING = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_ENDS = frozenset({Status.FAILED, Status.CANCELLED})

ARROWS: dict[Status, frozenset[Status]] = {
    Status.VALIDATING: frozenset({Status.QUEUED}) | _ENDS,
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.SUCCEEDED}) | _ENDS,
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.QUEUED, Status.PAUSED}) | _ENDS,
    Status.PAUSED: frozenset({Status.QUEUED, Status.SUCCEEDED}) | _ENDS,
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
"""Where each state may go next.

Running goes back to queued when server or process died under it. A job that is paused, and perhaps
resumed, in its last step succeeds all the same: its process had nothing left to do.
"""


class Owed(Record):
    """An event about the end of a job that its receiver has not taken yet."""

    id: str
    """The same at every try, so that a receiver can tell a repetition."""
    created_at: int
    tries: int = 0
    due: int = 0
    """The second from which it may be tried."""


class TuningJob(Record):
    """One job. The fields are those of OpenAI's object, in its words."""

    id: str
    created_at: int
    model: str
    method: Json
    training_file: str
    validation_file: str | None = None
    seed: int
    metadata: dict[str, str] | None = None
    user_provided_suffix: str | None = None
    status: Status = Status.VALIDATING
    error: Json | None = None
    finished_at: int | None = None
    estimated_finish: int | None = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    result_files: tuple[str, ...] = ()
    owed: Owed | None = None
    serial: int = Field(default_factory=time.time_ns)
    """Orders jobs that were created within one second."""

    @property
    def kind(self) -> str:
        """`supervised`, `dpo` or `reinforcement`."""
        return str(self.method["type"])

    @property
    def hyperparameters(self) -> Json:
        """Those of its method; a number, or `auto` until the job runs."""
        chosen: Json = self.method[self.kind]["hyperparameters"]
        return chosen

    @property
    def done(self) -> bool:
        """Whether no arrow leads on."""
        return not ARROWS[self.status]

    @property
    def tuned_name(self) -> str:
        """What the finished model is called: `ft:BASE:local:SUFFIX:8 CHARACTERS`."""
        base = self.model.split(":")[1] if self.model.startswith("ft:") else self.model
        suffix = re.sub(r"[^a-z0-9._-]+", "-", (self.user_provided_suffix or "").lower())
        return f"ft:{base}:local:{suffix}:{self.id[-8:]}"

    @property
    def wire(self) -> Json:
        """OpenAI's fine-tuning job object."""
        return {
            **self.model_dump(mode="json", exclude={"serial", "owed"}),
            "method": _shown(self.method),
            "object": "fine_tuning.job",
            "organization_id": "org-local",
            "hyperparameters": self.hyperparameters if self.kind == "supervised" else {},
            "integrations": [],
        }


HIDDEN = "(hidden)"


def _shown(value: Any) -> Any:
    """The same without what headers hold, which may be keys."""
    if isinstance(value, list | tuple):
        return [_shown(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        name: dict.fromkeys(inner, HIDDEN)
        if name == "headers" and isinstance(inner, dict)
        else _shown(inner)
        for name, inner in value.items()
    }


class Jobs:
    """Every job of a server. Changes are on disk before they are seen."""

    def __init__(self, folder: Path, *, tell: bool = False) -> None:
        """`tell`: whether somebody is to be told when a job ends; see `owing`."""
        self.ended = threading.Event()
        """Set when a job has ended, or somebody waits for that in vain."""
        self._folder, self._telling = folder, tell
        self._lock = threading.RLock()
        self._jobs: dict[str, TuningJob] = {}
        for path in folder.glob("*/job.json"):
            self._jobs[path.parent.name] = TuningJob.of(read_json(path))

    def folder(self, id: str) -> Path:
        """Where the job's own files lie."""
        return self._folder / id

    def add(self, job: TuningJob, files: dict[str, Path]) -> TuningJob:
        """A new job, with copies of `files` under the given names, so that it keeps its data."""
        aside = beside(self._folder / job.id)
        aside.mkdir()
        try:
            for name, path in files.items():
                try:
                    os.link(path, aside / name)
                except OSError:
                    shutil.copyfile(path, aside / name)
            write_json(aside / "job.json", job.model_dump(mode="json"))
            commit(aside, self._folder / job.id)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        with self._lock:
            self._jobs[job.id] = job
        return job

    def find(self, id: str) -> TuningJob | None:
        """The job, or None."""
        with self._lock:
            return self._jobs.get(id)

    def get(self, id: str) -> TuningJob:
        """The job, or `NotFound`."""
        if (job := self.find(id)) is None:
            raise NotFound(f"Could not find fine tune: {id}")
        return job

    def all(self) -> list[TuningJob]:
        """Every job, newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.serial, reverse=True)

    def change(self, id: str, **fields: Any) -> TuningJob:
        """The job with `fields` changed; its state is left to `advance`."""
        with self._lock:
            job = self.get(id).model_copy(update=fields)
            write_json(self.folder(id) / "job.json", job.model_dump(mode="json"))
            self._jobs[id] = job
            return job

    def advance(self, id: str, to: Status, **fields: Any) -> TuningJob:
        """The job in its next state, with `fields` changed.

        Raises:
            TransitionError: no arrow leads from its present state to `to`.
        """
        with self._lock:
            job = self.get(id)
            if to not in ARROWS[job.status]:
                raise TransitionError(f"job {id!r} is {job.status} and cannot become {to}")
            if not ARROWS[to]:
                fields = {"finished_at": now(), "estimated_finish": None, **fields}
                if self._telling:
                    fields["owed"] = Owed(id=fresh("evt_"), created_at=now())
            changed = self.change(id, status=to, **fields)
        if changed.done:
            self.ended.set()
        return changed

    def owing(self) -> list[tuple[TuningJob, Owed]]:
        """Jobs of whose end somebody must still be told, the first to have ended first."""
        with self._lock:
            found = [(job, job.owed) for job in self._jobs.values() if job.owed is not None]
        return sorted(found, key=lambda one: (one[1].created_at, one[0].serial))

    def note(
        self,
        id: str,
        message: str,
        *,
        level: str = "info",
        type: str = "message",
        data: Json | None = None,
    ) -> None:
        """Add an event."""
        event = {
            "object": "fine_tuning.job.event",
            "id": fresh("ftevent-"),
            "created_at": now(),
            "level": level,
            "message": message,
            "type": type,
            "data": data or {},
        }
        with self._lock:
            append(self.folder(id) / "events.jsonl", event)

    def events(self, id: str) -> list[Json]:
        """The job's events, newest first."""
        with self._lock:
            return list(lines(self.folder(id) / "events.jsonl"))[::-1]

    def checkpoints(self, id: str) -> list[Json]:
        """The job's checkpoints, newest first."""
        path = self.folder(id) / "checkpoints.json"
        return list(read_json(path)["checkpoints"]) if path.exists() else []

    def keep(self, id: str, checkpoints: list[Json]) -> None:
        """Let these, newest first, be the job's checkpoints."""
        write_json(self.folder(id) / "checkpoints.json", {"checkpoints": checkpoints})
