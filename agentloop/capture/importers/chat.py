"""The format `chat`: one conversation a line, as OpenAI chat messages.

`messages` (tool calls included), and, all optional: `id`, `agent`, `tools`,
`parallel_tool_calls`, `task_id`, `user`, `session`, `model`, `started_at`, `outcome`
`{name: value}`, `reference`, `feedback` `[{thumbs | score | correction | comment, by}]`,
`metadata`, `tags`, `consent` (false: never harvested), `capture` (`metadata`: nothing that was said
was kept, and `messages` is empty). What we export says of feedback also its `id`, its `source`
(`person`, `judge`, `rule`), when it was given (`at`), and which of the assistant's messages it is
about (`call`, from 0; without it a correction is about the last, and all else about the whole).
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from agentloop.base.errors import RecordError
from agentloop.base.records import (
    Call,
    Json,
    Judged,
    Message,
    Opinion,
    Outcome,
    Record,
    Score,
    Source,
    Trace,
)
from agentloop.base.records.message import canonical, digest
from agentloop.base.records.record import Time, complaint
from agentloop.capture.importers.reading import EPOCH, Imported, Problem


class _Feedback(Record):
    thumbs: Literal["up", "down"] | None = None
    score: Score | None = None
    correction: str | Json | None = None
    comment: str | None = None
    by: str = "import"
    id: str | None = None
    source: Source = Source.PERSON
    at: Time | None = None
    call: int | None = Field(None, ge=0)


class _Line(Record):
    messages: tuple[Message, ...]
    id: str | None = None
    agent: str | None = None
    tools: tuple[Json, ...] = ()
    parallel_tool_calls: bool | None = None
    task_id: str | None = None
    user: str | None = None
    session: str | None = None
    model: str | None = None
    started_at: Time | None = None
    outcome: dict[str, bool | float | str | None] = {}
    reference: Any = None
    feedback: tuple[_Feedback, ...] = ()
    metadata: Json = {}
    tags: dict[str, str | int | float | bool] = {}
    consent: bool = True
    capture: Literal["full", "metadata"] = "full"

    @model_validator(mode="after")
    def _something_was_said(self) -> "_Line":
        if not self.messages and self.capture == "full":
            raise ValueError("messages is empty, which is so of capture 'metadata' alone")
        return self

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return (
            {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else given
        )

    @field_validator("id", "task_id", "user", "session", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read_chat(file: Path, *, agent: str | None = None) -> Iterator[Imported | Problem]:
    """The traces of a file, one line in memory at a time; a bad line is a `Problem` and stops
    nothing.

    Args:
        agent: the agent of lines that name none; by default the name of the file.

    Raises:
        RecordError: the file cannot be opened.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _imported(line, number, agent or file.stem)
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error


def _imported(line: bytes, number: int, agent: str) -> Imported | Problem:
    try:
        body = json.loads(line)
        content = digest(canonical(body))
    except (ValueError, RecursionError) as error:
        return Problem(number, f"no JSON: {error}")
    if not isinstance(body, dict):
        return Problem(number, "a line is a JSON object with 'messages'")
    try:
        given = _Line.model_validate(body)
        trace = _trace(given, given.id or f"import_{content}", agent)
    except ValidationError as error:
        return Problem(number, complaint(error))
    try:
        opinions = tuple(_opinions(given, trace))
    except (ValidationError, IndexError) as error:
        why = complaint(error) if isinstance(error, ValidationError) else str(error)
        return Problem(number, f"feedback: {why}")
    return Imported(number, trace, opinions, tuple(_outcomes(given, trace)), content=content)


def _trace(given: _Line, id: str, agent: str) -> Trace:
    name = given.agent or agent
    began = given.started_at or EPOCH
    last = max((n for n, m in enumerate(given.messages) if m.role == "assistant"), default=-1)
    calls = tuple(_calls(given, id, name, began))
    return Trace(
        id=id,
        agent=name,
        user=given.user,
        session=given.session,
        task_id=given.task_id,
        tags=given.tags,
        metadata=given.metadata,
        capture=given.capture,
        consent=given.consent,
        source="chat",
        started_at=began,
        ended_at=began,
        calls=calls,
        tail=given.messages[last + 1 :],
    )


def _calls(given: _Line, id: str, agent: str, began: datetime) -> Iterator[Call]:
    """Each assistant message is what a call said; all before it is what the call saw."""
    parallel = given.parallel_tool_calls
    said = [n for n, message in enumerate(given.messages) if message.role == "assistant"]
    for index, position in enumerate(said):
        yield Call(
            id=f"{id}/{index}",
            trace_id=id,
            index=index,
            agent=agent,
            context=given.messages[:position],
            output=given.messages[position],
            tools=given.tools,
            settings={} if parallel is None else {"parallel_tool_calls": parallel},
            model=given.model,
            started_at=began,
            ended_at=began,
        )


