"""An agent's Python tools behind a port, in the wire form of OpenAI's agent RFT.

A job that names this server under `method.reinforcement.tools` has the tools called while a model
is trained. A tool does here what it does in a run of the agent: what it raises becomes the text
that the model would have been told.
"""

import hmac
import importlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agents import Agent, FunctionTool, function_tool
from agents.exceptions import ModelBehaviorError
from agents.tool_context import ToolContext
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from agentloop.base.errors import ConfigError
from agentloop.base.records import Json

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LARGEST = 1_000_000
"""Bytes of a call, and of what a tool returns."""


def load(name: str) -> list[FunctionTool]:
    """The tools that `module:attribute` names: an agent, a list of tools or functions, or one.

    Raises:
        ConfigError: there is no such thing, or something in it is no tool.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{name!r} is not module:attribute, as shop.tools:TOOLS")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` has it
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot load {name!r}: {error}") from error
    finally:
        sys.path.pop(0)
    return list(_tools(found, name))


def _tools(found: Any, name: str) -> Iterable[FunctionTool]:
    if isinstance(found, Agent):
        found = found.tools
    for one in found if isinstance(found, list | tuple) else [found]:
        if isinstance(one, FunctionTool):
            yield one
        elif inspect.isfunction(one):
            yield function_tool(one)
        else:
            raise ConfigError(
                f"{name!r} holds {one!r:.80}, which is no function and no FunctionTool"
            )


def offered(tools: Iterable[FunctionTool]) -> list[Json]:
    """The tools as rows of a training file offer them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.params_json_schema,
                "strict": tool.strict_json_schema,
            },
        }
        for tool in tools
    ]


def create_app(tools: Iterable[FunctionTool], *, key: str | None = None) -> FastAPI:
    """The application: `POST /` calls a tool, `GET /tools` says which there are.

    Args:
        key: what callers must show as bearer token; None lets in programs on this machine.
    """
    by_name = {tool.name: tool for tool in tools}
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def gate(request: Request, go_on: Any) -> Response:
        if refusal := _refusal(request, key):
            return refusal
        answer: Response = await go_on(request)
        return answer

    @app.get("/tools")
    async def list_() -> list[Json]:
        return offered(by_name.values())

    @app.post("/")
    async def call(request: Request) -> Response:
        if int(request.headers.get("content-length", 0)) > LARGEST:
            return PlainTextResponse(f"a call has at most {LARGEST} bytes", 413)
        try:
            asked = await request.json()
            name, arguments, call_id = (str(asked[k]) for k in ("name", "arguments", "call_id"))
        except (ValueError, KeyError, TypeError):
            return PlainTextResponse("a call is JSON with name, arguments and call_id", 400)
        if (tool := by_name.get(name)) is None:
            return PlainTextResponse(f"there is no tool {name!r}; known: {', '.join(by_name)}", 404)
        context = ToolContext(None, tool_name=name, tool_call_id=call_id, tool_arguments=arguments)
        try:
            said = await tool.on_invoke_tool(context, arguments)
        except ModelBehaviorError as error:  # arguments that are none of this tool's
            return PlainTextResponse(str(error), 400)
        body = {"type": "function_call_output", "call_id": call_id, "output": str(said)}
        return JSONResponse({**body, "id": asked.get("id")})

    return app


def _refusal(request: Request, key: str | None) -> Response | None:
    if key is not None:
        given = request.headers.get("authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {key}".encode()):
            return None
        return PlainTextResponse("a key is wanted: Authorization: Bearer …", 401)
    # Without a key, a page that is open in somebody's browser must not get in.
    addresses = [f"//{request.headers.get('host', '')}"]
    if (origin := request.headers.get("origin")) is not None:
        addresses.append(origin)
    if all(urlsplit(address).hostname in LOOPBACK for address in addresses):
        return None
    return PlainTextResponse("from elsewhere a key is wanted: set AGENTLOOP_TOOLS_KEY here", 403)
