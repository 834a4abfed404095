"""The runner: the SDK's `Runner`, with everything captured and the right version answering."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from agents import (
    Agent,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    Model,
    ModelProvider,
    RunConfig,
    Runner,
    RunResult,
    RunResultStreaming,
    RunState,
    add_trace_processor,
)
from agents.tracing import gen_trace_id
from pydantic import ValidationError

from agentloop.base.errors import ConfigError
from agentloop.base.records.record import complaint
from agentloop.base.store import Serving
from agentloop.capture import held
from agentloop.capture.processor import SpanProcessor
from agentloop.capture.provider import CapturedModel, CapturingProvider, Filter
from agentloop.capture.recorder import CURRENT, Recorder, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    class Result(RunResult):
        """The SDK's result, and the ids of what was recorded."""

        trace_id: str
        call_id: str | None
        """The last model call: the one that gave the final answer."""

    class StreamedResult(RunResultStreaming):
        """The SDK's streamed result, and the ids of what is being recorded."""

        trace_id: str
        call_id: str | None
        """The last model call; None until the stream has ended."""


class Serve(Protocol):
    """Decides who answers in a run."""

    def __call__(self, agent: str, *, unit: str, versions: Any, held_out: bool) -> Serving: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is about to begin."""

    run: Run
    options: dict[str, Any]
    """What the SDK's `Runner` is given."""
    provider: ModelProvider | None
    """The provider that was made for this run, and is to be closed after it."""

    async def close(self) -> None:
        if self.provider is not None:
            await self.provider.aclose()

    def close_sync(self) -> None:
        """`close`, without the thread's own event loop: the SDK keeps that one for the next run."""
        if self.provider is not None:
            events = asyncio.new_event_loop()
            try:
                events.run_until_complete(self.close())
            finally:
                events.close()


class CapturingRunner:
    """Runs agents as the SDK's `Runner` does. Neither agent nor run configuration is changed."""

    def __init__(self, recorder: Recorder, serve: Serve) -> None:
        self._recorder = recorder
        self._serve = serve
        add_trace_processor(SpanProcessor(recorder))

    async def run(self, agent: Agent[Any], input: Any, options: Mapping[str, Any]) -> "Result":
        """`Runner.run`, recorded. `options` are its keyword arguments and those of `_prepared`."""
        prepared = self._prepared(agent, input, options)
        try:
            with self._recording(prepared.run):
                result = await Runner.run(agent, input, **prepared.options)
        finally:
            await prepared.close()
        return self._marked(result, prepared.run)

    def run_sync(self, agent: Agent[Any], input: Any, options: Mapping[str, Any]) -> "Result":
        """`Runner.run_sync`, recorded."""
        prepared = self._prepared(agent, input, options)
        try:
            with self._recording(prepared.run):
                result = Runner.run_sync(agent, input, **prepared.options)
        finally:
            prepared.close_sync()
        return self._marked(result, prepared.run)

    def run_streamed(
        self, agent: Agent[Any], input: Any, options: Mapping[str, Any]
    ) -> "StreamedResult":
        """`Runner.run_streamed`, recorded when the stream ends, is cancelled or is dropped."""
        prepared = self._prepared(agent, input, options)
        run = prepared.run

        def begin() -> RunResultStreaming:
            CURRENT.set(run)
            self._recorder.began(run)
            try:
                return Runner.run_streamed(agent, input, **prepared.options)
            except BaseException as error:
                self._ended(run, error)
                raise

        result = copy_context().run(begin)
        events: Any = result.stream_events

        async def stream_events() -> AsyncIterator[Any]:
            with _naming(run):
                async with aclosing(events()) as stream:
                    async for event in stream:
                        yield event

        vars(result).update(trace_id=run.trace_id, call_id=None, stream_events=stream_events)

        def end(task: asyncio.Task[Any]) -> None:
            self._ended(run, _why(result, task))
            self._marked(result, run)
            if prepared.provider is not None:
                closing = asyncio.ensure_future(prepared.close())
                _closing.add(closing)
                closing.add_done_callback(_closing.discard)

        if result.run_loop_task is not None:
            result.run_loop_task.add_done_callback(end)
        return cast("StreamedResult", result)

    def _prepared(self, agent: Agent[Any], input: Any, options: Mapping[str, Any]) -> Prepared:
        given = dict(options)
        config, mine = _config(given.pop("run_config", None))
        run = self._run(agent, input, given, config)
        model = config.model
        if isinstance(model, Model):
            model = CapturedModel(run, lambda: cast("Model", config.model))
        given["run_config"] = replace(
            config,
            model=model,
            model_provider=CapturingProvider(config.model_provider, run),
            call_model_input_filter=Filter(
                config.call_model_input_filter, run, chosen=config.model is not None
            ),
            trace_id=config.trace_id or run.trace_id,
            group_id=config.group_id or run.session,
        )
        return Prepared(run, given, config.model_provider if mine else None)

    def _run(self, agent: Agent[Any], input: Any, given: dict[str, Any], config: RunConfig) -> Run:
        """The run that is about to begin. Takes out of `given` what is ours and not the SDK's."""
        session = given.get("session")
        if session is None or isinstance(session, str):
            given.pop("session", None)
        else:
            session = session.session_id  # an SDK session goes on to the SDK
        fields: dict[str, Any] = {
            name: given.pop(name)
            for name in ("user", "task_id", "tags", "held_out")
            if name in given
        }
        versions = given.pop("version", None)
        paused = _paused(input)
        if isinstance(fields.get("tags"), Mapping):
            fields["tags"] = dict(fields["tags"])
        if paused and (run := self._recorder.resumed(paused.trace_id)):
            for name, value in (fields | ({"session": session} if session else {})).items():
                setattr(run, name, value)
            return _valid(run)
        trace_id = paused.trace_id if paused else config.trace_id
        if trace_id is None or self._recorder.may_be_on_its_way(trace_id):
            trace_id = gen_trace_id()
        serving = self._serve(
            agent.name,
            unit=fields.get("user") or session or trace_id,
            versions=versions,
            held_out=fields.get("held_out", False),
        )
        fresh = Run(
            trace_id=trace_id,
            agent=agent.name,
            recorder=self._recorder,
            serving=serving,
            workflow=config.workflow_name,
            session=session,
            metadata=dict(config.trace_metadata or {}),
            calls=paused.calls if paused else 0,
            **fields,
        )
        return _valid(fresh)

    @contextmanager
    def _recording(self, run: Run) -> "Iterator[None]":
        token = CURRENT.set(run)
        self._recorder.began(run)
        try:
            with _naming(run):
                yield
        except BaseException as error:
            self._ended(run, error)
            raise
        else:
            self._ended(run, None)
        finally:
            CURRENT.reset(token)

    def _ended(self, run: Run, error: BaseException | None) -> None:
        for model in run.held:
            held.release(model)
        run.held.clear()
        self._recorder.ended(run, error)

    def _marked(self, result: Any, run: Run) -> "Result":
        vars(result).update(trace_id=run.trace_id, call_id=run.last_call)
        if result.interruptions:
            self._recorder.paused(run)
        return cast("Result", result)


