"""`/v1/chat/completions`: whole or streamed."""

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from agentloop.base.records import Json
from agentloop.local.api.answering import Answer, answered, event, prepared
from agentloop.local.api.chat_body import ChatBody
from agentloop.local.api.listening import Heard
from agentloop.local.api.models import known
from agentloop.local.api.refusals import WireError
from agentloop.local.disk.ids import fresh, now
from agentloop.local.disk.models import Model, Models
from agentloop.local.inference.engine import Engine
from agentloop.local.inference.reading import Called, Piece, Said, Thought, tool_call
from agentloop.local.inference.reading import message as message_of


def router(models: Models, engine: Engine) -> APIRouter:
    """The one path."""
    paths = APIRouter()

    @paths.post("/v1/chat/completions")
    async def create(body: ChatBody, request: Request) -> Response:
        model = known(models, body.model)
        answer = await prepared(body.order, model, engine)
        told = Completion(body, model, answer)
        return await answered(answer, told, engine, request, streamed=body.stream)

    return paths


class Completion:
    """An answer in the words of Chat Completions."""

    def __init__(self, body: ChatBody, model: Model, answer: Answer) -> None:
        self._body, self._model, self._answer = body, model, answer
        self._id, self._created = fresh("chatcmpl-", 29), now()
        self._n = body.n or 1

    async def whole(self, first: Heard, request: Request) -> Json:
        """The chat completion object."""
        answer = self._answer
        pieces: list[list[Piece]] = [[] for _ in range(self._n)]
        odds: list[list[Json]] = [[] for _ in range(self._n)]
        finishes: dict[int, str] = {}
        heard = first
        while True:
            pieces[heard.choice] += answer.read(heard)
            odds[heard.choice] += answer.odds(heard) or ()
            if heard.finish is not None:
                finishes[heard.choice] = answer.finish(heard)
            if len(finishes) == len(pieces):
                break
            heard = await answer.heard_unless_left(request)
        choices = [
            {
                "index": n,
                "message": message_of(said),
                "logprobs": _logprobs(odds[n]) if self._body.logprobs else None,
                "finish_reason": finishes[n],
            }
            for n, said in enumerate(pieces)
        ]
        return {**self._about("chat.completion"), "choices": choices, "usage": self._usage}

    async def stream(self, first: Heard) -> AsyncIterator[str]:
        """Server-sent events: chunks, the usage if it was asked for, `[DONE]`."""
        options = self._body.stream_options
        with_usage = options is not None and bool(options.include_usage)
        answer = self._answer
        try:
            for n in range(self._n):
                yield self._chunk(n, {"role": "assistant", "content": "", "refusal": None})
            going = self._n
            heard = first
            while True:
                deltas = self._deltas(heard.choice, answer.read(heard))
                odds = answer.odds(heard)
                for delta in deltas or ([{}] if odds else []):
                    yield self._chunk(heard.choice, delta, odds=odds)
                    odds = None
                if heard.finish is not None:
                    going -= 1
                    yield self._chunk(heard.choice, {}, finish=answer.finish(heard))
                if not going:
                    break
                heard = await answer.heard()
            if with_usage:
                about = self._about("chat.completion.chunk")
                yield event({**about, "choices": [], "usage": self._usage})
        except WireError as error:
            yield event({"error": error.error})
        finally:
            answer.cancel()
        yield "data: [DONE]\n\n"

    def _deltas(self, choice: int, pieces: Sequence[Piece]) -> list[Json]:
        before = self._answer.calls(choice) - sum(isinstance(piece, Called) for piece in pieces)
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

    def _chunk(
        self,
        choice: int,
        delta: Json,
        *,
        odds: list[Json] | None = None,
        finish: str | None = None,
    ) -> str:
        about = self._about("chat.completion.chunk")
        logprobs = _logprobs(odds) if odds else None
        shown = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        options = self._body.stream_options
        usage = {"usage": None} if options and options.include_usage else {}
        return event({**about, "choices": [shown], **usage})

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
        asked, written = self._answer.asked, self._answer.written
        return {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
        }


def _logprobs(content: list[Json]) -> Json:
    return {"content": content, "refusal": None}
