"""An answer on its way: generations of the engine, read as they come. Both APIs speak of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from agentloop.base.errors import AgentloopError, ConfigError, RecordError
from agentloop.base.records import Json
from agentloop.local.api.listening import Ear, Heard
from agentloop.local.api.refusals import WireError
from agentloop.local.disk.models import Model
from agentloop.local.inference.dialect import Dialect, Prompt
from agentloop.local.inference.engine import Engine
from agentloop.local.inference.reading import Called, Piece, Reader

if TYPE_CHECKING:
    from agentloop.local.inference.grammar import Grammars
    from agentloop.local.inference.sampling import Odds


@dataclass(frozen=True)
class Order:
    """What both APIs ask for, in Chat Completions' terms."""

    messages: list[Json]
    tools: list[Json]
    """Offered to the model, in Chat Completions' form."""
    allowed: list[str] | None = None
    """Names of those that may be called; None allows all."""
    must_call: bool = False
    parallel: bool | None = None
    schema: Json | None = None
    """What the text is held to; None leaves it free."""
    strict: bool = True
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    limit: int | None = None
    streamed: bool = False
    top: int | None = None
    """How many of the likeliest tokens are told with each; None tells nothing."""
    chat: bool = True
    """Whether Chat Completions is spoken, whose parameters are named when something is wrong."""

    def place(self, kind: str) -> str:
        """The name of a parameter in the API that is spoken."""
        return _PLACES[kind][0 if self.chat else 1]


_PLACES = {
    "messages": ("messages", "input"),
    "schema": ("response_format", "text.format.schema"),
    "function": ("tools[{}].function.parameters", "tools[{}].parameters"),
    "calls": ("tool_choice", "tool_choice"),
}


class Left(Exception):
    """The client went away."""


async def prepared(order: Order, model: Model, engine: Engine) -> "Answer":
    """The answer, not begun.

    Raises:
        WireError: the model cannot talk or be held to what is wanted, or takes no such messages.
    """
    try:
        dialect = engine.known_dialect(model)
        if dialect is None:
            dialect = await run_in_threadpool(engine.dialect, model)
        held = order.schema is not None or order.must_call or _held(order)
        wants_odds = order.top is not None
        grammars = await run_in_threadpool(engine.grammars, model) if held or wants_odds else None
    except ConfigError as error:
        if engine.state == "ready":  # then it is the model that cannot talk
            raise WireError(str(error), param="model", code="model_not_usable") from error
        raise WireError(str(error), status=503, type="server_error") from error
    answer = Answer(order, model, dialect, grammars)
    if held:
        await run_in_threadpool(answer.hold)
    return answer


class Teller(Protocol):
    """Says an answer in the words of one API."""

    def stream(self, first: Heard) -> AsyncIterator[str]:
        """As server-sent events; `first` has been heard."""

    async def whole(self, first: Heard, request: Request) -> Json:
        """As one object."""


async def answered(
    answer: "Answer", told: Teller, engine: Engine, request: Request, *, streamed: bool | None
) -> Response:
    """Have the answer generated, and say it. A client that goes away ends it."""
    answer.begin(engine)
    try:
        first = await answer.heard_unless_left(request)
        if streamed:
            return StreamingResponse(told.stream(first), media_type="text/event-stream")
        return JSONResponse(await told.whole(first, request))
    except BaseException as error:
        answer.cancel()
        if isinstance(error, Left):
            return Response(status_code=499)  # nobody reads it
        raise


def _held(order: Order) -> bool:
    strict = any(tool["function"].get("strict") for tool in order.tools)
    return bool(order.tools) and (strict or order.parallel is False or order.allowed is not None)


