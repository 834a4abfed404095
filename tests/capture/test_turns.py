"""What takes more than one turning: nested runs, several at once, runs that are left."""

import asyncio
import json

import pytest
from agents import (
    ModelSettings,
    RunConfig,
    RunState,
    ToolGuardrailFunctionOutput,
    function_tool,
    retry_policies,
    tool_output_guardrail,
)
from agents.retry import ModelRetryBackoffSettings, ModelRetrySettings
from openai import AsyncOpenAI

from agentloop import AgentLoop
from tests.capture.asking import answered, ask, asked, provider, sent, the_same
from tests.capture.server import calls, status, text
from tests.capture.test_runs import begun, refund
from tests.capture.test_wire import an_agent, check, every_way
from tests.makers import a_version

either = pytest.mark.parametrize("api", ["chat", "responses"])


@every_way
def test_two_agents_that_are_tools_are_asked_at_once(loop, serve, api, stream):
    experts = [
        an_agent(name=name, instructions=f"You are {name}.").as_tool(f"ask_{name}", "Ask.")
        for name in ("ann", "bob")
    ]
    asks = [("ask_ann", '{"input":"a?"}', "c1"), ("ask_bob", '{"input":"b?"}', "c2")]
    server = serve(calls(*asks), text("one"), text("other"), text("both"))
    _, trace = ask(loop, server, an_agent(tools=experts), "x", api=api, stream=stream)
    assert sorted(call.agent for call in trace.calls) == ["ann", "bob", "support", "support"]
    wire = {json.dumps(sent(body), sort_keys=True): body for body in server.bodies}
    for call in trace.calls:
        seen = json.dumps([m.to_dict() for m in call.context], sort_keys=True)
        assert the_same(call, wire[seen], None)
    assert {call.output.text for call in trace.calls[1:3]} == {"one", "other"}


@every_way
@pytest.mark.parametrize("process", ["same", "another"])
def test_an_approval_that_an_agent_asks_for_that_is_a_tool(
    loop, tmp_path, serve, api, stream, process
):
    cashier = an_agent(name="cashier", instructions="You pay.", tools=[refund])
    agent = an_agent(tools=[cashier.as_tool("ask_cashier", "Ask the cashier.")])
    script = [
        calls(("ask_cashier", '{"input":"refund 7"}', "c1")),
        calls(("refund", '{"order":"7"}', "c2")),
        text("paid"),
        text("done"),
    ]
    server = serve(*script)
    result, paused = ask(loop, server, agent, "refund 7", api=api, stream=stream)
    assert len(result.interruptions) == 1
    written = json.dumps(result.to_state().to_json())

    async def state():
        back = await RunState.from_json(agent, json.loads(written))
        for item in back.get_interruptions():
            back.approve(item)
        return back

    if process == "same":
        resumed, trace = ask(loop, server, agent, asyncio.run(state()), api=api, stream=stream)
    else:
        with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=loop.settings) as other:
            resumed, trace = ask(other, server, agent, asyncio.run(state()), api=api, stream=stream)
    assert resumed.final_output == "done"
    assert trace.id == paused.id
    check(trace, server, script)
    assert [call.agent for call in trace.calls] == ["support", "cashier", "cashier", "support"]


@every_way
def test_a_guardrail_of_what_a_tool_says_that_ends_the_run(loop, serve, api, stream):
    @tool_output_guardrail
    def no_secret(data):
        return ToolGuardrailFunctionOutput.raise_exception("why")

    @function_tool(tool_output_guardrails=[no_secret])
    def look(x: int) -> str:
        """Look."""
        return "secret"

    script = [calls(("look", '{"x":1}', "c1"))]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[look]), "x", api=api, stream=stream)
    check(trace, server, script)
    assert trace.error.startswith("ToolOutputGuardrailTripwireTriggered")


