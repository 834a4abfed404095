"""The recorder: what happens in a run becomes records, off the caller's thread."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from agents import FunctionTool, Handoff, Model, ModelSettings, Tool
from agents.agent_output import AgentOutputSchemaBase

from agentloop.base.errors import StoreError
from agentloop.base.records import Api, Call, Json, Span, SpanKind, Trace, Usage, Version, now
from agentloop.base.records.media import named
from agentloop.base.store import Serving, Store, Work
from agentloop.capture import items, weight
from agentloop.capture.conversations import Conversations, Kept
from agentloop.capture.parcels import Parcels, Sink

if TYPE_CHECKING:
    from agents.tracing import Span as SdkSpan


Capture = Literal["full", "metadata", "off"]
"""How much of a run is recorded: all; that it was and how it went, and nothing that was said; or
nothing."""


@dataclass(slots=True)
class Run:
    """One run while it goes on: who asked, and which versions answer."""

    trace_id: str
    agent: str
    recorder: "Recorder"
    serving: Serving
    workflow: str | None = None
    user: str | None = None
    session: str | None = None
    task_id: str | None = None
    tags: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    held_out: bool = False
    capture: Capture = "full"
    consent: bool = True
    started_at: datetime = field(default_factory=now)
    calls: int = 0
    """Model calls so far."""
    beginning: Trace | None = None
    """The run as a record, until that is handed over."""
    held: list[Model] = field(default_factory=list)
    """Models of agents' own that are listened to while the run goes on."""
    weighed: int = 0
    """Items of the latest call's input, which need not be weighed again."""
    quickened: Any = None
    """What makes quick spans while the run goes on."""
    failures: dict[str, str] = field(default_factory=dict)
    """Step -> the exception that a tool raised in it, until the step is over."""
    over: bool = False
    """Whether it has ended. Code that it began (a task) may go on, and is no part of it."""
    _versions: dict[str, Version | None] = field(default_factory=dict)

    def version(self, agent: str) -> Version | None:
        """The version that serves `agent`: asked for once, then the same to the end of the run."""
        if agent not in self._versions:
            self._versions[agent] = self.serving.resolve(agent)
        return self._versions[agent]

    def next_call(self) -> int:
        """The index of a call that is about to be made, from 0."""
        self.calls += 1
        return self.calls - 1

    @property
    def last_call(self) -> str | None:
        """The id of the latest call, None before the first."""
        return call_id(self.trace_id, self.calls - 1) if self.calls else None

    def trace(self, *, ended_at: datetime | None = None, error: str | None = None) -> Trace:
        """The run as a record; calls and spans are recorded on their own."""
        version = self.version(self.agent)
        return Trace(
            id=self.trace_id,
            agent=self.agent,
            workflow=self.workflow,
            user=self.user,
            session=self.session,
            task_id=self.task_id,
            tags=dict(self.tags),
            metadata=dict(self.metadata),
            held_out=self.held_out,
            capture="metadata" if self.capture == "metadata" else "full",
            consent=self.consent,
            version=version.id if version else None,
            trial=self.serving.trial,
            arm=self.serving.arm,
            started_at=self.started_at,
            ended_at=ended_at,
            error=error,
        )


def call_id(trace_id: str, index: int) -> str:
    """The id of a run's call of that index."""
    return f"{trace_id}/{index}"


CURRENT: ContextVar[Run | None] = ContextVar("agentloop_run", default=None)
"""The run that the present code is part of."""

ASKING: ContextVar[str | None] = ContextVar("agentloop_agent", default=None)
"""The agent whose model is about to be called."""


ANSWERING: ContextVar["Answered | None"] = ContextVar("agentloop_answer", default=None)
"""What comes back of the call that the present code makes."""


@dataclass(slots=True)
class Asked:
    """A model call on its way: everything the model is sent."""

    run: Run
    index: int
    agent: str
    system: str | None
    input: items.Items
    settings: ModelSettings
    tools: list[Tool]
    handoffs: list[Handoff[Any, Any]]
    schema: AgentOutputSchemaBase | None
    model: str | None
    version: Version | None
    api: Api | None
    streamed: bool
    kept: tuple[Kept, str] | None
    """The conversation on the server that the input goes on with."""
    incomplete: tuple[str, ...]
    started_at: datetime


@dataclass(slots=True)
class Answered:
    """What came back of a model call."""

    output: list[Any]
    done: list[Any] = field(default_factory=list)
    """Items of a stream that has not ended."""
    usage: Any = None
    response_id: str | None = None
    served_model: str | None = None
    finish_reason: str | None = None
    error: str | None = None
    incomplete: str | None = None


RECENT = 50_000
"""Traces that may still be on their way to the store, at most."""

PAUSED = 1_000
"""Runs that wait for somebody's approval, at most: of more, the oldest go on as new runs."""


