"""What a tool of a captured run runs is part of it, captured once: nobody called `instrument`."""

import asyncio
from typing import Any

import pytest
from agents import RunConfig, Runner, function_tool

from agentloop.base.records import SpanKind
from tests.capture.asking import ask, provider, the_same
from tests.capture.server import calls, status, text
from tests.capture.test_wire import an_agent, every_way

ANSWERS = [calls(("ask", '{"input":"2+2"}', "c1")), text("four")]
names = ("run", "run_sync", "run_streamed")


def an_expert(**fields):
    return an_agent(name="expert", instructions="You count.", model="gpt-4.1-nano", **fields)


def check(trace, main, expert):
    """Whether the calls of both servers are stored as they were made, in their order."""
    bodies = [main.bodies[0], *expert.bodies, main.bodies[1]]
    assert [call.agent for call in trace.calls] == ["main", "expert", "main"]
    for call, body, turn in zip(trace.calls, bodies, [ANSWERS[0], None, ANSWERS[1]], strict=True):
        assert the_same(call, body, turn)


@every_way
@pytest.mark.parametrize("way", ["as_tool", "as_tool, streamed", "tool", "tool, streamed"])
def test_with_a_provider_of_its_own(loop, serve, api, stream, way):
    main, own = serve(*ANSWERS), serve(text("4"))
    events: list[Any] = []
    before = {name: vars(Runner)[name] for name in names}

    @function_tool(name_override="ask")
    async def tool(input: str) -> str:
        """Ask an expert."""
        config = RunConfig(model_provider=provider(own, api))
        if way == "tool":
            return (await Runner.run(an_expert(), input, run_config=config)).final_output
        result = Runner.run_streamed(an_expert(), input, run_config=config)
        events.extend([event async for event in result.stream_events()])
        return str(result.final_output)

    if way.startswith("as_tool"):
        listens = {"on_stream": events.append} if "streamed" in way else {}
        config = RunConfig(model_provider=provider(own, api))
        tool = an_expert().as_tool("ask", "Ask an expert.", run_config=config, **listens)
    agent = an_agent(name="main", tools=[tool])
    result, trace = ask(loop, main, agent, "2+2?", api=api, stream=stream)
    assert result.final_output == "four"
    check(trace, main, own)
    assert trace.calls[1].output.text == "4"
    assert trace.calls[1].streamed == ("streamed" in way)
    assert bool(events) == ("streamed" in way)
    assert result.call_id == trace.calls[2].id
    assert loop.store.count() == 1
    agents = [span.name for span in trace.spans if span.kind is SpanKind.AGENT]
    assert sorted(agents) == ["expert", "main"]
    assert {name: vars(Runner)[name] for name in names} == before, "nothing is left behind"


@every_way
def test_that_fails_in_there(loop, serve, api, stream):
    main, own = serve(*ANSWERS), serve(status(400, "out of order"))
    config = RunConfig(model_provider=provider(own, api))
    tool = an_expert().as_tool("ask", "Ask an expert.", run_config=config)
    agent = an_agent(name="main", tools=[tool])
    _, trace = ask(loop, main, agent, "2+2?", api=api, stream=stream)
    check(trace, main, own)
    assert "out of order" in trace.calls[1].error
    assert trace.error is None


@every_way
def test_an_expert_that_holds_its_model(loop, serve, api, stream):
    main, own = serve(*ANSWERS), serve(text("4"))

    async def model():
        return provider(own, api).get_model("gpt-4.1-nano")

    expert = an_expert()
    expert.model = asyncio.run(model())
    agent = an_agent(name="main", tools=[expert.as_tool("ask", "Ask an expert.")])
    _, trace = ask(loop, main, agent, "2+2?", api=api, stream=stream)
    check(trace, main, own)


@pytest.mark.parametrize("said", [{"capture": "metadata"}, {"capture": "off"}], ids=str)
def test_is_captured_as_the_run_is_that_it_is_part_of(loop, serve, said):
    main, own = serve(*ANSWERS), serve(text("a secret"))
    config = RunConfig(model_provider=provider(own))
    tool = an_expert().as_tool("ask", "Ask an expert.", run_config=config)
    agent = an_agent(name="main", tools=[tool])
    if said["capture"] == "off":
        with pytest.raises(Exception, match="no trace"):
            ask(loop, main, agent, "2+2?", **said)
        assert loop.store.count() == 0
    else:
        _, trace = ask(loop, main, agent, "2+2?", **said)
        assert len(trace.calls) == 3
        assert "a secret" not in trace.to_line()
    assert len(own.bodies) == 1


def test_two_stores_in_one_process_each_have_their_own(loop, tmp_path, serve):
    from agentloop import AgentLoop

    own = serve(*[text("4")] * 2)

    def run(loop):
        config = RunConfig(model_provider=provider(own))
        tool = an_expert().as_tool("ask", "Ask an expert.", run_config=config)
        return ask(loop, serve(*ANSWERS), an_agent(name="main", tools=[tool]), "2+2?")[1]

    with AgentLoop(f"sqlite:///{tmp_path}/other.db", settings=loop.settings) as other:
        assert len(run(loop).calls) == len(run(other).calls) == 3
        assert (loop.store.count(), other.store.count()) == (1, 1)
