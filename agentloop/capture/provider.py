"""The model boundary: which version answers a call, and exactly what was asked and answered."""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agents import Agent, Model, ModelProvider, ModelResponse, RunConfig
from agents.run import CallModelData, ModelInputData

from agentloop.base.records import Api, Version, now
from agentloop.capture import held
from agentloop.capture.conversations import KEPT, Kept
from agentloop.capture.failures import Failures
from agentloop.capture.hearing import leave, listen
from agentloop.capture.recorder import (
    ANSWERING,
    ASKING,
    CURRENT,
    Answered,
    Asked,
    Run,
    described,
    told_id,
)
from agentloop.capture.serving import api, fitting, kind, served

POSITIONAL = (
    *("system_instructions", "input", "model_settings", "tools", "output_schema", "handoffs"),
    "tracing",
)
"""The arguments that the SDK passes by position when it streams."""


def capturing(config: RunConfig, run: Run, **more: Any) -> RunConfig:
    """A copy of a configuration that has every model call recorded as one of `run`. What another
    run has put into it is left away: a tool may pass on that of its run.

    Args:
        more: fields that are other ones in the copy.
    """
    provider, model, filter = config.model_provider, config.model, config.call_model_input_filter
    formatter = config.tool_error_formatter
    if isinstance(provider, CapturingProvider):
        provider = provider.inner
    if isinstance(filter, Filter):
        filter = filter.inner
    if isinstance(formatter, Failures):
        formatter = formatter.inner
    chosen = model is not None
    if type(model) is CapturedModel:
        model = CapturedModel(run, model.own)
    elif isinstance(model, Model):
        given = model
        model = CapturedModel(run, lambda: given)
    copy = object.__new__(type(config))  # checked when it was made; `replace` would check it anew
    vars(copy).update(vars(config))
    vars(copy).update(
        model=model,
        model_provider=CapturingProvider(provider, run),
        call_model_input_filter=Filter(filter, run, chosen=chosen),
        tool_error_formatter=Failures(formatter, run, config.trace_include_sensitive_data),
        **more,
    )
    return copy


class CapturingProvider(ModelProvider):
    """The user's provider for one run, with each model wrapped in a `CapturedModel`."""

    def __init__(self, inner: ModelProvider, run: Run) -> None:
        self.inner = inner
        self._run = run

    def get_model(self, model_name: str | None) -> Model:
        return CapturedModel(self._run, lambda: self.inner.get_model(model_name))

    async def aclose(self) -> None:
        await self.inner.aclose()


class Target(NamedTuple):
    """Who answers a call."""

    model: Model
    real: Model
    """The same, or what it stands for."""
    version: Version | None
    """None: the agent's own model."""
    api: Api | None
    name: str | None


