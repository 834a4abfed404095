"""`/v1/chat/completions`: whole or streamed."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from agentloop.base.errors import AgentloopError, ConfigError, RecordError
from agentloop.base.records import Json
from agentloop.local.api.chat_body import ChatBody
from agentloop.local.api.listening import Ear, Heard
from agentloop.local.api.models import known
from agentloop.local.api.refusals import WireError
from agentloop.local.disk.ids import fresh, now
from agentloop.local.disk.models import Model, Models
from agentloop.local.inference.dialect import Dialect, Prompt
from agentloop.local.inference.engine import Engine
from agentloop.local.inference.reading import Called, Piece, Reader, Said, Thought, tool_call
from agentloop.local.inference.reading import message as message_of


def router(models: Models, engine: Engine) -> APIRouter:
    """The one path."""
    paths = APIRouter()

    @paths.post("/v1/chat/completions")
    async def create(body: ChatBody, request: Request) -> Response:
        model = known(models, body.model)
        try:
            dialect = engine.known_dialect(model)
            if dialect is None:
                dialect = await run_in_threadpool(engine.dialect, model)
        except ConfigError as error:
            if engine.state == "ready":  # then it is the model that cannot talk
                raise WireError(str(error), param="model", code="model_not_usable") from error
            raise WireError(str(error), status=503, type="server_error") from error
        answer = Answer(body, model, dialect)
        answer.begin(engine)
        try:
            first = await answer.heard_unless_left(request)
            if body.stream:
                return StreamingResponse(answer.stream(first), media_type="text/event-stream")
            return JSONResponse(await answer.whole(first, request))
        except BaseException as error:
            answer.cancel()
            if isinstance(error, _Left):
                return Response(status_code=499)  # nobody reads it
            raise

    return paths


class _Left(Exception):
    """The client went away."""


class Answer:
    """The answer to one request: `n` generations on their way through readers into choices."""

    def __init__(self, body: ChatBody, model: Model, dialect: Dialect) -> None:
        self._body, self._model, self._dialect = body, model, dialect
        self._prompt = _prompt(body, dialect)
        self._id, self._created = fresh("chatcmpl-", 29), now()
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._going = body.n or 1
        self._readers = [self._reader() for _ in range(self._going)]
        self._calls = [0] * self._going

    def begin(self, engine: Engine) -> None:
        """Hand the generations to the engine."""
        from agentloop.local.inference.lane import Generation
        from agentloop.local.inference.sampling import Sampling
        from agentloop.local.inference.transcript import Transcript

        body = self._body
        room = self._dialect.context - len(self._prompt.ids)
        self._generations = [
            Generation(
                self._model,
                self._prompt.ids,
                Sampling(
                    temperature=1.0 if body.temperature is None else body.temperature,
                    top_p=1.0 if body.top_p is None else body.top_p,
                    seed=None if body.seed is None else body.seed + choice,
                ),
                min(room, body.limit or room),
                transcript=Transcript(self._dialect.tokenizer, body.stop),
                listener=Ear(choice, self._heard),
                streamed=bool(body.stream),
            )
            for choice in range(self._going)
        ]
        for generation in self._generations:
            engine.submit(generation)

    def cancel(self) -> None:
        """Nobody listens any more."""
        for generation in self._generations:
            generation.cancelled = True

    async def heard_unless_left(self, request: Request) -> Heard:
        """What is said next.

        Raises:
            WireError: the model failed.
            _Left: the client went away.
        """
        hearing = asyncio.ensure_future(self._heard.get())
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((hearing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                raise _Left
            return _sound(hearing.result())
        finally:
            hearing.cancel()
            leaving.cancel()

    async def whole(self, first: Heard, request: Request) -> Json:
        """The chat completion object."""
        pieces: list[list[Piece]] = [[] for _ in self._readers]
        finishes: dict[int, str] = {}
        heard = first
        while True:
            pieces[heard.choice] += self._read(heard)
            if heard.finish is not None:
                finishes[heard.choice] = self._finish(heard)
            if len(finishes) == len(pieces):
                break
            heard = await self.heard_unless_left(request)
        choices = [
            {
                "index": n,
                "message": message_of(said),
                "logprobs": None,
                "finish_reason": finishes[n],
            }
            for n, said in enumerate(pieces)
        ]
        return {**self._about("chat.completion"), "choices": choices, "usage": self._usage}

    async def stream(self, first: Heard) -> AsyncIterator[str]:
        """Server-sent events: chunks, the usage if it was asked for, `[DONE]`."""
        options = self._body.stream_options
        with_usage = options is not None and bool(options.include_usage)
        try:
            for n in range(self._going):
                yield self._chunk(n, {"role": "assistant", "content": "", "refusal": None})
            heard = first
            while True:
                for delta in self._deltas(heard.choice, self._read(heard)):
                    yield self._chunk(heard.choice, delta)
                if heard.finish is not None:
                    self._going -= 1
                    yield self._chunk(heard.choice, {}, finish=self._finish(heard))
                if not self._going:
                    break
                heard = _sound(await self._heard.get())
            if with_usage:
                about = self._about("chat.completion.chunk")
                yield _event({**about, "choices": [], "usage": self._usage})
        except WireError as error:
            yield _event({"error": error.error})
        finally:
            self.cancel()
        yield "data: [DONE]\n\n"

    def _reader(self) -> Reader:
        return Reader(
            getattr(self._dialect.tokenizer, "response_template", None),
            self._prompt.text,
            tools=bool(self._body.offered),
            at_most=1 if self._body.parallel_tool_calls is False else None,
        )

    def _read(self, heard: Heard) -> list[Piece]:
        reader = self._readers[heard.choice]
        pieces = reader.feed(heard.text) if heard.text else []
        if heard.finish is not None:
            pieces += reader.end()
        self._calls[heard.choice] += sum(isinstance(piece, Called) for piece in pieces)
        return pieces

    def _finish(self, heard: Heard) -> str:
        return "tool_calls" if self._calls[heard.choice] else heard.finish or "stop"

    def _deltas(self, choice: int, pieces: Sequence[Piece]) -> list[Json]:
        before = self._calls[choice] - sum(isinstance(piece, Called) for piece in pieces)
        made: list[Json] = []
        for piece in pieces:
            match piece:
                case Said(text):
                    made.append({"content": text})
                case Thought(text):
                    made.append({"reasoning_content": text})
                case Called():
                    made.append({"tool_calls": [{"index": before, **tool_call(piece)}]})
                    before += 1
        return made

    def _chunk(self, choice: int, delta: Json, *, finish: str | None = None) -> str:
        about = self._about("chat.completion.chunk")
        shown = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}
        options = self._body.stream_options
        usage = {"usage": None} if options and options.include_usage else {}
        return _event({**about, "choices": [shown], **usage})

    def _about(self, kind: str) -> Json:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model.id,
            "system_fingerprint": "fp_agentloop",
        }

    @property
    def _usage(self) -> Json:
        asked = len(self._prompt.ids)
        written = sum(len(generation.out) for generation in self._generations)
        return {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
        }


def _prompt(body: ChatBody, dialect: Dialect) -> Prompt:
    messages = [message.model_dump(exclude_none=True) for message in body.messages]
    try:
        prompt = dialect.prompt(messages, body.offered)
    except RecordError as error:
        raise WireError(str(error), param="messages", code="invalid_value") from error
    if len(prompt.ids) >= dialect.context:
        raise WireError(
            f"This model's maximum context length is {dialect.context} tokens. However, your "
            f"messages resulted in {len(prompt.ids)} tokens. Please reduce the length of the "
            "messages.",
            param="messages",
            code="context_length_exceeded",
        )
    return prompt


def _sound(heard: Heard) -> Heard:
    """What was heard, if it is no failure."""
    if heard.error is None:
        return heard
    if isinstance(heard.error, AgentloopError):
        raise WireError(str(heard.error), status=503, type="server_error")
    raise WireError(f"The model failed: {heard.error}", status=500, type="server_error")


async def _left(request: Request) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(data: Json) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
