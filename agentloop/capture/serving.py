"""Serving: the model of a version, called where it answers, with what it can take."""

import asyncio
import os
from dataclasses import replace
from typing import Any

from agents import Model, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel
from openai import AsyncOpenAI

from agentloop.base.records import Api, Version

THINKS = ("gpt-5", "o1", "o3", "o4")
"""How the names of models begin that take `reasoning` and `verbosity`."""

THOUGHTS = ("reasoning", "verbosity")
"""What a model that does not think refuses."""

SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "top_logprobs")
"""What a model refuses while it thinks."""

OPENAI = ("openai", "foundry")
"""The providers that run OpenAI's own service."""

OF_OPENAI = (
    *("store", "metadata", "prompt_cache_retention", "prompt_cache_options"),
    *("context_management", "truncation", "response_include"),
)
"""Settings of OpenAI's own service: other servers refuse what they do not know."""

MORE_OF_OPENAI = (
    *("store", "metadata", "service_tier", "safety_identifier", "prediction", "modalities"),
    *("audio", "web_search_options", "moderation", "prompt_cache_key", "prompt_cache_retention"),
    "prompt_cache_options",
)
"""The same, as `extra_args` may have them."""


def fitting(settings: ModelSettings, version: Version | None, *, usage: bool) -> ModelSettings:
    """`settings` less what the version's model would refuse.

    Args:
        usage: whether the call is one that tells its tokens only when asked to.
    """
    if version is not None:
        settings = _taken(settings, version)
    if usage and settings.include_usage is None:
        settings = replace(settings, include_usage=True)
    return settings


def _taken(settings: ModelSettings, version: Version) -> ModelSettings:
    more = dict(settings.extra_args or {})
    less: list[str] = []
    if not version.base_model.startswith(THINKS):
        less += [*THOUGHTS, "reasoning_effort"]
    else:
        if settings.reasoning is None or settings.reasoning.effort != "none":
            less += SAMPLING
        if version.api == "chat" and settings.max_tokens is not None:
            # There the limit has another name; under the old one it is refused.
            more.setdefault("max_completion_tokens", settings.max_tokens)
            less += ["max_tokens"]
    if version.provider not in OPENAI:
        less += [*OF_OPENAI, *MORE_OF_OPENAI]
    fields: dict[str, Any] = {name: None for name in less if hasattr(settings, name)}
    kept = {name: value for name, value in more.items() if name not in less}
    return replace(settings, **fields, extra_args=kept or None)


def api(model: Model) -> Api | None:
    """The API that a model is called through, None when it is no model of the SDK's own."""
    if isinstance(model, OpenAIChatCompletionsModel):
        return "chat"
    return "responses" if isinstance(model, OpenAIResponsesModel) else None


def kind(version: Version) -> type[OpenAIChatCompletionsModel | OpenAIResponsesModel]:
    """What the model of a version is to the SDK."""
    return OpenAIResponsesModel if version.api == "responses" else OpenAIChatCompletionsModel


def served(version: Version) -> Model:
    """The model of a version, called where it answers."""
    return kind(version)(version.model, _client(version))


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
        of_loop[version.base_url, key] = AsyncOpenAI(base_url=version.base_url, api_key=key)
    return of_loop[version.base_url, key]
