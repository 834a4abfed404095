"""Multipart forms whose file goes straight to the disk that it will stay on."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart import create_form_parser
from python_multipart.exceptions import FormParserError

from agentloop.local.api.refusals import WireError
from agentloop.local.disk.atomic import beside

_AROUND = 1 << 20
"""Bytes that a form may have around its file."""

_CHUNK = 1 << 20


@dataclass
class Form:
    """A form that has come in whole."""

    fields: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    """Its content. Gone when the form is, unless it was moved."""
    filename: str = ""


@asynccontextmanager
async def received(
    request: Request, *, name: str, folder: Path, largest: int
) -> AsyncIterator[Form]:
    """The form that `request` brings; its one file is called `name`.

    Args:
        folder: where the file is put, under a name that nobody looks at.
        largest: bytes of the file, at most.

    Raises:
        WireError: it is no form, or too large, or holds another file.
    """
    aside = beside(folder / "form")
    await run_in_threadpool(aside.mkdir)
    try:
        yield await _read(request, name, aside, largest)
    finally:
        await run_in_threadpool(shutil.rmtree, aside, ignore_errors=True)


async def _read(request: Request, name: str, aside: Path, largest: int) -> Form:
    form, files = Form(), list[Any]()

    def on_field(part: Any) -> None:
        given = (part.field_name or b"").decode(errors="replace")
        form.fields[given] = (part.value or b"").decode(errors="replace")

    if (kind := request.headers.get("content-type")) is None:
        raise WireError("The request is no multipart form: it has no Content-Type.")
    try:
        parser = create_form_parser(
            {"Content-Type": kind.encode()},
            on_field,
            files.append,
            {"UPLOAD_DIR": str(aside), "UPLOAD_DELETE_TMP": False, "MAX_MEMORY_FILE_SIZE": 0},
        )
        most, came, waiting = largest + _AROUND, 0, bytearray()
        if int(request.headers.get("content-length", 0)) > most:
            raise too_large(name, largest)
        async for chunk in request.stream():
            waiting += chunk
            came += len(chunk)
            if came > most:
                raise too_large(name, largest)
            if len(waiting) >= _CHUNK:
                await run_in_threadpool(parser.write, bytes(waiting))
                waiting.clear()
                if came - _on_disk(aside) > 2 * _AROUND:  # what is no file is kept in memory
                    raise WireError(f"The texts of the form are longer than {_AROUND} bytes.")
        await run_in_threadpool(parser.write, bytes(waiting))
        await run_in_threadpool(parser.finalize)
        parser.close()
    except (FormParserError, ValueError) as error:
        raise WireError(f"The request is no multipart form: {error}.") from error
    for file in files:
        _close(file)
    if len(files) > 1:
        raise WireError(f"A form has one file, '{name}'.", param=name)
    for file in files:
        given = (file.field_name or b"").decode(errors="replace")
        if given != name:
            raise unknown(given)
        if file.size > largest:
            raise too_large(name, largest)
        form.file = Path(file.actual_file_name.decode())
        form.filename = Path((file.file_name or b"").decode(errors="replace")).name
    return form


def too_large(name: str, largest: int) -> WireError:
    """The file of a form has more bytes than are taken."""
    return WireError(
        f"The file is larger than {largest} bytes.", status=413, param=name, code="file_too_large"
    )


def unknown(name: str) -> WireError:
    """Nothing of that name belongs into the form."""
    return WireError(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def missing(name: str) -> WireError:
    """The form lacks something."""
    return WireError(
        f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
    )


def _on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _close(file: Any) -> None:
    if file.in_memory:  # it is empty
        file.flush_to_disk()
    file.file_object.close()
