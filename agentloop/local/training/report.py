"""What a worker tells its server: one JSON object a line, `{"about": …, "what": …}`."""

import json
import math
import threading
from typing import IO, Any

from agentloop.base.records import Complaint, Json


class Unfit(Exception):
    """The job cannot be trained, and whoever started it should know why."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.message)
        self.complaint = complaint


class Report:
    """The worker's side of the pipe."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def event(
        self, message: str, *, level: str = "info", type: str = "message", data: Json | None = None
    ) -> None:
        """Something worth an event of the job."""
        what = {"message": message, "level": level, "type": type, "data": data or {}}
        self._tell("event", what)

    def progress(self, **fields: Any) -> None:
        """Fields of the job object that have changed."""
        self._tell("progress", fields)

    def checkpoint(self, folder: str, step: int, metrics: Json) -> None:
        """A model that can be called lies in `folder`."""
        self._tell("checkpoint", {"folder": folder, "step": step, "metrics": metrics})

    def failed(self, complaint: Complaint) -> None:
        """The job is over, and why."""
        self._tell("failed", complaint.wire)

    def done(self, *, model: str, trained_tokens: int, results: str) -> None:
        """The job is over and well; `results` is the path of the CSV."""
        what = {"model": model, "trained_tokens": trained_tokens, "results": results}
        self._tell("done", what)

    def _tell(self, about: str, what: Json) -> None:
        line = json.dumps({"about": about, "what": _finite(what)}).encode() + b"\n"
        with self._lock:
            self._pipe.write(line)
            self._pipe.flush()


def _finite(value: Any) -> Any:
    """`value` without NaN and infinity, which are not JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
