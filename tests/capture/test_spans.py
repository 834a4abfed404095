"""Quick spans say what the SDK's say, and only where nobody else listens."""

import asyncio
import re

import pytest
from agents import (
    Agent,
    RunConfig,
    add_trace_processor,
    custom_span,
    function_tool,
    get_current_span,
    set_trace_processors,
)
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tracing import TracingProcessor, get_trace_provider, set_trace_provider
from agents.tracing.provider import DefaultTraceProvider
from agents.tracing.spans import SpanImpl

from agentloop import AgentLoop
from agentloop.capture.spans import QuickSpan


class Ear(TracingProcessor):
    """Somebody else who listens."""

    def __init__(self):
        self.heard = []

    def on_span_end(self, span):
        self.heard.append(span)

    def on_span_start(self, span): ...
    def on_trace_start(self, trace): ...
    def on_trace_end(self, trace): ...
    def shutdown(self): ...
    def force_flush(self): ...


@pytest.fixture
def tracing():
    before = get_trace_provider()
    set_trace_provider(DefaultTraceProvider())
    yield get_trace_provider()
    set_trace_provider(before)


@pytest.fixture
def loop(tmp_path, tracing):
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db") as opened:
        yield opened


def ran(loop, ears=None):
    """Runs an agent with a tool that has a step of its own; what that is, and what it exports."""
    seen = []

    @function_tool
    def look(order: str) -> str:
        with custom_span("inner", {"order": order}) as span:
            seen.extend((span, get_current_span()))
        seen.append(span.export())
        return "found"

    model = ScriptedModel(
        [[function_call("look", {"order": "42"}, call_id="c1")], [assistant_message("done")]]
    )
    agent = Agent(name="support", tools=[look])
    result = asyncio.run(loop.run(agent, "hi", run_config=RunConfig(model=model)))
    return loop.judgement(result.trace_id).trace, seen


def shape(trace):
    names = {span.id: span.name for span in trace.spans}
    return [
        (s.kind, s.name, names.get(s.parent_id), s.data, s.error, s.started_at <= s.ended_at)
        for s in sorted(trace.spans, key=lambda s: (s.started_at, s.name))
    ]


def without_times(exported):
    return {k: type(v) if k.endswith(("id", "_at")) else v for k, v in exported.items()}


def test_they_say_what_the_sdks_say(loop):
    quick, (inner, current, exported) = ran(loop)
    assert isinstance(inner, QuickSpan)
    assert current is inner
    ear = Ear()
    add_trace_processor(ear)
    slow, (other, _, said) = ran(loop)
    assert isinstance(other, SpanImpl)
    assert other in ear.heard
    assert sorted(map(str, shape(quick))) == sorted(map(str, shape(slow)))
    assert without_times(exported) == without_times(said)
    assert re.fullmatch(r"span_[0-9a-f]{24}", inner.span_id)
    assert inner.span_id != other.span_id


def test_who_comes_in_the_middle_hears_from_then_on(loop):
    ear = Ear()

    @function_tool
    def look() -> str:
        add_trace_processor(ear)
        with custom_span("inner"):
            return "found"

    model = ScriptedModel([[function_call("look", {}, call_id="c1")], [assistant_message("done")]])
    agent = Agent(name="support", tools=[look])
    result = asyncio.run(loop.run(agent, "hi", run_config=RunConfig(model=model)))
    names = [getattr(span.span_data, "name", None) for span in ear.heard]
    assert "inner" in names
    found = {span.name for span in loop.judgement(result.trace_id).trace.spans}
    assert {"look", "inner", "support"} <= found


def test_the_provider_is_what_it_was_when_no_run_goes_on(loop, tracing):
    ran(loop)
    assert "create_span" not in vars(tracing)


def test_where_ours_was_taken_away_the_spans_are_the_sdks(loop, tracing):
    ran(loop)
    set_trace_processors([])
    _, (inner, _, _) = ran(loop)
    assert not isinstance(inner, QuickSpan)
