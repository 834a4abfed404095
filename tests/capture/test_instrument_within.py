"""Plain runs within captured runs: each call is captured once, in the run that it is part of."""

import asyncio

import agents
import pytest
from agents import RunConfig, Runner, function_tool
from agents.models import _openai_shared
from agents.testing import ScriptedModel, assistant_message

from tests.capture.asking import provider, the_same
from tests.capture.server import calls, text
from tests.capture.test_instrument import an_agent, both, check, every_way, plain, stored


@every_way
def test_an_agent_that_is_a_tool_is_captured_once_and_within(listening, serve, api, stream):
    expert = an_agent(name="expert", instructions="You count.", model="gpt-4.1-nano")
    main = an_agent(name="main", tools=[expert.as_tool("ask_expert", "Ask an expert.")])
    script = [calls(("ask_expert", '{"input":"2+2"}', "c1")), text("4"), text("four")]
    server = serve(*script)
    plain(server, main, api=api, stream=stream)
    (trace,) = stored(listening)
    check(trace, server, script)
    assert [call.agent for call in trace.calls] == ["main", "expert", "main"]


@both
@pytest.mark.parametrize("way", ["as_tool", "tool", "tool of ours", "passed on"])
def test_a_run_with_a_configuration_of_its_own_within_another(listening, serve, stream, way):
    """It is part of the run that it is made in, with every call of it; made with `loop.run`, it is
    a run of its own."""
    server = serve(calls(("ask", '{"input":"2+2"}', "c1")), text("4"), text("four"))
    expert = an_agent(name="expert", instructions="You count.")

    @function_tool
    async def ask(context: agents.tool_context.ToolContext, input: str) -> str:
        """Ask an expert."""
        if way == "passed on":
            result = await listening.run(expert, input, run_config=context.run_config)
        elif way == "tool of ours":
            result = await listening.run(expert, input, run_config=config())
        else:
            result = await Runner.run(expert, input, run_config=config())
        return result.final_output

    def config():
        return RunConfig(model_provider=provider(server))

    tool = expert.as_tool("ask", "Ask.", run_config=config()) if way == "as_tool" else ask
    result = plain(server, an_agent(name="main", tools=[tool]), stream=stream)
    assert result.final_output == "four"
    if way in ("as_tool", "tool"):
        (trace,) = stored(listening)
        assert [call.agent for call in trace.calls] == ["main", "expert", "main"]
        assert result.call_id == trace.calls[2].id
        assert trace.error is None
        for call, body in zip(trace.calls, server.bodies, strict=True):
            assert the_same(call, body, None)
    else:
        found = {trace.agent: trace for trace in stored(listening, 2)}
        assert [call.agent for call in found["main"].calls] == ["main", "main"]
        assert [call.output.text for call in found["expert"].calls] == ["4"]


def test_a_stream_within_a_tool_is_part_of_the_run(listening, serve, monkeypatch):
    server = serve(calls(("ask", "{}", "c1")), text("4"), text("four"))

    @function_tool
    async def ask() -> str:
        """Ask an expert."""
        result = Runner.run_streamed(an_agent(name="expert"), "2+2")
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    # As `set_default_openai_api` and `set_default_openai_client` do, until the test is over.
    monkeypatch.setattr(_openai_shared, "_use_responses_by_default", False)
    monkeypatch.setattr(_openai_shared, "_default_openai_client", provider(server)._client)
    assert plain(server, an_agent(name="main", tools=[ask])).final_output == "four"
    (trace,) = stored(listening)
    assert [call.agent for call in trace.calls] == ["main", "expert", "main"]
    assert trace.ended_at >= trace.calls[2].ended_at


def test_a_task_that_outlives_its_run_begins_runs_of_its_own(listening):
    tasks = []

    def scripted(said):
        return RunConfig(model=ScriptedModel([[assistant_message(said)]]))

    async def later(done):
        await done.wait()
        return await Runner.run(an_agent(name="janitor"), "clean", run_config=scripted("clean"))

    async def run():
        done = asyncio.Event()

        async def instructions(context, agent):
            tasks.append(asyncio.ensure_future(later(done)))
            return "You help."

        agent = an_agent(instructions=instructions)
        await Runner.run(agent, "hi", run_config=scripted("x"))
        done.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert sorted(trace.agent for trace in stored(listening, 2)) == ["janitor", "support"]
