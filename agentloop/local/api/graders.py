"""`/v1/fine_tuning/alpha/graders`: try a grader before a job does."""

from fastapi import APIRouter

from agentloop.base.errors import GraderError
from agentloop.base.records import Json
from agentloop.graders import Grader, compile  # noqa: A004 - compile(spec), as in re
from agentloop.local.api.bodies import GraderRunBody, GraderValidateBody
from agentloop.local.api.refusals import WireError


def router() -> APIRouter:
    """The two paths."""
    paths = APIRouter(prefix="/v1/fine_tuning/alpha/graders")

    @paths.post("/validate")
    def validate(body: GraderValidateBody) -> Json:
        with compiled(body.grader, param="grader") as grader:
            return {"grader": grader.spec}

    @paths.post("/run")
    def run(body: GraderRunBody) -> Json:
        with compiled(body.grader, param="grader") as grader:
            grade = grader.grade(body.model_sample, body.item or {})
            return grade.to_response(name=grader.name, type=grader.type)

    return paths


def compiled(spec: Json, *, param: str) -> Grader:
    """The grader, or a 400 that says what is wrong with it."""
    try:
        return compile(spec)
    except GraderError as error:
        raise WireError(f"Invalid grader: {error}", param=param, code="invalid_grader") from error
