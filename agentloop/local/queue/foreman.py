"""The foreman: checks the files of jobs, trains one job at a time, and writes down how it goes."""

import logging
import queue
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentloop.base.errors import NotFound, TransitionError
from agentloop.base.records import Complaint, Json, Method
from agentloop.local.disk.atomic import sweep
from agentloop.local.disk.files import Files
from agentloop.local.disk.ids import fresh, now
from agentloop.local.disk.jobs import Jobs, Status, TuningJob
from agentloop.local.disk.models import Models
from agentloop.local.disk.root import Root
from agentloop.local.disk.standing import Standing, ask_to_pause, leave, standing
from agentloop.local.judges import OwnJudges
from agentloop.local.queue.checking import check
from agentloop.local.queue.nursery import Nursery
from agentloop.local.queue.process import Worker

log = logging.getLogger(__name__)

CHECKPOINTS = 3
"""The last ones are kept, as at OpenAI; of reinforcement the best ones."""

AGAIN = 1.0
"""Seconds until something that found no room on the disk is tried again."""


class Foreman:
    """Two threads: one checks files, so that a broken one is known at once, one trains."""

    def __init__(
        self,
        root: Root,
        jobs: Jobs,
        files: Files,
        models: Models,
        *,
        ready: Callable[[], object] | None,
        save_every: float = 30.0,
        judges: Callable[[], OwnJudges] | None = None,
    ) -> None:
        """
        Args:
            ready: see `Nursery`.
            save_every: seconds of training between two saved states, at least.
            judges: where models of graders are asked now; None: as the environment says.
        """
        self._judges = judges or (lambda: OwnJudges(None, None, ()))
        self._save_every = save_every
        self._root, self._jobs, self._files, self._models = root, jobs, files, models
        self._nursery = Nursery(root.folder / "worker.log", ready=ready)
        self._unchecked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._queued: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._engaging = threading.Lock()
        self._pausing = threading.Lock()
        self._current: tuple[str, Worker] | None = None
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("checker", self._check_all), ("foreman", self._train_all))
        ]

    def start(self) -> None:
        """Take up what an earlier server left, and begin."""
        for job in reversed(self._jobs.all()):
            if job.status is Status.VALIDATING:
                self._unchecked.put(job.id)
            elif job.status is Status.QUEUED:
                self._queued.put(job.id)
            elif job.status is Status.RUNNING:
                self._again(job.id, "The server stopped while this job was running")
            elif job.done:
                self._forget(job)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the workers. A job that runs is taken up by the next server."""
        self._closing.set()
        self._unchecked.put(None)
        self._queued.put(None)
        self._nursery.close()
        with self._engaging:
            current = self._current
        if current is not None:
            current[1].end()
        for thread in self._threads:
            thread.join(timeout=30)

    def submit(self, id: str) -> None:
        """Check the job's files, then train when its turn comes."""
        self._unchecked.put(id)

    def cancel(self, id: str) -> TuningJob:
        """Stop the job.

        Raises:
            TransitionError: it is over.
        """
        job = self._jobs.advance(id, Status.CANCELLED)
        self._jobs.note(id, "The job was cancelled")
        with self._engaging:
            current = self._current
        if current is not None and current[0] == id:
            current[1].end()
        else:
            self._forget(job)
        return job

    def pause(self, id: str) -> TuningJob:
        """Have the job stop after its present step, and wait for `resume`.

        Raises:
            TransitionError: it is not queued or running.
        """
        with self._pausing:
            job = self._jobs.advance(id, Status.PAUSED, estimated_finish=None)
            ask_to_pause(self._jobs.folder(id), True)
        self._jobs.note(id, "The job was paused")
        return job

    def resume(self, id: str) -> TuningJob:
        """Let the job go on from where it stands, when its turn comes.

        Raises:
            TransitionError: it is not paused.
        """
        with self._pausing:
            if (job := self._jobs.get(id)).status is not Status.PAUSED:
                raise TransitionError(f"job {id!r} is {job.status} and cannot be resumed")
            job = self._jobs.advance(id, Status.QUEUED)
        self._jobs.note(id, "The job was resumed, moving job to queued state")
        self._queued.put(id)
        return job

    def _again(self, id: str, why: str) -> None:
        """Queue a job whose server or process died, from where it stands or from the beginning."""
        stands = standing(self._jobs.folder(id))
        kept = self._jobs.checkpoints(id) if stands else []
        self._jobs.keep(id, kept)
        self._models.forget(id, but=[one["fine_tuned_model_checkpoint"] for one in kept])
        self._jobs.advance(id, Status.QUEUED, trained_tokens=None, estimated_finish=None)
        where = f"goes on from step {stands.step}" if stands else "starts again from the beginning"
        self._jobs.note(id, f"{why}; training {where}", level="warn")
        self._queued.put(id)

    # --- checking ---------------------------------------------------------------------------

    def _check_all(self) -> None:
        while (id := self._unchecked.get()) is not None:
            try:
                self._check(self._jobs.get(id))
            except TransitionError:
                continue  # it was cancelled meanwhile
            except Exception as error:
                log.exception("checking the files of %s failed", id)
                self._fail_whatever(id, error)

    def _check(self, job: TuningJob) -> None:
        about = f"Validating training file: {job.training_file}"
        if job.validation_file is not None:
            about += f" and validation file: {job.validation_file}"
        self._jobs.note(job.id, about)
        method, folder = Method.of_wire(job.kind), self._jobs.folder(job.id)
        for param, name, id in (
            ("training_file", "train.jsonl", job.training_file),
            ("validation_file", "valid.jsonl", job.validation_file),
        ):
            if id is not None and (found := check(folder / name, method, param=param, id=id)):
                self._fail(job.id, found)
                return
        self._jobs.advance(job.id, Status.QUEUED)
        self._jobs.note(job.id, "Files validated, moving job to queued state")
        self._queued.put(job.id)

    def _fail(self, id: str, complaint: Complaint) -> None:
        try:
            self._jobs.advance(id, Status.FAILED, error=complaint.wire)
        except TransitionError:
            return
        self._jobs.note(id, complaint.message, level="error", data={"error_code": complaint.code})

    def _fail_whatever(self, id: str, error: Exception) -> None:
        """The server could not go on with the job. On a full disk not even that can be written
        down, so it is tried until there is room: the thread must live, others have jobs too."""
        reason = str(error.strerror or error) if isinstance(error, OSError) else str(error)
        complaint = Complaint("server_error", f"The server could not go on: {reason}", None)
        while not self._closing.is_set():
            try:
                self._fail(id, complaint)
            except OSError as full:
                log.warning("cannot write down that %s failed: %s", id, full)
                self._closing.wait(AGAIN)
            else:
                return

    # --- training ---------------------------------------------------------------------------

    def _train_all(self) -> None:
        while not self._closing.is_set():
            self._nursery.prepare()
            id = self._queued.get()
            if id is None or self._closing.is_set():
                return
            try:
                self._train(id)
            except Exception as error:
                log.exception("running %s failed", id)
                self._fail_whatever(id, error)

    def _train(self, id: str) -> None:
        folder = self._jobs.folder(id)
        try:
            with self._pausing:
                job = self._jobs.advance(id, Status.RUNNING)
                ask_to_pause(folder, False)
        except TransitionError:
            return  # it was cancelled or paused while it waited
        begun = standing(folder)
        told = f"Training goes on from step {begun.step}" if begun else "Fine-tuning job started"
        self._jobs.note(id, told)
        worker = self._engaged(job)
        if worker is None:
            return
        try:
            for report in worker.reports():
                if not (job := self._jobs.get(id)).done:
                    self._hear(job, report)
        finally:
            worker.end()
            with self._engaging:
                self._current = None
            # What is half-written makes room, before more is written. While the server closes it
            # stays: the next one begins the job again.
            if not self._closing.is_set():
                self._tidy(id)
        if not self._closing.is_set() and self._going(id):
            self._lost(id, worker.last_words(folder / "log"), begun)

    def _lost(self, id: str, reason: str, begun: Standing | None) -> None:
        """The process of a job that runs has died. It goes on where it got further since the
        latest process began: what kills every process at one place ends in the end."""
        stands = standing(self._jobs.folder(id))
        if stands is not None and (begun is None or stands.step > begun.step):
            self._again(id, reason)
        else:
            self._fail(id, Complaint("worker_died", reason, None))
            self._forget(self._jobs.get(id))

    def _tidy(self, id: str) -> None:
        """Delete what the job's worker, which has ended, left unfinished."""
        sweep(self._root.models)
        job = self._jobs.get(id)
        if job.done:
            self._forget(job)
        elif job.status is Status.PAUSED:
            stands = standing(self._jobs.folder(id))
            self._jobs.change(id, estimated_finish=None)
            self._jobs.note(id, f"Training was saved at step {stands.step if stands else 0}")

    def _forget(self, job: TuningJob) -> None:
        """Delete what a job that is over no longer needs. The checkpoints of one that was cancelled
        stay; of one that failed nobody knows what they are worth."""
        leave(self._jobs.folder(job.id))
        if job.status is Status.FAILED and self._jobs.checkpoints(job.id):
            self._jobs.keep(job.id, [])
        if job.status is not Status.SUCCEEDED:
            kept = [one["fine_tuned_model_checkpoint"] for one in self._jobs.checkpoints(job.id)]
            self._models.forget(job.id, but=kept)

    def _going(self, id: str) -> bool:
        return self._jobs.get(id).status is Status.RUNNING

    def _engaged(self, job: TuningJob) -> Worker | None:
        """A worker that has the job; None when the server closes, or the job is cancelled."""
        assignment = self._assignment(job)
        while (worker := self._nursery.worker()) is not None:
            with self._engaging:
                self._current = (job.id, worker)
            # Whoever cancels or closes changes the state first and looks for the worker then.
            if self._closing.is_set() or not self._going(job.id):
                worker.end()
                with self._engaging:
                    self._current = None
                return None
            if worker.assign(assignment):
                return worker
            # One that waited may have been killed; a fresh one takes its first order.
            worker.end()
        return None

    def _assignment(self, job: TuningJob) -> Json:
        base = self._models.get(job.model)
        if base is None:
            raise NotFound(
                f"the model {job.model!r} is gone; it was deleted, or the server was started "
                "without its --base"
            )
        return {
            "job": job.model_dump(mode="json"),
            "tuned_name": job.tuned_name,
            "base": base.model_dump(mode="json"),
            "on_base": base.folder is None or base.weights != base.folder,
            "folder": str(self._jobs.folder(job.id)),
            "models": str(self._root.models),
            "save_every": self._save_every,
            "judges": self._judges().told,
        }

    def _hear(self, job: TuningJob, report: Json) -> None:
        """Write down one report of the worker; see `training/report.py` for what it may say."""
        matters: dict[str, Callable[[TuningJob, Any], None]] = {
            "event": self._hear_event,
            "progress": self._hear_progress,
            "checkpoint": self._hear_checkpoint,
            "failed": self._hear_failed,
            "done": self._hear_done,
        }
        matters[report["about"]](job, report["what"])

    def _hear_event(self, job: TuningJob, event: Any) -> None:
        self._jobs.note(job.id, **event)

    def _hear_progress(self, job: TuningJob, fields: Any) -> None:
        self._jobs.change(job.id, **fields)

    def _hear_checkpoint(self, job: TuningJob, what: Any) -> None:
        model = self._models.adopt(Path(what["folder"]))
        checkpoint = {
            "object": "fine_tuning.job.checkpoint",
            "id": fresh("ftckpt_"),
            "created_at": now(),
            "fine_tuned_model_checkpoint": model.id,
            "fine_tuning_job_id": job.id,
            "step_number": what["step"],
            "metrics": what["metrics"],
        }
        earlier = self._jobs.checkpoints(job.id)
        # One of this step or a later one was made before a crash and is now made again.
        kept = [checkpoint, *(one for one in earlier if one["step_number"] < what["step"])]
        kept, gone = _best(kept) if job.kind == "reinforcement" else _latest(kept)
        self._jobs.keep(job.id, kept)
        for old in gone:
            # What the last step made is the job's result.
            if (name := old["fine_tuned_model_checkpoint"]) != job.tuned_name:
                self._models.delete(name)
        self._jobs.note(job.id, f"Checkpoint created at step {what['step']}: {model.id}")

    def _hear_failed(self, job: TuningJob, what: Any) -> None:
        self._fail(job.id, Complaint(what["code"], what["message"], what["param"]))

    def _hear_done(self, job: TuningJob, what: Any) -> None:
        results = self._files.add(
            filename="step_metrics.csv",
            purpose="fine-tune-results",
            fill=lambda path: _copied(Path(what["results"]), path),
        )
        self._jobs.advance(
            job.id,
            Status.SUCCEEDED,
            fine_tuned_model=what["model"],
            trained_tokens=what["trained_tokens"],
            result_files=(results["id"],),
        )
        self._jobs.note(job.id, f"New fine-tuned model created: {what['model']}")
        self._jobs.note(job.id, "The job has successfully completed")


def _latest(checkpoints: list[Json]) -> tuple[list[Json], list[Json]]:
    """The checkpoints, newest first, that are kept, and those that are not."""
    return checkpoints[:CHECKPOINTS], checkpoints[CHECKPOINTS:]


def _best(checkpoints: list[Json]) -> tuple[list[Json], list[Json]]:
    """`_latest` for reinforcement: those of the highest reward on the validation file are kept, of
    equal ones the newest. Without such a file there is nothing to choose by."""
    ranked = sorted(checkpoints, key=_reward, reverse=True)
    gone = ranked[CHECKPOINTS:]
    return [one for one in checkpoints if one not in gone], gone


def _reward(checkpoint: Json) -> float:
    return float(checkpoint["metrics"].get("full_valid_mean_reward") or 0.0)


def _copied(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