class CapturedModel(Model):
    """Records every call, and has it answered by the version that serves the agent which asks,
    else by the agent's own model.

    Who that is is found out when the call is made and no sooner: the SDK may ask for a model
    before it is known which agent is about to use it, and an agent's own model need not even exist
    where a version serves it.
    """

    def __init__(self, run: Run, own: Callable[[], Model]) -> None:
        self._run = run
        self.own = own
        self._targets: dict[str | None, Target] = {}
        self._kinds: dict[str, type] = {}

    def _target(self) -> Target:
        version = self._run.version(ASKING.get() or self._run.agent)
        key = version.id if version else None
        found = self._targets.get(key)
        if found is None:
            model = served(version) if version else self.own()
            real = _real(model)
            name = getattr(model, "model", None)
            named = None if name is None else str(name)
            found = self._targets[key] = Target(model, real, version, api(real), named)
        return found

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The class of who answers: the SDK asks with `isinstance` which API it has before it."""
        asking = ASKING.get() or self._run.agent
        found = self._kinds.get(asking)
        if found is None:  # a version never changes in a run, and so neither does what it is
            version = self._run.version(asking)
            found = kind(version) if version else type(self._target().real)
            self._kinds[asking] = found
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # The SDK asks models for private capabilities (prompt caching) by name.
        return getattr(self._target().model, name)

    @property
    def _models(self) -> list[Model]:
        return [target.model for target in self._targets.values()]

    async def _cleanup_on_run_end(self, owner: object) -> None:
        for model in self._models:
            await model._cleanup_on_run_end(owner)

    async def close(self) -> None:
        for model in self._models:
            await model.close()

    def get_retry_advice(self, request: Any) -> Any:
        return self._target().model.get_retry_advice(request)

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        target, sent = self._settled(args, kwargs, streamed=False)
        asked = self._asked(target, sent, streamed=False)
        with _Recording(asked, target) as answered:
            response = await target.model.get_response(**sent)
            _take_response(answered, response)
        return response

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        target, sent = self._settled(args, kwargs, streamed=True)
        asked = self._asked(target, sent, streamed=True)
        positional = [sent.pop(name) for name in POSITIONAL]
        with _Recording(asked, target) as answered:
            answered.incomplete = "the stream was not read to its end"
            stream: Any = target.model.stream_response(*positional, **sent)
            try:
                async for event in stream:
                    # Taken before it is passed on: the consumer may stop reading at this event.
                    _take_event(answered, event, asked)
                    yield event
            finally:
                if hasattr(stream, "aclose"):
                    await stream.aclose()

    def _settled(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, streamed: bool
    ) -> tuple[Target, dict[str, Any]]:
        """Who answers, and all arguments by name, with the settings that the target can take."""
        sent = {**dict(zip(POSITIONAL, args, strict=False)), **kwargs}
        target = self._target()
        usage = streamed and target.api == "chat"
        if usage or target.version is not None:
            sent["model_settings"] = fitting(sent["model_settings"], target.version, usage=usage)
        return target, sent

    def _asked(self, target: Target, sent: Mapping[str, Any], *, streamed: bool) -> Asked:
        given = sent["input"]
        called = target.api
        # Chat Completions keeps no conversation: there the model sees what it is sent.
        names: tuple[Kept, ...] = () if called == "chat" else KEPT
        kept = None
        for name in names:
            if sent.get(name):
                kept = name, str(sent[name])
                break
        partial: list[str] = []
        if sent.get("prompt"):
            partial.append("prompt was set: the server adds messages of its own")
        if called == "chat" and _replays(target.real, given):
            partial.append("what the model thought before was sent to it again")
        return Asked(
            run=self._run,
            index=self._run.next_call(),
            agent=ASKING.get() or self._run.agent,
            system=sent["system_instructions"],
            # Copied, for what the caller passed is still the caller's to change.
            input=given if isinstance(given, str) else [_copied(item) for item in given],
            settings=sent["model_settings"],
            tools=list(sent["tools"]),
            handoffs=list(sent["handoffs"]),
            schema=sent["output_schema"],
            model=target.name,
            version=target.version,
            api=called,
            streamed=streamed,
            kept=kept,
            incomplete=tuple(partial),
            started_at=now(),
        )


def _copied(item: Any) -> Any:
    if type(item) is dict:
        return item.copy()
    return dict(item) if isinstance(item, Mapping) else item


def _replays(model: Any, input: Any) -> bool:
    """Whether the SDK puts reasoning back into the messages of a chat completion."""
    asks = getattr(model, "should_replay_reasoning_content", None) is not None
    return (asks or "deepseek" in str(model.model).lower()) and any(
        isinstance(item, Mapping) and item.get("type") == "reasoning" for item in input
    )


def _real(model: Model) -> Model:
    return model.held if isinstance(model, held.Original) else model


class _Recording:
    """Records the call when the block is left, whichever way it is left."""

    __slots__ = ("_answered", "_asked", "_heard")

    def __init__(self, asked: Asked, target: Target) -> None:
        self._asked = asked
        self._answered = Answered(output=[])
        self._heard = target.real if target.api == "chat" and listen(target.real) else None

    def __enter__(self) -> Answered:
        ANSWERING.set(self._answered)
        return self._answered

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._heard is not None:
            leave(self._heard)
        ANSWERING.set(None)
        if error is not None and not isinstance(error, GeneratorExit):
            self._answered.error = described(error)
        self._asked.run.recorder.called(self._asked, self._answered)


def _take_response(answered: Answered, response: ModelResponse) -> None:
    answered.output = list(response.output)
    answered.usage = response.usage
    answered.response_id = response.response_id


TELLING = (
    *("response.completed", "response.incomplete", "response.failed", "response.output_item.done"),
    *("error", "response.error"),
)
"""The events of a stream that say what is not said again at its end, or are its end."""


def _take_event(answered: Answered, event: Any, asked: Asked) -> None:
    kind = getattr(event, "type", None)
    if kind not in TELLING:
        return
    response = getattr(event, "response", None)
    if kind in ("response.completed", "response.incomplete") and response is not None:
        answered.incomplete = None
        # Some servers tell the items one by one, and leave them away at the end.
        answered.output = list(response.output) or answered.done
        answered.usage = response.usage
        answered.response_id = told_id(response.output) or response.id
        if asked.api == "responses":  # in place of the server, the SDK's chat model says it itself
            answered.served_model = response.model
        if kind == "response.incomplete":
            details = response.incomplete_details
            answered.finish_reason = (details and details.reason) or "incomplete"
    elif kind == "response.output_item.done":
        answered.done.append(event.item)
    elif kind == "response.failed" and response is not None:
        answered.error = f"the response failed: {getattr(response.error, 'message', None)}"
    elif kind in ("error", "response.error"):
        answered.error = f"the stream failed: {getattr(event, 'message', None)}"


@dataclass(frozen=True, slots=True)
class Filter:
    """A `call_model_input_filter`: notes which agent is about to ask, then does what the user's
    own filter does. It runs right before a model is called, in the same context; hooks do not, and
    providers are told the model's name alone."""

    inner: Any
    run: Run
    chosen: bool
    """Whether a model was chosen for the whole run: then no agent's own is called."""

    async def __call__(self, data: CallModelData[Any]) -> ModelInputData:
        agent = data.agent
        ASKING.set(agent.name)
        if not self.chosen and isinstance(agent, Agent):
            model = agent.model
            if model is not None and type(model) is not str and isinstance(model, Model):
                self._listen_to(model)
        if self.inner is None:
            return data.model_data
        filtered = self.inner(data)
        result: ModelInputData = await filtered if inspect.isawaitable(filtered) else filtered
        return result

    def _listen_to(self, model: Model) -> None:
        """Have the calls of a model that an agent holds itself recorded, for as long as this run
        goes on: such a model never passes through a provider."""
        if not any(model is other for other in self.run.held) and held.hold(model, _in_this_run):
            self.run.held.append(model)
            if len(self.run.held) > held.HELD_BY_A_RUN:
                held.release(self.run.held.pop(0))


def _in_this_run(original: held.Original) -> Model | None:
    run = CURRENT.get()
    if run is None or ANSWERING.get() is not None:  # the call is being recorded already
        return None
    return CapturedModel(run, lambda: original)
