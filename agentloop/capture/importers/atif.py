"""The format `atif`: trajectories in the Agent Trajectory Interchange Format, versions 1.x.

One trajectory is a JSON object with `steps`; each step of the agent is a model call that heard all
steps before it. Steps that were copied from another trajectory, or that no model took part in
(`llm_call_count` 0), are heard and are no calls. Where the context was summed up on the way, what
the model heard after that is not told, and such calls make no row. The trajectories of subagents,
embedded or beside, are traces of their own.

Source: harbor-framework/harbor, docs/rfcs/0001-trajectory-format.md.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentloop.base.records import Json, Message, Span, SpanKind
from agentloop.base.records.message import canonical, digest
from agentloop.base.records.trace import Usage
from agentloop.capture.importers.dialects import Talk
from agentloop.capture.importers.reading import (
    UNREADABLE,
    Imported,
    Problem,
    pieces,
    unreadable,
)
from agentloop.capture.importers.runs import About, Asked, Step, moment, run
from agentloop.capture.importers.turns import Heard, schemas

SUMMED_UP = "the context was summed up on the way; what the model heard after that is not told"
"""Why the calls after a compaction are incomplete."""


def read_atif(file: Path, *, agent: str | None = None) -> Iterator[Imported | Problem]:
    """The trajectories of a file, one JSON value in memory at a time.

    Args:
        agent: the agent of trajectories that name none; by default the name of the file.

    Raises:
        RecordError: the file cannot be read.
    """
    for piece in pieces(file):
        if isinstance(piece, Problem):
            yield piece
            continue
        found = list(_trajectories(piece.value))
        for body, parent in found:
            yield _run(piece.line, body, parent, agent or file.stem)
        if not found:
            yield Problem(piece.line, "no trajectory with steps in it")


def is_atif(value: Any) -> bool:
    """Whether a JSON value holds a trajectory of this format."""
    return any(
        str(body.get("schema_version", "")).startswith("ATIF") for body, _ in _trajectories(value)
    )


def _trajectories(value: Any) -> Iterator[tuple[Json, str | None]]:
    """The trajectories in a value, and the id of the one that each is embedded in."""
    ahead: list[tuple[Any, str | None]] = [(value, None)]
    while ahead:
        given, parent = ahead.pop()
        if isinstance(given, list):
            ahead += [(inner, parent) for inner in reversed(given)]
        elif isinstance(given, dict) and isinstance(given.get("steps"), list):
            yield given, parent
            ahead.append((given.get("subagent_trajectories"), _id(given, parent)))
        elif isinstance(given, dict) and parent is None:
            ahead += [(inner, None) for inner in reversed(given.values())]


def _id(body: Json, parent: str | None) -> str:
    """A session is one of all; a trajectory only inside of its session."""
    own = body.get("session_id") if parent is None else body.get("trajectory_id")
    own = own or body.get("trajectory_id") or f"import_{digest(canonical(body))}"
    return f"{parent}/{own}" if parent else str(own)


def _run(line: int, body: Json, parent: str | None, agent: str) -> Imported | Problem:
    id = _id(body, parent)
    try:
        told = body.get("agent")
        by: Json = told if isinstance(told, dict) else {}
        metadata = {
            name: body[name]
            for name in ("schema_version", "notes", "continued_trajectory_ref", "extra")
            if body.get(name)
        }
        metadata |= {"agent_version": by["version"]} if by.get("version") else {}
        metadata |= {"parent": parent} if parent else {}
        about = About(
            source="atif",
            agent=str(by.get("name") or agent),
            session=str(body["session_id"]) if body.get("session_id") else None,
            metadata=metadata,
            tools=tuple(schemas(by.get("tool_definitions") or ())),
        )
        return run(id, list(_steps(line, id, body["steps"], by)), about, line=line)
    except UNREADABLE as error:
        return Problem(line, f"trace {id!r}: {unreadable(error)}")


def _steps(line: int, id: str, steps: list[Any], by: Json) -> Iterator[Step]:
    """The steps, and with each of the agent's all that was heard before it."""
    heard: tuple[Message, ...] = ()
    missing: list[str] = []
    made: list[tuple[Step, int]] = []
    for place, given in enumerate(steps):
        if not isinstance(given, dict):
            raise TypeError(f"step {place + 1} is no object")
        talk, called, own = _said(given)
        said = tuple(Message.model_validate(message) for message in talk.linked())
        missing += talk.missing[:own]
        kind = SpanKind.CALL if called else SpanKind.OTHER
        span = Span(
            id=f"step-{place + 1}",
            trace_id=id,
            kind=kind,
            name=str(given.get("source") or "step"),
            started_at=moment(given.get("timestamp")),
            ended_at=moment(given.get("timestamp")),
            data=_kept(given, talk),
        )
        asked = None
        if called:
            words = Heard(heard, said[:1], missing=tuple(missing))
            asked = Asked(
                words,
                model=given.get("model_name") or by.get("model_name"),
                usage=_usage(given.get("metrics")),
            )
        made.append((Step(line, span, asked=asked), len(heard) + 1))
        heard = (*heard, *said)
        missing += talk.missing[own:]
        if _sums_up(given):
            missing.append(SUMMED_UP)
    last = max((n for n, (step, _) in enumerate(made) if step.asked), default=-1)
    for n, (step, after) in enumerate(made):
        if n == last and step.asked:  # what came after the last call is the tail of the run
            words = step.asked.words
            words = words._replace(said=(*words.said, *heard[after:]))
            yield replace(step, asked=replace(step.asked, words=words))
        else:
            yield step