@every_way
def test_a_request_that_the_client_repeats_is_one_call(loop, serve, api, stream):
    """The SDK is not told of it, nor are we; the answer is that of the last."""
    server = serve(status(503, "busy"), text("x"))

    async def run():
        theirs = provider(server, api)
        theirs._client = AsyncOpenAI(base_url=server.url, api_key="k", max_retries=1)
        config = RunConfig(model_provider=theirs)
        result = await asked(loop, an_agent(), "hi", stream=stream, run_config=config)
        await theirs._client.close()
        return result

    result = asyncio.run(run())
    loop.flush()
    (call,) = loop.store.trace(result.trace_id).calls
    assert server.bytes[0] == server.bytes[1]
    assert the_same(call, server.bodies[1], text("x"))
    assert call.error is None


@either
def test_a_run_that_is_cancelled_while_the_server_thinks(loop, serve, api):
    server = serve(text("never", silent=True))

    async def run():
        config = RunConfig(model_provider=provider(server, api))
        task = asyncio.ensure_future(loop.run(an_agent(), "hi", run_config=config))
        while not server.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    error = asyncio.run(run())
    loop.flush()
    trace = loop.store.trace(error.__dict__["trace_id"])
    (call,) = trace.calls
    assert the_same(call, server.bodies[0], None)
    assert (call.output, call.error, trace.error) == (None, "CancelledError", "CancelledError")


@either
@pytest.mark.parametrize("left", ["abandoned", "cancelled"])
def test_what_was_asked_in_a_stream_that_is_left_is_whole(loop, serve, api, left):
    server = serve(text("never", hangs=True))
    trace = begun(loop, server, lambda r: left == "cancelled" and r.cancel(), api)
    (call,) = trace.calls
    assert the_same(call, server.bodies[0], None)
    assert (call.output, call.incomplete) == (None, "the stream was not read to its end")


@every_way
def test_one_agent_in_runs_of_different_versions_at_once(loop, serve, api, stream):
    servers = [serve(*[text(f"v{n}")] * 3) for n in range(2)]
    versions = [a_version(id=f"v{n}", base_url=s.url, api=api) for n, s in enumerate(servers)]
    for version in versions:
        loop.ledger.put_version(version)
    agent, own = an_agent(), serve()

    async def at_once():
        config = RunConfig(model_provider=provider(own, api))
        return await asyncio.gather(
            *(
                asked(loop, agent, f"q{n}", stream=stream, run_config=config, version=version)
                for n, version in enumerate(versions * 3)
            )
        )

    results = asyncio.run(at_once())
    loop.flush()
    assert own.bodies == []
    for n, result in enumerate(results):
        (call,) = loop.store.trace(result.trace_id).calls
        bodies = {sent(body)[-1]["content"]: body for body in servers[n % 2].bodies}
        assert the_same(call, bodies[f"q{n}"], text(f"v{n % 2}"))
        assert (call.version, call.api) == (f"v{n % 2}", api)
        assert answered(text(f"v{n % 2}")) == call.output.to_dict()


@every_way
def test_a_run_goes_on_elsewhere_after_a_call_that_was_tried_again(
    loop, tmp_path, serve, api, stream
):
    """No call takes the place of another: the state knows nothing of the one that failed."""
    at_once = ModelRetryBackoffSettings(initial_delay=0.0, jitter=False)
    policy = retry_policies.http_status([503])
    retry = ModelRetrySettings(max_retries=1, backoff=at_once, policy=policy)
    agent = an_agent(tools=[refund], model_settings=ModelSettings(retry=retry))
    script = [status(503, "busy"), calls(("refund", '{"order":"7"}', "c1")), text("done")]
    server = serve(*script)
    result, _ = ask(loop, server, agent, "refund 7", api=api, stream=stream)
    written = json.dumps(result.to_state().to_json())

    async def state():
        back = await RunState.from_json(agent, json.loads(written))
        for item in back.get_interruptions():
            back.approve(item)
        return back

    with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=loop.settings) as other:
        _, trace = ask(other, server, agent, asyncio.run(state()), api=api, stream=stream)
    check(trace, server, script)
