"""`/v1/fine_tuning/alpha/graders`: try a grader before a job does."""

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter

from agentloop.base.errors import GraderError
from agentloop.base.records import Json
from agentloop.graders import Grader, Judges, compile  # noqa: A004 - compile(spec), as in re
from agentloop.local.api.bodies import GraderRunBody, GraderValidateBody
from agentloop.local.api.refusals import WireError

AT_ONCE = 8
"""Graders that run at the same time. They have threads of their own: one that waits for a judge
which is this server must not keep its request from being answered."""


def router(judges: Judges) -> APIRouter:
    """The two paths; `judges` says where models are asked."""
    paths = APIRouter(prefix="/v1/fine_tuning/alpha/graders")
    limiter: CapacityLimiter | None = None

    @paths.post("/validate")
    def validate(body: GraderValidateBody) -> Json:
        with compiled(body.grader, judges, param="grader") as grader:
            return {"grader": grader.spec}

    @paths.post("/run")
    async def run(body: GraderRunBody) -> Json:
        nonlocal limiter
        if limiter is None:
            limiter = CapacityLimiter(AT_ONCE)
        return await to_thread.run_sync(_run, body, judges, limiter=limiter)

    return paths


def _run(body: GraderRunBody, judges: Judges) -> Json:
    with compiled(body.grader, judges, param="grader") as grader:
        grade = grader.grade(body.model_sample, body.item or {})
        return grade.to_response(name=grader.name, type=grader.type)


def compiled(spec: Json, judges: Judges, *, param: str) -> Grader:
    """The grader, or a 400 that says what is wrong with it."""
    try:
        return compile(spec, judges=judges)
    except GraderError as error:
        raise WireError(f"Invalid grader: {error}", param=param, code="invalid_grader") from error
