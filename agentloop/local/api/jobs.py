"""`/v1/fine_tuning/jobs`: create, list, retrieve, cancel, pause, resume, events."""

import random
import re
from typing import Annotated, Protocol

from fastapi import APIRouter, Query, Request

from agentloop.base.errors import TransitionError
from agentloop.base.records import Json
from agentloop.graders import Judges
from agentloop.local.api.bodies import JobBody, Method, Supervised
from agentloop.local.api.graders import compiled
from agentloop.local.api.pages import page
from agentloop.local.api.refusals import WireError
from agentloop.local.disk.files import Files
from agentloop.local.disk.ids import fresh, now
from agentloop.local.disk.jobs import Jobs, TuningJob
from agentloop.local.disk.models import Models

_METADATA = re.compile(r"metadata\[(.+)\]")


class Queue(Protocol):
    """Who runs jobs."""

    def submit(self, id: str) -> None:
        """Check the job's files, then run it when its turn comes."""

    def cancel(self, id: str) -> TuningJob:
        """Stop it. Raises TransitionError when it is over."""

    def pause(self, id: str) -> TuningJob:
        """Save it and let it wait. Raises TransitionError unless it is queued or running."""

    def resume(self, id: str) -> TuningJob:
        """Go on with it. Raises TransitionError unless it is paused."""


def router(jobs: Jobs, files: Files, models: Models, queue: Queue, judges: Judges) -> APIRouter:
    """The paths of `jobs`; `judges` says where models of graders are asked."""
    paths = APIRouter(prefix="/v1/fine_tuning/jobs")

    @paths.post("")
    def create(body: JobBody) -> Json:
        method = _method(body, judges)
        if models.get(body.model) is None:
            known = ", ".join(model.id for model in models.all())
            raise WireError(
                f"Model {body.model} is not available for fine-tuning or does not exist. "
                f"Available: {known}.",
                param="model",
                code="model_not_available",
            )
        data = {"train.jsonl": _file(files, body.training_file, "training_file")}
        if body.validation_file is not None:
            data["valid.jsonl"] = _file(files, body.validation_file, "validation_file")
        job = TuningJob(
            id=fresh("ftjob-"),
            created_at=now(),
            model=body.model,
            method=method.wire,
            training_file=body.training_file,
            validation_file=body.validation_file,
            seed=random.getrandbits(31) if body.seed is None else body.seed,
            metadata=body.metadata,
            user_provided_suffix=body.suffix,
        )
        jobs.add(job, {name: files.content(id) for name, id in data.items()})
        try:
            jobs.note(job.id, f"Created fine-tuning job: {job.id}")
        finally:  # on a full disk, too: a job that is there has an end
            queue.submit(job.id)
        return job.wire

    @paths.get("")
    def list_(
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    ) -> Json:
        query = request.query_params
        wanted = {m[1]: v for k, v in query.items() if (m := _METADATA.fullmatch(k))}
        found = [job for job in jobs.all() if wanted.items() <= (job.metadata or {}).items()]
        if query.get("metadata") == "null":
            found = [job for job in found if not job.metadata]
        return page([job.wire for job in found], after=after, limit=limit)

    @paths.get("/{id}")
    def retrieve(id: str) -> Json:
        return _known(jobs, id).wire

    @paths.post("/{id}/cancel")
    def cancel(id: str) -> Json:
        _known(jobs, id)
        try:
            return queue.cancel(id).wire
        except TransitionError as error:
            raise _not_now(f"Job has already completed: {id} ({jobs.get(id).status})") from error

    @paths.post("/{id}/pause")
    def pause(id: str) -> Json:
        _known(jobs, id)
        try:
            return queue.pause(id).wire
        except TransitionError as error:
            raise _not_now(
                f"Job {id} is {jobs.get(id).status}; one that is queued or running can be paused."
            ) from error

    @paths.post("/{id}/resume")
    def resume(id: str) -> Json:
        _known(jobs, id)
        try:
            return queue.resume(id).wire
        except TransitionError as error:
            raise _not_now(
                f"Job {id} is {jobs.get(id).status}; one that is paused can be resumed."
            ) from error

    @paths.get("/{id}/events")
    def events(
        id: str,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    ) -> Json:
        _known(jobs, id)
        return page(jobs.events(id), after=after, limit=limit)

    @paths.get("/{id}/checkpoints")
    def checkpoints(
        id: str,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    ) -> Json:
        _known(jobs, id)
        return page(jobs.checkpoints(id), after=after, limit=limit)

    return paths


def _not_now(message: str) -> WireError:
    """The job is in another state than the request needs."""
    return WireError(message, param="fine_tune_id", code="invalid_status")


def _known(jobs: Jobs, id: str) -> TuningJob:
    if (job := jobs.find(id)) is None:
        raise WireError(
            f"Could not find fine tune: {id}",
            status=404,
            param="fine_tune_id",
            code="fine_tune_not_found",
        )
    return job


def _file(files: Files, id: str, param: str) -> str:
    if (about := files.get(id)) is None:
        raise WireError(f"invalid {param}: {id}", param=param, code="file_not_found")
    if about["purpose"] != "fine-tune":
        raise WireError(
            f"invalid {param}: {id} was uploaded for {about['purpose']!r}, not for 'fine-tune'",
            param=param,
            code="invalid_file_purpose",
        )
    return id


def _method(body: JobBody, judges: Judges) -> Method:
    """The method of the job; the grader of a reinforcement job is known to work.

    Raises:
        WireError: there are two places for one thing, or the grader is wrong.
    """
    if body.method is None:
        numbers = body.hyperparameters
        section = None if numbers is None else Supervised(hyperparameters=numbers)
        return Method(type="supervised", supervised=section)
    if body.hyperparameters is not None:
        raise WireError(
            "'hyperparameters' belong into 'method' when there is one.", param="hyperparameters"
        )
    if body.method.reinforcement is not None:
        param = "method.reinforcement.grader"
        with compiled(body.method.reinforcement.grader, judges, param=param) as grader:
            if why := grader.unready:  # each of its answers would be worth 0
                raise WireError(
                    f"The grader cannot grade here: {why}.", param=param, code="invalid_grader"
                )
    return body.method
