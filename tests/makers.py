"""Records with plain defaults: a test says only what it is about."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from agentloop.base.records import (
    Call,
    Job,
    Judged,
    Message,
    Method,
    Opinion,
    Outcome,
    Plan,
    Row,
    Source,
    Span,
    SpanKind,
    Trace,
    Trial,
    Version,
)
from agentloop.feedback import settle

DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real files of others, where they are at hand."""

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}

_ids = count(1)


def real(*parts):
    """A path among the real files; the test is skipped where they are not."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def at(seconds):
    """A moment, so many seconds after the start of all."""
    return START + timedelta(seconds=seconds)


def message(role="user", content="hi", **fields):
    return Message.model_validate({"role": role, "content": content, **fields})


def user(text="hi"):
    return message("user", text)


def system(text="You help."):
    return message("system", text)


def says(text="hello"):
    return message("assistant", text)


def asks(name="find", arguments='{"id": 1}', id="c1", content=None):
    """An assistant message with one tool call."""
    return calls((name, arguments, id), content=content)


def calls(*asked, content=None):
    """An assistant message with tool calls: `(name, arguments, id)`, …"""
    made = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments, id in asked
    ]
    return message("assistant", content, tool_calls=made)


def returns(text="found", id="c1"):
    return message("tool", text, tool_call_id=id)


def a_call(*said, trace="t1", index=0, output=True, **fields):
    """A model call that saw `said` but the last message, and said that one; `output=False`: it
    saw all of them, and nothing came back."""
    said = said or (system(), user(), says())
    given = {
        "id": f"{trace}/{index}",
        "trace_id": trace,
        "index": index,
        "agent": "support",
        "context": said[:-1] if output else said,
        "output": said[-1] if output else None,
        "tools": (TOOL,),
        "model": "m",
    }
    return Call(**(given | fields))


def a_trace(*said, id=None, agent="support", tools=(TOOL,), **fields):
    """A run in which every assistant message was said by a call of `agent`."""
    id = id or f"t{next(_ids)}"
    ends = [n for n, one in enumerate(said) if one.role == "assistant"]
    made = [
        a_call(*said[: end + 1], trace=id, index=index, agent=agent, tools=tools)
        for index, end in enumerate(ends)
    ]
    tail = said[ends[-1] + 1 :] if ends else said
    given = {"id": id, "agent": agent, "started_at": START, "calls": made, "tail": tail}
    return Trace(**(given | fields))


def a_span(trace="t1", id="s1", **fields):
    return Span(**({"id": id, "trace_id": trace, "kind": SpanKind.TOOL, "name": "find"} | fields))


def an_opinion(trace="t1", score=1.0, **fields):
    given = {
        "id": f"o{next(_ids)}",
        "trace_id": trace,
        "source": Source.PERSON,
        "author": "ann",
        "score": score,
        "given_at": START,
    }
    return Opinion(**(given | fields))


def a_correction(call, text="Hello!", **fields):
    said = text if isinstance(text, Message) else says(text)
    given = {"call_id": call.id, "correction": said}
    return an_opinion(call.trace_id, None, **(given | fields))


def an_outcome(trace="t1", name="resolved", value=True, **fields):
    given = {"trace_id": trace, "name": name, "value": value, "recorded_at": START}
    return Outcome(**(given | fields))


def judged(trace, *scores, **outcomes):
    """A trace, settled: scores of people, and outcomes by name."""
    opinions = [an_opinion(trace.id, score, author=f"p{n}") for n, score in enumerate(scores)]
    results = [an_outcome(trace.id, name, value) for name, value in outcomes.items()]
    return next(settle([Judged(trace=trace, opinions=opinions, outcomes=results)]))


def a_row(*said, **fields):
    """A row for supervised training."""
    said = said or (system(), user(), says())
    return Row(**({"body": {"messages": [one.to_dict() for one in said]}} | fields))


def a_version(id="v1", **fields):
    given = {
        "id": id,
        "provider": "local",
        "base_url": "http://127.0.0.1:8421/v1",
        "model": f"ft:{id}",
        "base_model": "tiny",
        "created_at": START,
    }
    return Version(**(given | fields))


def a_trial(id="trial-1", **fields):
    given = {
        "id": id,
        "agents": ("support",),
        "candidate": "v1",
        "control": None,
        "share": 0.5,
        "metric": "resolved",
        "started_at": START,
    }
    return Trial(**(given | fields))


def a_job(id="job-1", **fields):
    plan = Plan(
        dataset="sft-1",
        dataset_sha="0",
        method=Method.SFT,
        provider="local",
        base_model="tiny",
        rows=1,
        valid_rows=0,
        tokens=10,
    )
    return Job(**({"id": id, "plan": plan, "created_at": START} | fields))
