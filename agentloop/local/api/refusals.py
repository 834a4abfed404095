"""Every way to say no, in OpenAI's shape: `{"error": {message, type, param, code}}`."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from agentloop.base.errors import AgentloopError, NotFound

log = logging.getLogger(__name__)

BAD_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The server expects a JSON payload, but what was sent was not "
    "valid JSON.)"
)


class WireError(Exception):
    """A request that is refused, and how."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": type, "param": param, "code": code}

    @property
    def response(self) -> JSONResponse:
        """The HTTP response."""
        return JSONResponse({"error": self.error}, status_code=self.status)


def unknown_model(name: str, known: Sequence[str]) -> WireError:
    """No model of that name can be called."""
    return WireError(
        f"The model '{name}' does not exist. Available: {', '.join(known)}.",
        status=404,
        param="model",
        code="model_not_found",
    )


def install(app: FastAPI) -> None:
    """Answer every error of `app` in OpenAI's shape, those of the framework included."""

    @app.exception_handler(WireError)
    async def wire(_: Request, error: WireError) -> JSONResponse:
        return error.response

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return complaint(error.errors()).response

    @app.exception_handler(AgentloopError)
    async def ours(_: Request, error: AgentloopError) -> JSONResponse:
        status = 404 if isinstance(error, NotFound) else 400
        return WireError(str(error), status=status).response

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> JSONResponse:
        log.error("%s %s failed: %s", request.method, request.url.path, error)
        message = f"The server cannot use its folder: {error.strerror or error}"
        return WireError(message, status=500, type="server_error").response

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        where = f"{request.method} {request.url.path}"
        if error.status_code == 404:
            message = f"Invalid URL ({where})"
        elif error.status_code == 405:
            message = f"Not allowed: {where}. (HINT: Perhaps you meant another HTTP method?)"
        else:
            message = str(error.detail)
        return WireError(message, status=error.status_code).response

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        message = f"The server had an error while processing your request: {error!r}"
        return WireError(message, status=500, type="server_error").response


def complaint(errors: Sequence[Any]) -> WireError:
    """The first of pydantic's complaints, in OpenAI's words."""
    first = errors[0]
    kind, given, context = first["type"], first.get("input"), first.get("ctx", {})
    param = _param(first["loc"])
    if kind == "json_invalid" or not param:
        return WireError(BAD_JSON)
    if kind == "missing":
        message, code = f"Missing required parameter: '{param}'.", "missing_required_parameter"
    elif kind == "extra_forbidden":
        message, code = f"Unknown parameter: '{param}'.", "unknown_parameter"
    elif kind in ("literal_error", "enum"):
        expected = context["expected"].replace(" or ", ", ")
        message = f"Invalid value: {given!r}. Supported values are: {expected}."
        code = "invalid_value"
    elif kind.endswith(("_type", "_parsing")):
        expected = _expected(kind)
        message = (
            f"Invalid type for '{param}': expected {expected}, but got {_kind(given)} instead."
        )
        code = "invalid_type"
    elif kind.startswith("wire:"):
        message, code = first["msg"], kind.removeprefix("wire:")
    else:
        message, code = f"Invalid '{param}': {first['msg']}.", "invalid_value"
    return WireError(message, param=param, code=code)


def _param(place: Sequence[str | int]) -> str:
    """`("body", "messages", 0, "role")` -> `messages[0].role`."""
    name = ""
    for part in place[1:]:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part}" if name else part
    return name


def _expected(kind: str) -> str:
    names = {
        "string": "a string",
        "int": "an integer",
        "float": "a number",
        "bool": "a boolean",
        "list": "an array",
        "dict": "an object",
        "model": "an object",
        "model_attributes": "an object",
    }
    return names.get(kind.rpartition("_")[0], "another type")


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        list: "an array",
        dict: "an object",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
