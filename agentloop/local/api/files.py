"""`/v1/files`: upload, list, retrieve, read, delete."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from agentloop.base.records import Json
from agentloop.base.records.complaint import no_lines
from agentloop.local.api.forms import Form, missing, received, unknown
from agentloop.local.api.pages import page
from agentloop.local.api.refusals import WireError
from agentloop.local.disk.atomic import parse
from agentloop.local.disk.files import Files

LARGEST = 512 << 20
"""Bytes of one file; OpenAI's limit."""

PURPOSES = ("fine-tune",)
"""What a file may be uploaded for. Results of jobs are `fine-tune-results`."""

SHORTEST_LIFE, LONGEST_LIFE = 3600, 30 * 24 * 3600
"""Seconds after which a file may expire."""


def router(files: Files) -> APIRouter:
    """The paths of `files`."""
    paths = APIRouter(prefix="/v1/files")

    @paths.post("")
    async def create(request: Request) -> Json:
        async with received(request, name="file", folder=files.folder, largest=LARGEST) as form:
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


def _known(files: Files, id: str) -> Json:
    if (about := files.get(id)) is None:
        raise WireError(f"No such File object: {id}", status=404, param="id")
    return about


def _create(files: Files, form: Form) -> Json:
    for name in form.fields:
        if name not in ("file", "purpose") and not name.startswith("expires_after["):
            raise unknown(name)
    if "file" in form.fields:
        raise WireError("'file' is the file itself, not a text.", param="file")
    if (uploaded := form.file) is None:
        raise missing("file")
    if "purpose" not in form.fields:
        raise missing("purpose")

    def fill(path: Path) -> str | None:
        uploaded.rename(path)
        return checked(path)

    return files.add(
        filename=form.filename or "upload.jsonl",
        purpose=known_purpose(form.fields["purpose"]),
        fill=fill,
        lifetime=_lifetime(form.fields),
    )


def known_purpose(purpose: str) -> str:
    """`purpose`, if files can be uploaded for it.

    Raises:
        WireError: they cannot.
    """
    if purpose not in PURPOSES:
        raise WireError(f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
    return purpose


def checked(path: Path) -> str | None:
    """What is wrong with the file beyond its first line, if something is.

    Raises:
        WireError: it has no line, or its first one is no JSON object.
    """
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


def _lifetime(fields: Mapping[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or seconds is None or not seconds.isdecimal():
        raise WireError(
            "'expires_after' needs the anchor 'created_at' and a number of seconds.",
            param="expires_after",
        )
    return known_lifetime(int(seconds))


def known_lifetime(seconds: int) -> int:
    """`seconds`, if a file may live so long.

    Raises:
        WireError: that is less than an hour or more than 30 days.
    """
    if not SHORTEST_LIFE <= seconds <= LONGEST_LIFE:
        raise WireError(
            f"'expires_after[seconds]' is between {SHORTEST_LIFE} and {LONGEST_LIFE}.",
            param="expires_after",
        )
    return seconds
