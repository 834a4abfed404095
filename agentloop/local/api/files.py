"""`/v1/files`: upload, list, retrieve, read, delete."""

import shutil
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.datastructures import FormData, UploadFile

from agentloop.base.records import Json
from agentloop.base.records.complaint import no_lines
from agentloop.local.api.pages import page
from agentloop.local.api.refusals import WireError
from agentloop.local.disk.atomic import parse
from agentloop.local.disk.files import Files

LARGEST = 512 << 20
"""Bytes of one file; OpenAI's limit."""

_FORM = 1 << 20
"""Bytes that a form may have around the file."""

PURPOSES = ("fine-tune",)
"""What a file may be uploaded for. Results of jobs are `fine-tune-results`."""

_LONGEST_LIFE = 30 * 24 * 3600


def router(files: Files) -> APIRouter:
    """The paths of `files`."""
    paths = APIRouter(prefix="/v1/files")

    @paths.post("")
    async def create(request: Request) -> Json:
        if int(request.headers.get("content-length", 0)) > LARGEST + _FORM:
            raise _too_large()
        async with request.form(max_files=1) as form:
            return await run_in_threadpool(_create, files, form)

    @paths.get("")
    def list_(
        purpose: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10000)] = 10000,
        order: Literal["asc", "desc"] = "desc",
    ) -> Json:
        found = [f for f in files.all() if purpose in (None, f["purpose"])]
        return page(found if order == "asc" else found[::-1], after=after, limit=limit)

    @paths.get("/{id}")
    def retrieve(id: str) -> Json:
        return _known(files, id)

    @paths.get("/{id}/content")
    def content(id: str) -> FileResponse:
        about = _known(files, id)
        return FileResponse(
            files.content(id), media_type="application/octet-stream", filename=about["filename"]
        )

    @paths.delete("/{id}")
    def delete(id: str) -> Json:
        _known(files, id)
        return {"id": id, "object": "file", "deleted": files.delete(id)}

    return paths


def _too_large() -> WireError:
    return WireError(
        f"The file is larger than {LARGEST} bytes.", status=413, param="file", code="file_too_large"
    )


def _known(files: Files, id: str) -> Json:
    if (about := files.get(id)) is None:
        raise WireError(f"No such File object: {id}", status=404, param="id")
    return about


def _create(files: Files, form: FormData) -> Json:
    upload, purpose = form.get("file"), form.get("purpose")
    for name in form:
        if name not in ("file", "purpose") and not name.startswith("expires_after["):
            raise WireError(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    for name, value in (("file", upload), ("purpose", purpose)):
        if value is None:
            raise WireError(
                f"Missing required parameter: '{name}'.",
                param=name,
                code="missing_required_parameter",
            )
    if not isinstance(upload, UploadFile):
        raise WireError("'file' is the file itself, not a text.", param="file")
    if purpose not in PURPOSES:
        raise WireError(f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
    if (upload.size or 0) > LARGEST:
        raise _too_large()
    return files.add(
        filename=Path(upload.filename or "upload.jsonl").name,
        purpose=str(purpose),
        fill=lambda path: _fill(upload.file, path),
        lifetime=_lifetime(form),
    )


def _fill(source: BinaryIO, path: Path) -> str | None:
    """Write the upload to `path`; what is wrong with it beyond its first line, if something is."""
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    rows = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            rows += 1
            fault = _fault(line)
            if fault is not None and rows == 1:
                start = line[:40].decode(errors="replace").strip()
                raise WireError(no_lines(number, start).message, param="file")
            if fault is not None:
                return f"Invalid file format. Example {rows} cannot be parsed. Error: {fault}"
    if not rows:
        raise WireError("File is empty.", param="file")
    return None


def _fault(line: bytes) -> str | None:
    try:
        row = parse(line)
    except ValueError as error:  # a wrong encoding and a byte order mark are such errors, too
        return f"line contains invalid json: {error}"
    return None if isinstance(row, dict) else "line is not a dictionary"


def _lifetime(form: FormData) -> int | None:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or not str(seconds).isdigit():
        raise WireError(
            "'expires_after' needs the anchor 'created_at' and a number of seconds.",
            param="expires_after",
        )
    lifetime = int(str(seconds))
    if not 3600 <= lifetime <= _LONGEST_LIFE:
        raise WireError(
            f"'expires_after[seconds]' is between 3600 and {_LONGEST_LIFE}.", param="expires_after"
        )
    return lifetime
