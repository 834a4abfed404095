"""`/v1/uploads`: a file in parts, for whom one request is too little."""

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from agentloop.base.errors import NotFound, RecordError, TransitionError
from agentloop.base.records import Json
from agentloop.local.api.bodies import Body
from agentloop.local.api.files import LARGEST, checked, known_lifetime, known_purpose
from agentloop.local.api.forms import Form, missing, received, unknown
from agentloop.local.api.refusals import WireError
from agentloop.local.disk.files import Files
from agentloop.local.disk.uploads import Uploads

PART = 64 << 20
"""Bytes of one part; OpenAI's limit."""


class Expiry(Body):
    """`expires_after`."""

    anchor: Literal["created_at"]
    seconds: int


class UploadBody(Body):
    """`POST /v1/uploads`. `mime_type` changes nothing: rows are JSONL, whatever they are called."""

    filename: Annotated[str, Field(min_length=1)]
    purpose: str
    bytes: Annotated[int, Field(ge=1, le=LARGEST)]
    mime_type: str
    expires_after: Expiry | None = None


class CompleteBody(Body):
    """`POST /v1/uploads/{id}/complete`."""

    part_ids: Annotated[list[str], Field(min_length=1)]
    md5: str | None = None


def router(uploads: Uploads, files: Files) -> APIRouter:
    """The paths of `uploads`, which become `files`."""
    paths = APIRouter(prefix="/v1/uploads")

    @paths.post("")
    def create(body: UploadBody) -> Json:
        expiry = body.expires_after
        return uploads.add(
            filename=Path(body.filename).name,
            purpose=known_purpose(body.purpose),
            bytes=body.bytes,
            lifetime=None if expiry is None else known_lifetime(expiry.seconds),
        )

    @paths.post("/{id}/parts")
    async def part(id: str, request: Request) -> Json:
        _pending(uploads, id)  # before a body of 64 MB is taken in
        async with received(request, name="data", folder=uploads.folder, largest=PART) as form:
            return await run_in_threadpool(_part, uploads, id, form)

    @paths.post("/{id}/complete")
    def complete(id: str, body: CompleteBody) -> Json:
        _pending(uploads, id)

        def fill(path: Path) -> str | None:
            try:
                uploads.join(id, body.part_ids, path, md5=body.md5)
            except RecordError as error:
                raise WireError(_sentence(error), param="part_ids") from error
            return checked(path)

        try:
            with uploads.completing(id):
                about = uploads.get(id)
                file = files.add(
                    filename=about["filename"],
                    purpose=about["purpose"],
                    fill=fill,
                    lifetime=uploads.lifetime(id),
                )
                return uploads.completed(id, file)
        except TransitionError as error:
            raise _not_now(error) from error

    @paths.post("/{id}/cancel")
    def cancel(id: str) -> Json:
        _pending(uploads, id)
        try:
            return uploads.cancel(id)
        except TransitionError as error:
            raise _not_now(error) from error

    return paths


def _pending(uploads: Uploads, id: str) -> None:
    try:
        about = uploads.get(id)
    except NotFound as error:
        raise WireError(str(error), status=404, param="upload_id") from error
    if about["status"] != "pending":
        raise WireError(
            f"The upload {id} is {about['status']}; start another.",
            param="upload_id",
            code="invalid_status",
        )


def _part(uploads: Uploads, id: str, form: Form) -> Json:
    for name in form.fields:
        raise unknown(name)
    if form.file is None:
        raise missing("data")
    try:
        return uploads.part(id, form.file, most=LARGEST)
    except RecordError as error:
        raise WireError(_sentence(error), param="data") from error
    except TransitionError as error:
        raise _not_now(error) from error


def _not_now(error: TransitionError) -> WireError:
    return WireError(_sentence(error), param="upload_id", code="invalid_status")


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."