Overhear = Callable[[Work], Work]
"""Makes of work one that somebody listens to."""


class Recorder:
    """Hands records of runs to a `Writer`. Each method returns at once; what takes time (turning
    items into messages, hashing, storing) happens in the writer's thread."""

    def __init__(self, writer: Sink, store: Store, overhear: Overhear | None = None) -> None:
        self._parcels = Parcels(writer)
        self._overhear = overhear
        self._store = store
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._paused: OrderedDict[str, Run] = OrderedDict()
        self._conversations = Conversations(store.call_of_response)

    def began(self, run: Run) -> None:
        """A run has begun. It is the first to be stored, so that all else finds its trace."""
        if run.capture == "off":
            return
        self._recent[run.trace_id] = None
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        self._hand(run.beginning or run.trace())
        run.beginning = None

    def may_be_on_its_way(self, trace_id: str) -> bool:
        """Whether a trace is of this process and so young that it may not be stored yet."""
        return trace_id in self._recent

    def paused(self, run: Run) -> None:
        """A run waits for approval, and may go on later."""
        self._paused[run.trace_id] = run
        if len(self._paused) > PAUSED:
            self._paused.popitem(last=False)

    def resumed(self, trace_id: str) -> Run | None:
        """The run that paused under this id, None when it was in another process."""
        return self._paused.get(trace_id)

    def calls_of(self, trace_id: str) -> int:
        """How many calls a run made before it paused, as far as they are stored: a state tells
        neither of those that failed nor of those of agents that are tools."""
        try:
            return self._store.calls_of(trace_id)
        except StoreError:  # a run of others never fails because of us
            return 0

    def ended(self, run: Run, error: BaseException | None) -> None:
        """A run is over, well or with `error`."""
        if run.capture == "off":
            return
        said = described(error) if error is not None else None
        if error is not None and run.capture == "metadata":
            said = type(error).__name__
        at = now()
        self._hand(lambda: [run.trace(ended_at=at, error=said)])

    def called(self, asked: Asked, answered: Answered) -> None:
        """A model call is over."""
        at = now()
        if asked.run.capture == "full":
            run = asked.run
            heavy = weight.of_call(asked.system, asked.input, run.weighed)
            run.weighed = len(asked.input)
            self._hand(partial(_call, asked, answered, at, self._conversations), heavy)
        elif asked.run.capture == "metadata":
            self._hand(lambda: [_facts(asked, answered, at, error=_kind(answered.error))])

    def stepped(self, run: Run, span: "SdkSpan[Any]") -> None:
        """A step of a run is over."""
        data = span.span_data
        if data.type == "response" and (answered := ANSWERING.get()) is not None:
            response = getattr(data, "response", None)
            if response is not None:  # a span alone is told it, where nobody streams
                answered.served_model = response.model
        failure = run.failures.pop(span.span_id, None) if run.failures else None
        if run.capture != "off":
            self._hand(partial(_span, run, span, failure), weight.of_step(data))

    def _hand(self, work: Work, weight: int = weight.LIGHT) -> None:
        self._parcels.add(work if self._overhear is None else self._overhear(work), weight)


def described(error: BaseException) -> str:
    """An error in one line: class and message."""
    return f"{type(error).__name__}: {error}".strip().rstrip(":")


CUT = ("length", "max_output_tokens", "content_filter", "incomplete")
"""The finish reasons of answers that stop before their end."""

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""The settings that bound how many tokens a model may write."""


def _call(
    asked: Asked, answered: Answered, ended_at: datetime, conversations: Conversations
) -> Iterator[Call]:
    before = conversations.before(asked.kept, asked.system)
    lost = [*before.lost, *asked.incomplete]

    def kept(make: Callable[[], Any], otherwise: Any, what: str) -> Any:
        """What could be made; a call is recorded though a part of it cannot be."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said on the record
            lost.append(f"{what} could not be kept: {described(error)}")
            return otherwise

    nothing = items.Said((), ())
    chat = asked.api == "chat"
    seen = kept(
        lambda: items.messages(asked.input, asked.system, chat=chat), nothing, "the context"
    )
    said = kept(lambda: items.answer(answered.output), nothing, "the answer")
    aside = kept(lambda: items.aside(answered.output), (), "what was done aside")
    tools = kept(lambda: items.tool_schemas(asked.tools, asked.handoffs), (), "the tools")
    schema = kept(lambda: items.response_format(asked.schema), None, "the response format")
    settings = kept(lambda: items.settings(asked.settings), {}, "the settings")
    lost += [*seen.missing, *said.missing]
    system = 1 if asked.system else 0
    context = (*seen.messages[:system], *before.said, *seen.messages[system:])
    if answered.incomplete:
        lost.append(answered.incomplete)
    for tool in asked.tools:
        if not isinstance(tool, FunctionTool):
            lost.append(f"the hosted tool {tool.name!r} has no Chat Completions form")
    usage = kept(lambda: _usage(answered.usage), Usage(), "the usage")
    finish_reason = answered.finish_reason or _at_the_limit(settings, usage)
    if finish_reason in CUT:
        lost.append(f"the answer was cut off: {finish_reason}")
    call = _facts(
        asked,
        answered,
        ended_at,
        context=context,
        output=said.messages[0] if said.messages else None,
        aside=aside or None,
        tools=tools,
        response_format=schema,
        settings=settings,
        usage=usage,
        finish_reason=finish_reason,
        error=answered.error,
        incomplete="; ".join(dict.fromkeys(lost)) or None,
    )
    if asked.api != "chat":
        conversations.heard(call, call.path[system:], asked.kept, consent=asked.run.consent)
    yield call


