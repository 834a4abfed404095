"""The runner: the SDK's `Runner`, with everything captured and the right version answering."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args

from agents import (
    Agent,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    ModelProvider,
    RunConfig,
    Runner,
    RunResult,
    RunResultStreaming,
    add_trace_processor,
)
from agents.tracing import gen_trace_id, get_current_trace
from pydantic import ValidationError

from agentloop.base.errors import ConfigError
from agentloop.base.records.record import complaint
from agentloop.base.store import Serving
from agentloop.capture import held, plain
from agentloop.capture.pausing import noted, paused
from agentloop.capture.processor import SpanProcessor
from agentloop.capture.provider import CapturingProvider, capturing
from agentloop.capture.recorder import CURRENT, Capture, Recorder, Run
from agentloop.capture.spans import QUICK

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
    part: bool = False
    """Whether it is part of a run that is being recorded, and so none of its own."""

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
    """Runs agents as the SDK's `Runner` does. Neither agent nor run configuration is changed.

    Args:
        settle: returns when what happened so far is stored; called before a run is over. None:
            nobody waits for that.
    """

    def __init__(
        self, recorder: Recorder, serve: Serve, settle: Callable[[], None] | None = None
    ) -> None:
        self._recorder = recorder
        self._serve = serve
        self._settle = settle
        add_trace_processor(SpanProcessor(recorder))

    def captured(self, config: Any) -> bool:
        """Whether a run with this configuration would be part of one that goes on, without
        anybody's doing."""
        run = CURRENT.get()
        return (
            run is not None
            and not run.over
            and isinstance(config, RunConfig)
            and isinstance(config.model_provider, CapturingProvider)
        )

    async def run(self, agent: Agent[Any], input: Any, options: Mapping[str, Any]) -> "Result":
        """`Runner.run`, recorded. `options` are its keyword arguments and those of `_run`."""
        prepared = self._prepared(agent, input, options)
        return await self.run_prepared(Runner.run, agent, input, prepared)

    async def run_prepared(
        self, theirs: Callable[..., Any], agent: Agent[Any], input: Any, prepared: Prepared
    ) -> "Result":
        """A run that `theirs`, the SDK's `Runner.run` or what stands for it, does, recorded."""
        try:
            with self._recording(prepared):
                result = await theirs(agent, input, **prepared.options)
        finally:
            await prepared.close()
            if self._settle is not None and not prepared.part:
                await asyncio.to_thread(self._settle)
        return self._marked(result, prepared)

    def run_sync(self, agent: Agent[Any], input: Any, options: Mapping[str, Any]) -> "Result":
        """`Runner.run_sync`, recorded."""
        prepared = self._prepared(agent, input, options)
        return self.run_prepared_sync(Runner.run_sync, agent, input, prepared)

    def run_prepared_sync(
        self, theirs: Callable[..., Any], agent: Agent[Any], input: Any, prepared: Prepared
    ) -> "Result":
        """See `run_prepared`."""
        try:
            with self._recording(prepared):
                result = theirs(agent, input, **prepared.options)
        finally:
            prepared.close_sync()
            if self._settle is not None and not prepared.part:
                self._settle()
        return self._marked(result, prepared)

    def run_streamed(
        self, agent: Agent[Any], input: Any, options: Mapping[str, Any]
    ) -> "StreamedResult":
        """`Runner.run_streamed`, recorded when the stream ends, is cancelled or is dropped."""
        prepared = self._prepared(agent, input, options)
        return self.run_prepared_streamed(Runner.run_streamed, agent, input, prepared)

    def run_prepared_streamed(
        self, theirs: Callable[..., Any], agent: Agent[Any], input: Any, prepared: Prepared
    ) -> "StreamedResult":
        """See `run_prepared`."""
        run = prepared.run

        def begin() -> Any:
            CURRENT.set(run)
            if not prepared.part:
                self._began(run)
            try:
                return theirs(agent, input, **prepared.options)
            except BaseException as error:
                if not prepared.part:
                    self._ended(run, error)
                raise

        result = copy_context().run(begin)
        events: Any = result.stream_events
        ended = asyncio.Event()

        async def stream_events() -> AsyncIterator[Any]:
            with _naming(run):
                try:
                    async with aclosing(events()) as stream:
                        async for event in stream:
                            yield event
                except Exception:
                    await settled()
                    raise
                await settled()

        async def settled() -> None:
            """Whoever has read a stream to its end finds its trace in the store, where that was
            promised."""
            if self._settle is not None and not prepared.part and result.run_loop_task is not None:
                await ended.wait()
                await asyncio.to_thread(self._settle)

        vars(result).update(trace_id=run.trace_id, call_id=None, stream_events=stream_events)

        def end(task: asyncio.Task[Any]) -> None:
            if not prepared.part:
                self._ended(run, _why(result, task))
            self._marked(result, prepared)
            if prepared.provider is not None:
                closing = asyncio.ensure_future(prepared.close())
                _closing.add(closing)
                closing.add_done_callback(_closing.discard)
            ended.set()

        if result.run_loop_task is not None:
            result.run_loop_task.add_done_callback(end)
        return cast("StreamedResult", result)

    def prepared_plain(
        self,
        agent: Agent[Any],
        input: Any,
        options: Mapping[str, Any],
        defaults: Mapping[str, Any] | None,
    ) -> Prepared | None:
        """A run of somebody who asks the SDK's `Runner`. None when it is recorded without our
        doing (it is one that we have prepared, or an agent that is a tool in one), or not to be.

        Args:
            defaults: what it would say of itself if it knew of us; None: it is recorded as part
                of another run, or not.
        """
        outer = CURRENT.get()
        if outer is not None and outer.over:
            outer = None
        if outer is None and defaults is None:
            return None
        config, mine = _config(options.get("run_config"))
        if outer is not None:
            if isinstance(config.model_provider, CapturingProvider):
                return None
            given = {**options, "run_config": capturing(config, outer)}
            return Prepared(outer, given, config.model_provider if mine else None, part=True)
        group = config.group_id or getattr(get_current_trace(), "group_id", None)
        session = options.get("session") or group
        said = {**options, **(defaults or {}), "session": session}
        return self._prepared(agent, input, said, plain=True)

    def _prepared(
        self, agent: Agent[Any], input: Any, options: Mapping[str, Any], *, plain: bool = False
    ) -> Prepared:
        given = dict(options)
        config, mine = _config(given.pop("run_config", None))
        run = self._run(agent, input, given, config)
        # Of a plain run the group stays as it is: the SDK derives from it what is sent.
        group = config.group_id if plain else config.group_id or run.session
        given["run_config"] = capturing(
            config,
            run,
            trace_id=config.trace_id or run.trace_id,
            group_id=group,
            trace_metadata=noted(run) or config.trace_metadata,
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
            for name in ("user", "task_id", "tags", "held_out", "capture", "consent")
            if name in given
        }
        versions = given.pop("version", None)
        waited = paused(input)
        if isinstance(fields.get("tags"), Mapping):
            fields["tags"] = dict(fields["tags"])
        if waited:
            fields |= waited.stricter(fields)
        if waited and (run := self._recorder.resumed(waited.trace_id)):
            for name, value in (fields | ({"session": session} if session else {})).items():
                setattr(run, name, value)
            run.over = False
            return _valid(run)
        trace_id = waited.trace_id if waited else config.trace_id
        if trace_id is None or self._recorder.may_be_on_its_way(trace_id):
            trace_id = gen_trace_id()
        serving = self._serve(
            agent.name,
            unit=fields.get("user") or session or trace_id,
            versions=versions,
            held_out=fields.get("held_out", False),
        )
        metadata = dict(config.trace_metadata or {})
        if waited:
            metadata = metadata or waited.metadata
        fresh = Run(
            trace_id=trace_id,
            agent=agent.name,
            recorder=self._recorder,
            serving=serving,
            workflow=config.workflow_name,
            session=session,
            metadata=metadata,
            calls=max(waited.calls, self._recorder.calls_of(trace_id)) if waited else 0,
            **fields,
        )
        return _valid(fresh)

    @contextmanager
    def _recording(self, prepared: Prepared) -> "Iterator[None]":
        run = prepared.run
        if prepared.part:
            yield
            return
        token = CURRENT.set(run)
        self._began(run)
        try:
            yield
        except BaseException as error:
            error.__dict__["trace_id"] = run.trace_id  # see `_naming`
            self._ended(run, error)
            raise
        else:
            self._ended(run, None)
        finally:
            CURRENT.reset(token)

    def _began(self, run: Run) -> None:
        plain.hold(self)
        run.quickened = QUICK.hold()
        self._recorder.began(run)

    def _ended(self, run: Run, error: BaseException | None) -> None:
        plain.release(self)
        QUICK.release(run.quickened)
        run.quickened = None
        for model in run.held:
            held.release(model)
        run.held.clear()
        run.over = True
        self._recorder.ended(run, error)

    def _marked(self, result: Any, prepared: Prepared) -> "Result":
        run = prepared.run
        vars(result).update(trace_id=run.trace_id, call_id=run.last_call)
        if result.interruptions and not prepared.part:
            self._recorder.paused(run)
        return cast("Result", result)


def _valid(run: Run) -> Run:
    if run.capture not in get_args(Capture):
        known = ", ".join(get_args(Capture))
        raise ConfigError(f"capture is one of {known}, not {run.capture!r}")
    if not isinstance(run.consent, bool):
        raise ConfigError(f"consent is True or False, not {run.consent!r}")
    try:
        run.beginning = run.trace()
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