def _outcomes(given: _Line, trace: Trace) -> Iterator[Outcome]:
    named = given.outcome
    if given.reference is not None and not named:
        named = {"reference": None}  # what would have been right is known, what happened is not
    for name, value in named.items():
        yield Outcome(
            trace_id=trace.id,
            name=name,
            value=value,
            reference=given.reference,
            recorded_at=trace.started_at,
        )


def _opinions(given: _Line, trace: Trace) -> Iterator[Opinion]:
    for n, said in enumerate(given.feedback):
        about = said.call
        if about is None and said.correction is not None and trace.calls:
            about = len(trace.calls) - 1
        if about is not None and about >= len(trace.calls):
            raise IndexError(f"{n}.call: there are {len(trace.calls)} messages of the assistant")
        correction = said.correction
        if isinstance(correction, str):
            correction = {"role": "assistant", "content": correction}
        yield Opinion(
            id=said.id or f"{trace.id}/opinion-{n}",
            trace_id=trace.id,
            call_id=None if about is None else trace.calls[about].id,
            source=said.source,
            author=said.by,
            score={"up": 1.0, "down": 0.0}.get(said.thumbs or "", said.score),
            comment=said.comment,
            correction=Message.model_validate(correction) if correction is not None else None,
            given_at=said.at or trace.started_at,
        )


# ---------------------------------------------------------------------- out


def to_chat(judged: Judged, *, agents: Sequence[str] | None = None) -> Iterator[Json]:
    """Lines of this format: one for each path that an agent went in a trace, with what was said of
    it; one for a trace in which no agent said anything."""
    trace = judged.trace
    leaves = trace.leaves
    for call in leaves:
        if agents is None or call.agent in agents:
            last = call is leaves[-1]
            yield _line(judged, call, (*call.path, *(trace.tail if last else ())), last=last)
    kept = trace.tail or trace.capture == "metadata"
    if not leaves and (agents is None or trace.agent in agents) and kept:
        yield _line(judged, None, trace.tail, last=True)


def _line(judged: Judged, call: Call | None, said: Sequence[Message], *, last: bool) -> Json:
    trace = judged.trace
    outcomes = judged.outcomes
    values = {o.name: o.value for o in outcomes if o.value is not None or o.name != "reference"}
    body: Json = {
        "id": trace.id if last or call is None else call.id,
        "agent": call.agent if call else trace.agent,
        "messages": [message.to_dict() for message in said],
        "tools": list(call.tools) if call else None,
        "parallel_tool_calls": call.settings.get("parallel_tool_calls") if call else None,
        "task_id": trace.task_id,
        "user": trace.user,
        "session": trace.session,
        "model": (call.served_model or call.model) if call else None,
        "started_at": trace.started_at.isoformat(),
        "outcome": values,
        "reference": next((o.reference for o in outcomes if o.reference is not None), None),
        "feedback": list(_said(judged, call, last=last)),
        "metadata": trace.metadata,
        "tags": trace.tags,
        "consent": None if trace.consent else False,
        "capture": None if trace.capture == "full" else trace.capture,
    }
    return {
        name: value
        for name, value in body.items()
        if value not in (None, {}, []) or name == "messages"
    }


def _said(judged: Judged, call: Call | None, *, last: bool) -> Iterator[Json]:
    """The feedback on the path that ends with `call`, and on the trace as a whole."""
    places = _places(judged.trace, call) if call else {}
    for opinion in judged.opinions:
        if opinion.call_id is not None and opinion.call_id not in places:
            continue
        correction = opinion.correction
        said: Json = {
            "by": opinion.author,
            "id": opinion.id if last else None,  # two traces cannot have one opinion
            "source": None if opinion.source is Source.PERSON else opinion.source.value,
            "at": opinion.given_at.isoformat(),
            "call": places.get(opinion.call_id or ""),
            "score": opinion.score,
            "correction": correction.to_dict() if correction is not None else None,
            "comment": opinion.comment,
        }
        yield {name: value for name, value in said.items() if value is not None}


def _places(trace: Trace, leaf: Call) -> dict[str, int]:
    """Which of the assistant's messages on the path of `leaf` each call of the trace said."""
    roles = [message.role for message in leaf.path]
    return {
        call.id: roles[: len(call.context)].count("assistant")
        for call in trace.calls
        if call.output is not None and (call is leaf or leaf.carries(call.path))
    }
