"""Tools that fail: what was raised, and what the model saw of it."""

import asyncio

import pytest
from agents import function_tool

from agentloop.base.records import SpanKind
from tests.capture.asking import ask, broken, weather
from tests.capture.server import calls, text
from tests.capture.test_wire import an_agent, check, every_way

SEEN = "An error occurred while running the tool. Please try again."
"""What a model sees of a tool that failed, if nobody says otherwise."""

one_call = [calls(("broken", '{"x":1}', "c1")), text("sorry")]


def tool_steps(trace):
    return [span for span in trace.spans if span.kind is SpanKind.TOOL]


def tool_answers(trace):
    return [m.content for m in trace.conversation if m.role == "tool"]


@every_way
def test_of_a_tool_that_fails_exception_and_text_are_kept(loop, serve, api, stream):
    server = serve(*one_call)
    _, trace = ask(loop, server, an_agent(tools=[broken]), "x", api=api, stream=stream)
    check(trace, server, one_call)
    assert tool_answers(trace) == [SEEN]
    (step,) = tool_steps(trace)
    assert step.error["exception"] == "ValueError: kaput"
    assert step.data["output"] == SEEN


@every_way
def test_of_tools_that_fail_at_once_each_has_its_own_exception(loop, serve, api, stream):
    @function_tool
    async def bad(x: int) -> str:
        """Fails."""
        await asyncio.sleep(0)
        raise LookupError(f"no {x}")

    script = [
        calls(("bad", '{"x":1}', "c1"), ("broken", '{"x":2}', "c2"), ("bad", '{"x":3}', "c3")),
        text("sorry"),
    ]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[bad, broken]), "x", api=api, stream=stream)
    check(trace, server, script)
    told = {step.data["input"]: step.error["exception"] for step in tool_steps(trace)}
    assert told == {
        '{"x":1}': "LookupError: no 1",
        '{"x":2}': "ValueError: kaput",
        '{"x":3}': "LookupError: no 3",
    }


@every_way
def test_the_users_own_words_for_a_failing_tool_are_what_the_model_sees(loop, serve, api, stream):
    async def formatter(told):
        return f"{told.kind} of {told.tool_name}: {told.error}"

    server = serve(*one_call)
    config = {"tool_error_formatter": formatter}
    agent = an_agent(tools=[broken])
    _, trace = ask(loop, server, agent, "x", api=api, stream=stream, config=config)
    check(trace, server, one_call)
    assert tool_answers(trace) == ["tool_exception of broken: kaput"]
    assert tool_steps(trace)[0].error["exception"] == "ValueError: kaput"


@every_way
def test_a_tool_with_a_failure_function_of_its_own(loop, serve, api, stream):
    @function_tool(failure_error_function=lambda context, error: f"it said {error}")
    def fails(x: int) -> str:
        """Fails."""
        raise ValueError("kaput")

    script = [calls(("fails", '{"x":1}', "c1")), text("sorry")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[fails]), "x", api=api, stream=stream)
    check(trace, server, script)
    assert tool_answers(trace) == ["it said kaput"]
    assert tool_steps(trace)[0].error["data"]["error"] == "kaput"


@every_way
def test_a_tool_whose_failure_ends_the_run(loop, serve, api, stream):
    @function_tool(failure_error_function=None)
    def fails(x: int) -> str:
        """Fails."""
        raise ValueError("kaput")

    script = [calls(("fails", '{"x":1}', "c1"))]
    server = serve(*script)
    error, trace = ask(loop, server, an_agent(tools=[fails]), "x", api=api, stream=stream)
    check(trace, server, script)
    assert trace.error == f"{type(error).__name__}: {error}"
    assert "kaput" in trace.error
    assert tool_steps(trace)[0].error["data"]["error"] == "kaput"


@every_way
@pytest.mark.parametrize("arguments", ['{"x": "no number"}', '{"x": '])
def test_arguments_that_a_tool_cannot_take_stay_as_the_model_wrote_them(
    loop, serve, api, stream, arguments
):
    script = [calls(("broken", arguments, "c1")), text("sorry")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[broken]), "x", api=api, stream=stream)
    check(trace, server, script)
    assert trace.calls[0].output.calls[0].function.arguments == arguments
    assert "Invalid JSON input" in tool_steps(trace)[0].error["exception"]


@every_way
def test_a_tool_that_takes_too_long(loop, serve, api, stream):
    @function_tool(timeout=0.05)
    async def slow(x: int) -> str:
        """Never ends."""
        await asyncio.Event().wait()
        return "never"

    script = [calls(("slow", '{"x":1}', "c1")), text("sorry")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[slow]), "x", api=api, stream=stream)
    check(trace, server, script)
    (answer,) = tool_answers(trace)
    assert "timed out after 0.05 seconds" in answer
    assert tool_steps(trace)[0].data["output"] == answer


@every_way
def test_a_tool_that_there_is_not(loop, serve, api, stream):
    script = [calls(("nope", '{"x":1}', "c1"))]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[weather]), "x", api=api, stream=stream)
    check(trace, server, script)
    assert trace.error.startswith("ModelBehaviorError: Tool nope not found")
    assert trace.calls[0].output.calls[0].function.name == "nope"


@every_way
def test_a_tool_that_there_is_not_and_the_model_is_told_so(loop, serve, api, stream):
    script = [calls(("nope", '{"x":1}', "c1"), ("weather", '{"city":"P"}', "c2")), text("sorry")]
    server = serve(*script)
    config = {"tool_not_found_behavior": "return_error_to_model"}
    agent = an_agent(tools=[weather])
    _, trace = ask(loop, server, agent, "x", api=api, stream=stream, config=config)
    check(trace, server, script)
    assert trace.error is None
    assert "Tool 'nope' not found." in tool_answers(trace)


@every_way
def test_without_sensitive_data_in_spans_the_calls_are_whole(loop, serve, api, stream):
    """The SDK's switch is about its own traces. How much of a run we keep, `capture` says."""
    server = serve(*one_call)
    config = {"trace_include_sensitive_data": False}
    agent = an_agent(tools=[broken])
    _, trace = ask(loop, server, agent, "x", api=api, stream=stream, config=config)
    check(trace, server, one_call)
    (step,) = tool_steps(trace)
    assert step.data == {}
    assert step.error["exception"] == "ValueError", "not what it says"
    assert "kaput" not in trace.to_line()
