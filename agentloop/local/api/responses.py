"""`/v1/responses`: created whole or streamed, kept for a while, retrieved, deleted.

They are kept in memory, the last ones up to `KEPT` bytes of JSON: when the server stops they are
gone, and a client that goes on from one of them is told so.
"""

import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

from agentloop.base.records import Json
from agentloop.local.api.answering import Answer, answered, event, prepared
from agentloop.local.api.listening import Heard
from agentloop.local.api.models import known
from agentloop.local.api.refusals import WireError
from agentloop.local.api.responses_body import ResponseBody, Text
from agentloop.local.api.responses_items import Items
from agentloop.local.disk.ids import fresh, now
from agentloop.local.disk.models import Models
from agentloop.local.inference.engine import Engine

KEPT = 64 << 20
"""Bytes of responses that are kept, those made longest ago go first."""


class Kept(NamedTuple):
    """A response, and all that was said up to its end."""

    response: Json
    items: list[Json]
    size: int
    """Bytes of what it added."""


class Memory:
    """Responses by id. For the event loop alone."""

    def __init__(self, size: int = KEPT) -> None:
        """`size`: bytes that are kept, beside the newest response."""
        self._room, self._size = size, 0
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def get(self, id: str) -> Kept | None:
        """None if it is not kept, or not any more."""
        return self._kept.get(id)

    def put(self, response: Json, before: list[Json], added: list[Json]) -> None:
        """Keep a response; `added` are its input and its output, after the items `before`."""
        size = len(json.dumps(response)) + len(json.dumps(added))
        self._kept[response["id"]] = Kept(response, [*before, *added], size)
        self._size += size
        while self._size > self._room and len(self._kept) > 1:
            self.drop(next(iter(self._kept)))

    def drop(self, id: str) -> bool:
        """Forget one; whether it was there."""
        gone = self._kept.pop(id, None)
        if gone is not None:
            self._size -= gone.size
        return gone is not None


def router(models: Models, engine: Engine) -> APIRouter:
    """The paths of responses."""
    paths = APIRouter()
    memory = Memory()

    @paths.post("/v1/responses")
    async def create(body: ResponseBody, request: Request) -> Response:
        model = known(models, body.model)
        before = _before(memory, body)
        answer = await prepared(body.order(before), model, engine)
        told = Telling(body, model.id, answer, memory, before)
        return await answered(answer, told, engine, request, streamed=body.stream)

    @paths.get("/v1/responses/{id}")
    async def retrieve(id: str) -> Json:
        if (kept := memory.get(id)) is None:
            raise _unknown(id)
        return kept.response

    @paths.delete("/v1/responses/{id}")
    async def delete(id: str) -> Json:
        if not memory.drop(id):
            raise _unknown(id)
        return {"id": id, "object": "response", "deleted": True}

    return paths


class Telling:
    """An answer in the words of Responses."""

    def __init__(
        self, body: ResponseBody, model: str, answer: Answer, memory: Memory, before: list[Json]
    ) -> None:
        self._body, self._model, self._answer = body, model, answer
        self._memory, self._before = memory, before
        self._id, self._created = fresh("resp_", 24), now()
        self._items = Items()
        self._number = 0

    async def whole(self, first: Heard, request: Request) -> Json:
        """The response object."""
        heard = first
        while True:
            for _ in self._take(heard):
                pass  # nobody hears of how it grew
            if heard.finish is not None:
                return self._end(heard)
            heard = await self._answer.heard_unless_left(request)

    async def stream(self, first: Heard) -> AsyncIterator[str]:
        """Server-sent events, from `response.created` to the one that it ended with."""
        answer = self._answer
        try:
            for name in ("created", "in_progress"):
                yield self._event({"type": f"response.{name}", "response": self._told()})
            heard = first
            while True:
                for made in self._take(heard):
                    yield self._event(made)
                if heard.finish is not None:
                    break
                heard = await answer.heard()
            ended = self._end(heard)
            yield self._event({"type": f"response.{ended['status']}", "response": ended})
        except WireError as error:
            told = {"code": "server_error", "message": str(error)}
            failed = {**self._told("failed"), "error": told}
            yield self._event({"type": "response.failed", "response": failed})
        finally:
            answer.cancel()

    def _take(self, heard: Heard) -> list[Json]:
        made = list(self._items.take(self._answer.read(heard), self._answer.odds(heard) or ()))
        if heard.finish is not None:
            made += self._items.close("incomplete" if heard.finish == "length" else "completed")
        return made

    def _end(self, heard: Heard) -> Json:
        """The finished response, kept if that is wanted."""
        if heard.finish == "length":
            reason = {"reason": "max_output_tokens"}
            response = {**self._told("incomplete"), "incomplete_details": reason}
        else:
            response = {**self._told("completed"), "completed_at": now()}
        asked, written = self._answer.asked, self._answer.written
        thoughts = [item for item in self._items.done if item["type"] == "reasoning"]
        thought = sum(self._answer.length(item["content"][0]["text"]) for item in thoughts)
        response["usage"] = {
            "input_tokens": asked,
            "input_tokens_details": {
                "cached_tokens": self._answer.cached,
                "cache_write_tokens": 0,
            },
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": asked + written,
        }
        if self._body.store is not False:
            self._memory.put(response, self._before, [*self._body.items, *self._items.done])
        return response

    def _told(self, status: str = "in_progress") -> Json:
        body = self._body
        text = body.text or Text()
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "model": self._model,
            "output": list(self._items.done),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "prompt_cache_key": body.prompt_cache_key,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": body.store is not False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": text.model_dump(exclude_none=True, by_alias=True),
            "tool_choice": body.tool_choice or "auto",
            "tools": [tool.wire for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
            "metadata": body.metadata or {},
        }

    def _event(self, made: Json) -> str:
        told = event({**made, "sequence_number": self._number}, made["type"])
        self._number += 1
        return told


def _before(memory: Memory, body: ResponseBody) -> list[Json]:
    """The items of the response that this one goes on from."""
    id = body.previous_response_id
    if id is None:
        return []
    if (kept := memory.get(id)) is None:
        raise WireError(
            f"Previous response with id '{id}' not found. This server keeps responses in memory, "
            "the last ones, until it stops; send the items themselves.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return kept.items


def _unknown(id: str) -> WireError:
    return WireError(f"Response with id '{id}' not found.", status=404)
