"""What happened: one run of an agent, its model calls, and the steps around them."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from agentloop.base.records.message import Message
from agentloop.base.records.record import Json, Record, Time

Api = Literal["chat", "responses"]
"""Which of OpenAI's two inference APIs a model is called through."""


class Usage(Record):
    """Tokens of one model call, as the server counted them; 0 where it did not say."""

    input_tokens: int = 0
    cached_tokens: int = 0
    """Part of `input_tokens` that was served from a prompt cache."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    """Part of `output_tokens` that was thought and not shown."""

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Call(Record):
    """One model call: exactly what was asked, and exactly what came back."""

    id: str
    trace_id: str
    index: int
    """Its place among the calls of the trace, from 0."""
    agent: str
    """The agent that asked; after a handoff not the one the trace began with."""
    context: tuple[Message, ...]
    """All that the model saw, system prompt first."""
    output: Message | None = None
    """What the model said; None when the call failed."""
    aside: tuple[Json, ...] | None = None
    """What the model did beside what it said, as the server told it: reasoning, and calls of hosted
    tools. No part of a message, and of no row."""
    tools: tuple[Json, ...] = ()
    """Schemas of all tools and handoffs that were offered, used or not."""
    response_format: Json | None = None
    settings: Json = Field(default_factory=dict)
    """Sampling settings that were set, under their names on the wire."""
    model: str | None = None
    """The model that was asked for."""
    served_model: str | None = None
    """The model that the server says answered."""
    version: str | None = None
    """The version that served, when an alias or a trial chose it."""
    api: Api | None = None
    streamed: bool = False
    usage: Usage = Usage()
    finish_reason: str | None = None
    response_id: str | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    error: str | None = None
    """Why the call failed: class and message."""
    incomplete: str | None = None
    """Why `context` or `output` is not all that the model saw or said; such a call makes no row."""

    @property
    def path(self) -> tuple[Message, ...]:
        """All that the model saw, and what it said."""
        return (*self.context, *((self.output,) if self.output is not None else ()))

    def carries(self, path: tuple[Message, ...]) -> bool:
        """Whether the model saw all of `path` first."""
        return len(path) <= len(self.context) and self.context[: len(path)] == path


class SpanKind(StrEnum):
    """What a step was."""

    AGENT = "agent"
    CALL = "call"
    TOOL = "tool"
    HANDOFF = "handoff"
    GUARDRAIL = "guardrail"
    OTHER = "other"


class Span(Record):
    """One step of a run, with its place in the tree of steps."""

    id: str
    trace_id: str
    parent_id: str | None = None
    kind: SpanKind
    name: str
    started_at: Time | None = None
    ended_at: Time | None = None
    data: Json = Field(default_factory=dict)
    """What the step says of itself: a tool's input and output, a guardrail's verdict, …"""
    error: Json | None = None


class Trace(Record):
    """One run of an agent, from the request to the answer or the error."""

    id: str
    agent: str
    """The agent that the run began with."""
    workflow: str | None = None
    user: str | None = None
    session: str | None = None
    """The conversation that the run belongs to, when the application has a name for it."""
    task_id: str | None = None
    """The task that was tried, when several runs try the same. It makes no two runs comparable by
    itself: a shared context does."""
    tags: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Free labels, to be asked for as `tag.NAME`."""
    metadata: Json = Field(default_factory=dict)
    held_out: bool = False
    """A run to measure with; it is never harvested."""
    capture: Literal["full", "metadata"] = "full"
    """`metadata`: times, tokens, models, names and kinds of steps, and nothing that was said."""
    consent: bool = True
    """Whether it may be learned from; otherwise it is kept for operations, and never harvested."""
    version: str | None = None
    """The version that served the agent that the run began with."""
    trial: str | None = None
    arm: str | None = None
    """The side of the trial that the run was assigned to."""
    source: str = "sdk"
    """`sdk`, or the format that the trace was imported from."""
    started_at: Time
    ended_at: Time | None = None
    error: str | None = None
    calls: tuple[Call, ...] = ()
    spans: tuple[Span, ...] = ()
    tail: tuple[Message, ...] = ()
    """Messages after the last call's output: an imported trajectory may end in a user or tool
    message. Kept whole here, trimmed at harvest."""

    @property
    def unit(self) -> str:
        """What a split must not tear apart: the user, else the session, the task, the run."""
        return self.user or self.session or self.task_id or self.id

    @property
    def spoken_in(self) -> str:
        """Which conversation the run is of: the session, else it is one of its own."""
        return self.session or self.id

    @property
    def assigned_by(self) -> str:
        """What a trial assigns: the user, else the session, else this run."""
        return self.user or self.session or self.id

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The last call's context and output, and the tail: the run as one conversation."""
        if not self.calls:
            return self.tail
        return (*self.calls[-1].path, *self.tail)

    @property
    def leaves(self) -> tuple[Call, ...]:
        """The calls whose path no later call of the same agent carries: together they hold all
        that was said, each thing once."""
        return tuple(
            call
            for n, call in enumerate(self.calls)
            if not any(
                later.agent == call.agent and later.carries(call.path)
                for later in self.calls[n + 1 :]
            )
        )

    @property
    def answer(self) -> str | None:
        """The text of the last call's output, None when nothing was said."""
        outputs = [call.output for call in self.calls if call.output is not None]
        return outputs[-1].text if outputs else None

    @property
    def usage(self) -> Usage:
        """The tokens of all calls together."""
        fields: dict[str, Any] = {
            name: sum(getattr(call.usage, name) for call in self.calls)
            for name in Usage.model_fields
        }
        return Usage(**fields)