def _said(given: Json) -> tuple[Talk, bool, int]:
    """The messages that a step is, whether a model said the first of them, and how much is missing
    of that one."""
    talk = Talk()
    source, text = given.get("source"), given.get("message")
    if source != "agent":
        role = "system" if source == "system" else "user"
        if text is not None and not (text in ("", []) and given.get("observation")):
            talk.add({"role": role, "content": text})
        own = len(talk.missing)
        _results(talk, given, [])
        return talk, False, own
    calls = [
        {
            "type": "tool-call",
            "id": call.get("tool_call_id"),
            "name": call.get("function_name"),
            "arguments": call.get("arguments"),
        }
        for call in given.get("tool_calls") or ()
    ]
    parts = [text] if isinstance(text, str) else list(text or ())
    talk.add({"role": "assistant", "content": [*(p for p in parts if p != ""), *calls]})
    own = len(talk.missing)
    _results(talk, given, calls)
    copied = given.get("is_copied_context") is True
    return talk, not copied and given.get("llm_call_count") != 0, own


def _results(talk: Talk, given: Json, calls: list[Json]) -> None:
    """What the step led to: results of its calls, or, where it made none, what was shown next."""
    observed = given.get("observation")
    results = observed.get("results") if isinstance(observed, dict) else None
    for result in results or ():
        id, content = result.get("source_call_id"), result.get("content")
        if not id and len(calls) == 1:
            id = calls[0]["id"]
        if id or calls:
            if not id:
                talk.missing.append("a result does not say which of several calls it answers")
            part = {"type": "tool-result", "toolCallId": id or calls[0]["id"], "output": content}
            talk.add({"role": "tool", "content": [part]})
        elif content not in (None, "", []):
            talk.add({"role": "user", "content": content})


def _sums_up(given: Json) -> bool:
    """Whether what is said before a step is no longer heard after it."""
    extra = given.get("extra")
    managed = extra.get("context_management") if isinstance(extra, dict) else None
    observed = given.get("observation")
    results = observed.get("results") if isinstance(observed, dict) else None
    handed = any(r.get("subagent_trajectory_ref") for r in results or () if isinstance(r, dict))
    return bool(managed) or (given.get("source") == "system" and handed)


def _kept(given: Json, talk: Talk) -> Json:
    names = ("extra", "reasoning_effort", "is_copied_context")
    kept: Json = {name: given[name] for name in names if name in given}
    thought = given.get("reasoning_content")
    thoughts = [*([thought] if thought else []), *talk.thoughts]
    return {**kept, **({"thoughts": thoughts} if thoughts else {})}


def _usage(given: Any) -> Usage:
    if not isinstance(given, dict):
        return Usage()
    return Usage(
        input_tokens=given.get("prompt_tokens") or 0,
        cached_tokens=given.get("cached_tokens") or 0,
        output_tokens=given.get("completion_tokens") or 0,
    )