def _valid(run: Run) -> Run:
    try:
        run.trace()
    except ValidationError as error:
        raise ConfigError(f"a run cannot be recorded so: {complaint(error)}") from error
    return run


@contextmanager
def _naming(run: Run) -> "Iterator[None]":
    """An error that passes names its trace: who catches it can still say what the run was worth."""
    try:
        yield
    except BaseException as error:
        error.__dict__["trace_id"] = run.trace_id
        raise


_closing: set[asyncio.Future[None]] = set()
"""What is being closed after streams; a task that nobody holds may be collected half-way."""


def _config(given: Any) -> tuple[RunConfig, bool]:
    """The run configuration, and whether its provider was made for this run alone."""
    if given is None:
        return RunConfig(), True
    if isinstance(given, RunConfig):
        return given, False
    if isinstance(given, Mapping):
        try:
            return RunConfig(**given), "model_provider" not in given
        except TypeError as error:
            raise ConfigError(f"run_config: {error}") from error
    raise ConfigError(f"run_config is a RunConfig or a dict, not {type(given).__name__}")


@dataclass(frozen=True, slots=True)
class _Paused:
    """A run that waited for approval."""

    trace_id: str
    calls: int


def _paused(input: Any) -> _Paused | None:
    """The run that `input` goes on with, None when it begins a new one."""
    if not isinstance(input, RunState):
        return None
    try:
        told = input.to_json(context_serializer=lambda _: {})
    except Exception:  # noqa: BLE001 - a state that cannot be written down goes on as a new run
        return None
    trace_id = (told.get("trace") or {}).get("id")
    return _Paused(trace_id, len(told.get("model_responses") or ())) if trace_id else None


def _why(result: RunResultStreaming, task: "asyncio.Task[Any]") -> BaseException | None:
    """Why a streamed run failed, None when it went well."""
    for guardrail in result.input_guardrail_results:
        if guardrail.output.tripwire_triggered:
            return InputGuardrailTripwireTriggered(guardrail)
    if task.cancelled():
        return asyncio.CancelledError("the stream was cancelled")
    if error := task.exception():
        return error
    turns = result.max_turns
    if turns is not None and result.current_turn > turns and result.final_output is None:
        return MaxTurnsExceeded(f"Max turns ({turns}) exceeded")
    return None
