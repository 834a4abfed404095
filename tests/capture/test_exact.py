"""What goes wrong or takes a turning in a run: stored as it went over the wire, every way."""

import asyncio
from typing import Any

import pytest
from agents import (
    GuardrailFunctionOutput,
    ModelSettings,
    RunConfig,
    ToolGuardrailFunctionOutput,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
    retry_policies,
    tool_input_guardrail,
    tool_output_guardrail,
)
from agents.extensions import handoff_filters
from agents.retry import ModelRetryBackoffSettings, ModelRetrySettings

from agentloop.base.records import SpanKind
from tests.capture.asking import ask, asked, provider, sent, the_same, weather
from tests.capture.server import calls, status, text
from tests.capture.test_failing_tools import tool_answers
from tests.capture.test_runs import refund
from tests.capture.test_wire import Answer, an_agent, check, every_way

# ---------------------------------------------------------------------- handoffs


@every_way
@pytest.mark.parametrize("whose", ["handoff", "run"])
def test_a_handoff_with_a_filter(loop, serve, api, stream, whose):
    """The second agent sees what the filter leaves, and that is what is stored of its call."""
    remove = handoff_filters.remove_all_tools
    billing = an_agent(name="billing", instructions="Bills.", tools=[weather])
    to = handoff(billing, input_filter=remove) if whose == "handoff" else billing
    triage = an_agent(name="triage", tools=[weather], handoffs=[to])
    script = [
        calls(("weather", '{"city":"P"}', "c1")),
        calls(("transfer_to_billing", "{}", "h1")),
        text("done"),
    ]
    server = serve(*script)
    config = {"handoff_input_filter": remove} if whose == "run" else {}
    _, trace = ask(loop, server, triage, "bill", api=api, stream=stream, config=config)
    check(trace, server, script)
    assert [m.role for m in trace.calls[2].context] == ["system", "user"]
    assert [call.agent for call in trace.calls] == ["triage", "triage", "billing"]


@every_way
def test_a_handoff_with_nested_history(loop, serve, api, stream):
    billing = an_agent(name="billing", instructions="Bills.")
    triage = an_agent(name="triage", tools=[weather], handoffs=[billing])
    script = [
        calls(("weather", '{"city":"P"}', "c1")),
        calls(("transfer_to_billing", "{}", "h1")),
        text("done"),
    ]
    server = serve(*script)
    config = {"nest_handoff_history": True}
    _, trace = ask(loop, server, triage, "bill", api=api, stream=stream, config=config)
    check(trace, server, script)
    assert "CONVERSATION HISTORY" in "".join(m.text for m in trace.calls[2].context)
    assert trace.calls[2].incomplete is None


@every_way
def test_a_handoff_that_takes_an_argument(loop, serve, api, stream):
    got = []

    async def on_handoff(context, given: Answer):
        got.append(given)

    billing = an_agent(name="billing", instructions="Bills.")
    to = handoff(billing, on_handoff=on_handoff, input_type=Answer)
    script = [
        calls(("transfer_to_billing", '{"answer": "a",  "score": 3}', "h1")),
        text("done"),
    ]
    server = serve(*script)
    triage = an_agent(name="triage", handoffs=[to])
    _, trace = ask(loop, server, triage, "bill", api=api, stream=stream)
    check(trace, server, script)
    assert got == [Answer(answer="a", score=3)]
    (offered,) = trace.calls[0].tools
    assert offered["function"]["parameters"]["required"] == ["answer", "score"]


# ---------------------------------------------------------------------- guardrails


@every_way
@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_guardrail_of_a_tool_that_puts_its_own_words_in(loop, serve, api, stream, kind):
    make: Any = tool_input_guardrail if kind == "input" else tool_output_guardrail

    @make
    def nothing_bad(data):
        return ToolGuardrailFunctionOutput.reject_content("not allowed")

    before, after = ([nothing_bad], None) if kind == "input" else (None, [nothing_bad])

    @function_tool(tool_input_guardrails=before, tool_output_guardrails=after)
    def look(x: int) -> str:
        """Look."""
        return "secret"

    script = [calls(("look", '{"x":1}', "c1")), text("sorry")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[look]), "x", api=api, stream=stream)
    check(trace, server, script)
    assert tool_answers(trace) == ["not allowed"]


@every_way
def test_a_guardrail_of_a_tool_that_ends_the_run(loop, serve, api, stream):
    @tool_input_guardrail
    def nothing_bad(data):
        return ToolGuardrailFunctionOutput.raise_exception("why")

    @function_tool(tool_input_guardrails=[nothing_bad])
    def look(x: int) -> str:
        """Look."""
        return "secret"

    script = [calls(("look", '{"x":1}', "c1"))]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[look]), "x", api=api, stream=stream)
    check(trace, server, script)
    assert trace.error.startswith("ToolInputGuardrailTripwireTriggered")


