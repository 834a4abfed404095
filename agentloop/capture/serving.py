"""Serving: the model of a version, called where it answers, with what it can take."""

import asyncio
import json
import os
from dataclasses import replace
from typing import Any

from agents import Model, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from agentloop.base.records import Api, Version
from agentloop.capture.recorder import ANSWERING

THINKS = ("gpt-5", "o1", "o3", "o4")
"""How the names of models begin that take `reasoning` and `verbosity`."""


def fitting(settings: ModelSettings, version: Version | None, *, usage: bool) -> ModelSettings:
    """`settings` less what the version's model would refuse.

    Args:
        usage: whether the call is one that tells its tokens only when asked to.
    """
    if version is not None and not version.base_model.startswith(THINKS):
        settings = replace(settings, reasoning=None, verbosity=None)
    if usage and settings.include_usage is None:
        settings = replace(settings, include_usage=True)
    return settings


def api(model: Model) -> Api | None:
    """The API that a model is called through, None when it is no model of the SDK's own."""
    if isinstance(model, OpenAIChatCompletionsModel):
        return "chat"
    return "responses" if isinstance(model, OpenAIResponsesModel) else None


def served(version: Version) -> Model:
    """The model of a version, called where it answers."""
    client = _client(version)
    if version.api == "responses":
        return OpenAIResponsesModel(version.model, client)
    return OpenAIChatCompletionsModel(version.model, client)


_clients: dict[asyncio.AbstractEventLoop | None, dict[tuple[str, str], AsyncOpenAI]] = {}
"""Clients by event loop: their connections cannot be used on another."""


def _client(version: Version) -> AsyncOpenAI:
    key = os.environ.get(version.key_variable) or "none"
    try:
        events: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        events = None
    for other in [loop for loop in _clients if loop is not None and loop.is_closed()]:
        _clients.pop(other, None)
    of_loop = _clients.setdefault(events, {})
    if (version.base_url, key) not in of_loop:
        of_loop[version.base_url, key] = AsyncOpenAI(
            base_url=version.base_url,
            api_key=key,
            http_client=DefaultAsyncHttpxClient(event_hooks={"response": [_listen]}),
        )
    return of_loop[version.base_url, key]


async def _listen(response: Any) -> None:
    """Notes what a chat completion says of itself and the SDK does not pass on: which model
    answered, and why it stopped."""
    answered = ANSWERING.get()
    kind = response.headers.get("content-type", "")
    if answered is None or response.status_code != 200 or not kind.startswith("application/json"):
        return
    try:
        body: Any = json.loads(await response.aread())
    except ValueError:
        return
    if isinstance(body, dict) and body.get("object") == "chat.completion":
        answered.served_model = body.get("model")
        choice = next(iter(body.get("choices") or ()), None) or {}
        answered.finish_reason = choice.get("finish_reason")
