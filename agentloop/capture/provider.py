"""The model boundary: which version answers a call, and exactly what was asked and answered."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from agents import Agent, Model, ModelProvider, ModelResponse, RunConfig
from agents.run import CallModelData, ModelInputData

from agentloop.base.records import Version, now
from agentloop.capture import held
from agentloop.capture.conversations import KEPT, Kept
from agentloop.capture.failures import Failures
from agentloop.capture.hearing import overhearing
from agentloop.capture.recorder import (
    ANSWERING,
    ASKING,
    CURRENT,
    Answered,
    Asked,
    Run,
    described,
)
from agentloop.capture.serving import api, fitting, kind, served

POSITIONAL = (
    *("system_instructions", "input", "model_settings", "tools", "output_schema", "handoffs"),
    "tracing",
)
"""The arguments that the SDK passes by position when it streams."""


def capturing(config: RunConfig, run: Run) -> RunConfig:
    """A copy of a configuration that has every model call recorded as one of `run`."""
    model = config.model
    if isinstance(model, Model):
        given = model
        model = CapturedModel(run, lambda: given)
    chosen = config.model is not None
    whole = config.trace_include_sensitive_data
    return replace(
        config,
        model=model,
        model_provider=CapturingProvider(config.model_provider, run),
        call_model_input_filter=Filter(config.call_model_input_filter, run, chosen=chosen),
        tool_error_formatter=Failures(config.tool_error_formatter, run, whole),
    )


def bare(config: RunConfig) -> RunConfig:
    """A configuration without what `capturing` put into it: a tool may pass on that of its run."""
    provider, model, filter = config.model_provider, config.model, config.call_model_input_filter
    formatter = config.tool_error_formatter
    if isinstance(provider, CapturingProvider):
        provider = provider.inner
    if isinstance(model, CapturedModel):
        model = model.own()
    if isinstance(filter, Filter):
        filter = filter.inner
    if isinstance(formatter, Failures):
        formatter = formatter.inner
    return replace(
        config,
        model_provider=provider,
        model=model,
        call_model_input_filter=filter,
        tool_error_formatter=formatter,
    )


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
    version: Version | None
    """None: the agent's own model."""


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
        self._models: dict[str | None, Model] = {}

    def _target(self) -> Target:
        version = self._run.version(ASKING.get() or self._run.agent)
        key = version.id if version else None
        if key not in self._models:
            self._models[key] = served(version) if version else self.own()
        return Target(self._models[key], version)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The class of who answers: the SDK asks with `isinstance` which API it has before it."""
        version = self._run.version(ASKING.get() or self._run.agent)
        return kind(version) if version else type(_real(self._target().model))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # The SDK asks models for private capabilities (prompt caching) by name.
        return getattr(self._target().model, name)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        for model in self._models.values():
            await model._cleanup_on_run_end(owner)

    async def close(self) -> None:
        for model in self._models.values():
            await model.close()

    def get_retry_advice(self, request: Any) -> Any:
        return self._target().model.get_retry_advice(request)

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        target, sent = self._settled(args, kwargs, streamed=False)
        asked = self._asked(target, sent, streamed=False)
        with _recording(asked) as answered, overhearing(_real(target.model)):
            response = await target.model.get_response(**sent)
            _take_response(answered, response)
        return response

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        target, sent = self._settled(args, kwargs, streamed=True)
        asked = self._asked(target, sent, streamed=True)
        positional = [sent.pop(name) for name in POSITIONAL]
        with _recording(asked) as answered, overhearing(_real(target.model)):
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
        usage = streamed and api(_real(target.model)) == "chat"
        sent["model_settings"] = fitting(sent["model_settings"], target.version, usage=usage)
        return target, sent

    def _asked(self, target: Target, sent: Mapping[str, Any], *, streamed: bool) -> Asked:
        given = sent["input"]
        called = api(_real(target.model))
        # Chat Completions keeps no conversation: there the model sees what it is sent.
        names: tuple[Kept, ...] = () if called == "chat" else KEPT
        kept = next(((name, str(sent[name])) for name in names if sent.get(name)), None)
        name = getattr(target.model, "model", None)
        partial: list[str] = []
        if sent.get("prompt"):
            partial.append("prompt was set: the server adds messages of its own")
        if called == "chat" and _replays(_real(target.model), given):
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
            model=None if name is None else str(name),
            version=target.version,
            api=called,
            streamed=streamed,
            kept=kept,
            incomplete=tuple(partial),
            started_at=now(),
        )


def _copied(item: Any) -> Any:
    return dict(item) if isinstance(item, Mapping) else item


def _replays(model: Any, input: Any) -> bool:
    """Whether the SDK puts reasoning back into the messages of a chat completion."""
    asks = getattr(model, "should_replay_reasoning_content", None) is not None
    return (asks or "deepseek" in str(model.model).lower()) and any(
        isinstance(item, Mapping) and item.get("type") == "reasoning" for item in input
    )


def _real(model: Model) -> Model:
    return model.held if isinstance(model, held.Original) else model


@contextmanager
def _recording(asked: Asked) -> Iterator[Answered]:
    """Records the call when the block is left, whichever way it is left."""
    answered = Answered(output=[])
    ANSWERING.set(answered)
    try:
        yield answered
    except GeneratorExit:
        raise
    except BaseException as error:
        answered.error = described(error)
        raise
    finally:
        ANSWERING.set(None)
        asked.run.recorder.called(asked, answered)


def _take_response(answered: Answered, response: ModelResponse) -> None:
    answered.output = list(response.output)
    answered.usage = response.usage
    answered.response_id = response.response_id or _told(response.output, "response_id")


def _take_event(answered: Answered, event: Any, asked: Asked) -> None:
    kind = getattr(event, "type", None)
    response = getattr(event, "response", None)
    if kind in ("response.completed", "response.incomplete") and response is not None:
        answered.incomplete = None
        # Some servers tell the items one by one, and leave them away at the end.
        answered.output = list(response.output) or answered.done
        answered.usage = response.usage
        answered.response_id = _told(response.output, "response_id") or response.id
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


def _told(output: list[Any], name: str) -> str | None:
    """What a Chat Completions model notes of itself on the items that it makes."""
    for item in output:
        data = getattr(item, "provider_data", None)
        if isinstance(data, Mapping) and data.get(name):
            return str(data[name])
    return None


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
        if not self.chosen and isinstance(agent, Agent) and isinstance(agent.model, Model):
            self._listen_to(agent.model)
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