@every_way
def test_a_guardrail_that_trips_while_the_model_answers(loop, serve, api, stream):
    """The call was made and may be billed, so it is there. The SDK breaks it off, but a stream it
    reads to its end."""
    server = serve(text("never seen", silent=True))

    @input_guardrail
    async def nothing_bad(context, agent, said):
        while not server.requests:
            await asyncio.sleep(0.001)
        if stream:
            server.read_on.set()
        return GuardrailFunctionOutput(output_info="why", tripwire_triggered=True)

    agent = an_agent(input_guardrails=[nothing_bad])
    _, trace = ask(loop, server, agent, "bad", api=api, stream=stream)
    assert trace.error.startswith("InputGuardrailTripwireTriggered")
    (call,) = trace.calls
    assert the_same(call, server.bodies[0], None)
    if stream:
        assert (call.output.text, call.error) == ("never seen", None)
    else:
        assert (call.output, call.error) == (None, "CancelledError")


@every_way
def test_guardrails_that_let_pass_change_nothing(loop, serve, api, stream):
    @input_guardrail
    async def fine(context, agent, said):
        return GuardrailFunctionOutput(output_info={"k": "v"}, tripwire_triggered=False)

    @output_guardrail
    async def good(context, agent, said):
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

    script = [text("x")]
    server = serve(*script)
    agent = an_agent(input_guardrails=[fine], output_guardrails=[good])
    result, trace = ask(loop, server, agent, api=api, stream=stream)
    assert result.final_output == "x"
    check(trace, server, script)
    steps = [span for span in trace.spans if span.kind is SpanKind.GUARDRAIL]
    assert sorted(step.name for step in steps) == ["fine", "good"]
    assert [step.data["triggered"] for step in steps] == [False, False]


# ---------------------------------------------------------------------- approvals


@every_way
@pytest.mark.parametrize("said", [None, "not today"])
def test_an_approval_that_is_refused(loop, serve, api, stream, said):
    script = [calls(("refund", '{"order":"7"}', "c1")), text("sorry")]
    server = serve(*script)
    agent = an_agent(tools=[refund])
    result, _ = ask(loop, server, agent, "refund 7", api=api, stream=stream)
    state = result.to_state()
    for item in state.get_interruptions():
        state.reject(item, **({"rejection_message": said} if said else {}))
    resumed, trace = ask(loop, server, agent, state, api=api, stream=stream)
    assert resumed.final_output == "sorry"
    check(trace, server, script)
    (answer,) = tool_answers(trace)
    assert answer == (said or "Tool execution was not approved.")


# ---------------------------------------------------------------------- answers


@every_way
def test_structured_output_that_is_none(loop, serve, api, stream):
    script = [text('{"answer": "a"')]
    server = serve(*script)
    agent = an_agent(output_type=Answer)
    _, trace = ask(loop, server, agent, "x", api=api, stream=stream)
    check(trace, server, script)
    assert trace.error.startswith("ModelBehaviorError: Invalid JSON")


@every_way
def test_a_request_that_is_tried_again_is_two_calls(loop, serve, api, stream):
    at_once = ModelRetryBackoffSettings(initial_delay=0.0, jitter=False)
    retry = ModelRetrySettings(
        max_retries=1, backoff=at_once, policy=retry_policies.http_status([503])
    )
    script = [status(503, "busy"), text("x")]
    server = serve(*script)
    agent = an_agent(model_settings=ModelSettings(retry=retry))
    result, trace = ask(loop, server, agent, api=api, stream=stream)
    assert result.final_output == "x"
    check(trace, server, script)
    assert "busy" in trace.calls[0].error
    assert [call.index for call in trace.leaves] == [1]
    assert trace.error is None


@every_way
def test_a_server_that_does_not_answer_in_time(loop, serve, api, stream):
    # Long enough for a loaded machine to get the request to the server.
    server = serve(text("never", silent=True))
    agent = an_agent(model_settings=ModelSettings(timeout=1.5))
    error, trace = ask(loop, server, agent, api=api, stream=stream)
    assert type(error).__name__ in ("ModelTimeoutError", "APITimeoutError")
    (call,) = trace.calls
    assert the_same(call, server.bodies[0], None)
    assert (call.output, trace.error) == (None, f"{type(error).__name__}: {error}")
    assert call.error


# ---------------------------------------------------------------------- runs at once


@every_way
def test_one_agent_in_runs_of_two_configurations_at_once(loop, serve, api, stream):
    server = serve(*[text("x")] * 6)
    agent = an_agent()

    async def run():
        theirs: Any = provider(server, api)
        configs = [
            RunConfig(model_provider=theirs, model=f"m{n % 2}", model_settings={"top_p": n / 8})
            for n in range(6)
        ]
        runs = (
            asked(loop, agent, f"q{n}", stream=stream, run_config=config)
            for n, config in enumerate(configs)
        )
        results = await asyncio.gather(*runs)
        await theirs._client.close()
        return results

    results = asyncio.run(run())
    loop.flush()
    wire = {sent(body)[-1]["content"]: body for body in server.bodies}
    for n, result in enumerate(results):
        (call,) = loop.store.trace(result.trace_id).calls
        assert the_same(call, wire[f"q{n}"], text("x"))
        assert (call.model, call.settings["top_p"]) == (f"m{n % 2}", n / 8)