class Answer:
    """The answer to one request: `n` generations on their way through readers into pieces."""

    def __init__(
        self, order: Order, model: Model, dialect: Dialect, grammars: "Grammars | None"
    ) -> None:
        self._order, self._model, self._dialect = order, model, dialect
        self._grammars = grammars
        self._prompt = _prompt(order, dialect)
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._readers = [self._reader() for _ in range(order.n)]
        self._calls = [0] * order.n
        self._spoken = [Spoken() for _ in range(order.n)]
        self._bounds: list[Any] = [None] * order.n
        self._generations: list[Any] = []

    def hold(self) -> None:
        """Hold it to what is wanted.

        Raises:
            WireError: that cannot be done.
        """
        from agentloop.local.inference.grammar import Unkept, Wish

        order = self._order
        functions = Wish.of(None, order.tools).functions
        allowed = order.allowed
        wish = Wish(
            schema=order.schema,
            strict=order.strict,
            functions=tuple(f for f in functions if allowed is None or f.name in allowed),
            must_call=order.must_call,
            at_most=1 if order.parallel is False else None,
        )
        if self._grammars is None:
            return
        try:
            for choice in range(order.n):
                self._bounds[choice] = self._grammars.bound(wish, self._prompt.text)
        except Unkept as error:
            names = [function.name for function in functions]
            if error.place in names:
                param = order.place("function").format(names.index(error.place))
                message = f"Invalid schema for function '{error.place}': {error}."
                raise WireError(message, param=param, code="invalid_function_parameters") from error
            what = (
                "Invalid schema for response_format" if error.place == "schema" else "Unsupported"
            )
            raise WireError(
                f"{what}: {error}.",
                param=order.place(error.place),
                code=None if error.place == "schema" else "unsupported_value",
            ) from error

    def begin(self, engine: Engine) -> None:
        """Hand the generations to the engine."""
        from agentloop.local.inference.lane import Generation
        from agentloop.local.inference.sampling import Sampling
        from agentloop.local.inference.transcript import Transcript

        order = self._order
        room = self._dialect.context - len(self._prompt.ids)
        self._generations = [
            Generation(
                self._model,
                self._prompt.ids,
                Sampling(
                    temperature=1.0 if order.temperature is None else order.temperature,
                    top_p=1.0 if order.top_p is None else order.top_p,
                    seed=None if order.seed is None else order.seed + choice,
                    bound=self._bounds[choice],
                    top=order.top,
                ),
                min(room, order.limit or room),
                transcript=Transcript(self._dialect.tokenizer, order.stop),
                listener=Ear(choice, self._heard),
                streamed=order.streamed,
            )
            for choice in range(order.n)
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
            Left: the client went away.
        """
        hearing = asyncio.ensure_future(self._heard.get())
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((hearing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                raise Left
            return _sound(hearing.result())
        finally:
            hearing.cancel()
            leaving.cancel()

    async def heard(self) -> Heard:
        """What is said next, to a client that is being streamed to.

        Raises:
            WireError: the model failed.
        """
        return _sound(await self._heard.get())

    def read(self, heard: Heard) -> list[Piece]:
        """What was heard as text, thoughts and calls, as far as they are complete."""
        reader = self._readers[heard.choice]
        pieces = reader.feed(heard.text) if heard.text else []
        if heard.finish is not None:
            pieces += reader.end()
        self._calls[heard.choice] += sum(isinstance(piece, Called) for piece in pieces)
        return pieces

    def odds(self, heard: Heard) -> list[Json] | None:
        """`logprobs.content` of the tokens that were heard; None if nobody asked.

        They are those of every token written, of thoughts and calls too, except the one that ends
        the answer and what was cut off at a stop.
        """
        if self._order.top is None or self._grammars is None:
            return None
        return self._spoken[heard.choice].told(heard, self._grammars)

    def calls(self, choice: int) -> int:
        """How many calls have been read so far."""
        return self._calls[choice]

    def finish(self, heard: Heard) -> str:
        """`stop`, `length` or `tool_calls`."""
        return "tool_calls" if self._calls[heard.choice] else heard.finish or "stop"

    @property
    def asked(self) -> int:
        """Tokens of the prompt."""
        return len(self._prompt.ids)

    @property
    def written(self) -> int:
        """Tokens of all choices so far."""
        return sum(len(generation.out) for generation in self._generations)

    @property
    def cached(self) -> int:
        """Tokens of the prompt that had been computed before."""
        return int(self._generations[0].reused)

    def length(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._dialect.encode(text))

    def _reader(self) -> Reader:
        return Reader(
            getattr(self._dialect.tokenizer, "response_template", None),
            self._prompt.text,
            tools=bool(self._order.tools),
            at_most=1 if self._order.parallel is False else None,
        )


class Spoken:
    """Odds wait until the text of their tokens has been said: a stop may cut them off."""

    def __init__(self) -> None:
        self._waiting: list[Odds] = []
        self._said = self._passed = 0
        """Bytes of text said, and of the tokens told."""

    def told(self, heard: Heard, names: "Grammars") -> list[Json]:
        """Those of tokens that begin in what has been said by now."""
        self._said += len(heard.text.encode())
        self._waiting += heard.odds
        made: list[Json] = []
        while self._waiting and self._passed < self._said:
            odds = self._waiting.pop(0)
            content = names.content(odds.token)
            self._passed += len(content)
            top = [_odd(names.content(token), logprob) for token, logprob in odds.top]
            made.append({**_odd(content, odds.logprob), "top_logprobs": top})
        return made


def _odd(content: bytes, logprob: float) -> Json:
    # OpenAI's own word for what is next to impossible; JSON has no infinity.
    value = max(logprob, -9999.0)
    return {
        "token": content.decode("utf-8", "replace"),
        "logprob": value,
        "bytes": list(content),
    }


def event(data: Json, name: str | None = None) -> str:
    """A server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _prompt(order: Order, dialect: Dialect) -> Prompt:
    try:
        prompt = dialect.prompt(order.messages, order.tools)
    except RecordError as error:
        param = order.place("messages")
        raise WireError(str(error), param=param, code="invalid_value") from error
    if len(prompt.ids) >= dialect.context:
        raise WireError(
            f"This model's maximum context length is {dialect.context} tokens. However, your "
            f"messages resulted in {len(prompt.ids)} tokens. Please reduce the length of the "
            "messages.",
            param=order.place("messages"),
            code="context_length_exceeded",
        )
    return prompt


def _sound(heard: Heard) -> Heard:
    """What was heard, if it is no failure."""
    if heard.error is None:
        return heard
    if isinstance(heard.error, RecordError):
        raise WireError(str(heard.error), status=500, type="server_error")
    if isinstance(heard.error, AgentloopError):
        raise WireError(str(heard.error), status=503, type="server_error")
    raise WireError(f"The model failed: {heard.error}", status=500, type="server_error")


async def _left(request: Request) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