NOT_KEPT = "nothing that was said was kept; run with capture='full' to learn from it"
"""Why a call of which metadata alone is recorded is no example."""


def _facts(asked: Asked, answered: Answered, ended_at: datetime, **more: Any) -> Call:
    """The call with what says nothing of its content, and `more`."""
    fields: dict[str, Any] = {
        "context": (),
        "usage": _usage(answered.usage),
        "finish_reason": answered.finish_reason,
        "incomplete": NOT_KEPT,
        **more,
    }
    return Call(
        id=call_id(asked.run.trace_id, asked.index),
        trace_id=asked.run.trace_id,
        index=asked.index,
        agent=asked.agent,
        model=asked.model,
        served_model=answered.served_model,
        version=asked.version.id if asked.version else None,
        api=asked.api,
        streamed=asked.streamed,
        response_id=answered.response_id or told_id(answered.output),
        started_at=asked.started_at,
        ended_at=ended_at,
        **fields,
    )


def told_id(output: Iterable[Any]) -> str | None:
    """The id of a response that a Chat Completions model notes on the items that it makes."""
    for item in output:
        data = getattr(item, "provider_data", None)
        if isinstance(data, Mapping) and data.get("response_id"):
            return str(data["response_id"])
    return None


def _kind(error: str | None) -> str | None:
    """What kind of error one was, without what it says."""
    return error.split(":")[0] if error else None


def _usage(told: Any) -> Usage:
    """The tokens, whichever of its objects the SDK tells them by; 0 where it does not."""
    if told is None:
        return Usage()
    read, written = told.input_tokens_details, told.output_tokens_details
    return Usage(
        input_tokens=told.input_tokens or 0,
        cached_tokens=(read and read.cached_tokens) or 0,
        output_tokens=told.output_tokens or 0,
        reasoning_tokens=(written and written.reasoning_tokens) or 0,
    )


def _at_the_limit(settings: Json, usage: Usage) -> str | None:
    """`length` where an answer has all the tokens that it might have: the SDK does not pass on why
    a chat completion stopped, and this much can be told without."""
    limits = [settings[name] for name in LIMITS if isinstance(settings.get(name), int)]
    return "length" if any(0 < limit <= usage.output_tokens for limit in limits) else None


KINDS = {
    "agent": SpanKind.AGENT,
    "generation": SpanKind.CALL,
    "response": SpanKind.CALL,
    "function": SpanKind.TOOL,
    "handoff": SpanKind.HANDOFF,
    "guardrail": SpanKind.GUARDRAIL,
}
"""The SDK's word for a step, and ours."""


def _span(run: Run, span: "SdkSpan[Any]", failure: str | None) -> Iterator[Span]:
    data = span.span_data
    kind = KINDS.get(data.type, SpanKind.OTHER)
    # What a model saw and said is on its call; here it would be a second copy.
    exported = {} if kind is SpanKind.CALL else data.export()
    bare = run.capture == "metadata"
    error: Json | None = dict(span.error) if span.error else None
    if failure is not None:
        error = {**(error or {"message": "Error running tool"}), "exception": failure}
    name = getattr(data, "name", None) or exported.get("to_agent") or data.type
    yield Span(
        id=span.span_id,
        trace_id=run.trace_id,
        parent_id=span.parent_id,
        kind=kind,
        name=str(name),
        started_at=_moment(span.started_at),
        ended_at=_moment(span.ended_at),
        data={} if bare else _told(exported),
        error=NO_WORDS if bare and error else error,
    )


NO_WORDS: Json = {"message": "there was an error; its words were not kept"}


def _told(exported: Mapping[str, Any]) -> Json:
    """What a step says of itself."""
    said = {k: v for k, v in exported.items() if v is not None and k not in ("type", "name")}
    told: Json = named(said)  # a medium is on the call whose context it is in
    return told


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
