"""Conversations that the server keeps: only what is new goes over the wire, and the context that is
stored is the whole of it, or says that it is not."""

import asyncio

import pytest
from agents import GuardrailFunctionOutput, RunConfig, handoff, output_guardrail

from agentloop import AgentLoop
from agentloop.capture import conversations
from tests.capture.asking import answered, ask, asked, provider, sent, weather
from tests.capture.server import calls, text
from tests.capture.test_wire import an_agent, check

both = pytest.mark.parametrize("stream", [False, True])
OVER = [calls(("weather", '{"city":"P"}', "c1")), text("Mild.")]


def seen(server, script):
    """What the model saw in each call, from what went over the wire: the system prompt of the
    call, and after it all that was ever sent or said."""
    before, whole = [], []
    for body, turn in zip(server.bodies, script, strict=True):
        system, new = sent(body)[:1], sent(body)[1:]
        whole.append([*system, *before, *new])
        before += [*new, answered(turn)]
    return whole


def contexts(*traces):
    return [[m.to_dict() for m in call.context] for trace in traces for call in trace.calls]


@both
def test_within_a_run_the_context_is_rebuilt(loop, serve, stream):
    script = [*OVER[:1], calls(("weather", '{"city":"R"}', "c2"), ("weather", "{}", "c3")), OVER[1]]
    server = serve(*script)
    agent = an_agent(tools=[weather])
    _, trace = ask(
        loop, server, agent, api="responses", stream=stream, auto_previous_response_id=True
    )
    assert [body.get("previous_response_id") for body in server.bodies] == [
        None,
        "resp_1",
        "resp_2",
    ]
    assert [len(body["input"]) for body in server.bodies] == [1, 1, 2], "what is new alone"
    assert contexts(trace) == seen(server, script)
    assert [call.incomplete for call in trace.calls] == [None] * 3
    assert [call.output.to_dict() for call in trace.calls] == [answered(turn) for turn in script]
    assert trace.leaves == (trace.calls[-1],), "one row, not three"


@both
@pytest.mark.parametrize("process", ["same", "another"])
def test_a_later_run_goes_on_from_a_response_that_is_stored(loop, tmp_path, serve, stream, process):
    script = [*OVER, text("Also mild.")]
    server = serve(*script)
    agent = an_agent(tools=[weather])

    def go_on(loop, said, response):
        options = {"previous_response_id": response} if response else {}
        options |= {"auto_previous_response_id": True}
        return ask(loop, server, agent, said, api="responses", stream=stream, **options)

    first, one = go_on(loop, "Paris?", None)
    if process == "same":
        _, two = go_on(loop, "And Rome?", first.last_response_id)
    else:
        with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=loop.settings) as other:
            _, two = go_on(other, "And Rome?", first.last_response_id)
    assert server.bodies[2]["previous_response_id"] == "resp_2"
    assert len(server.bodies[2]["input"]) == 1
    assert contexts(one, two) == seen(server, script)
    assert two.calls[0].incomplete is None


@both
def test_a_response_that_nobody_stored_makes_the_call_incomplete(loop, serve, stream):
    server = serve(*OVER)
    agent = an_agent(tools=[weather])
    options = {"previous_response_id": "resp_0"}
    _, trace = ask(loop, server, agent, api="responses", stream=stream, **options)
    assert contexts(trace) == seen(server, OVER), "all that is known of it"
    for call in trace.calls:
        assert call.incomplete.startswith("previous_response_id was set: the server has earlier")
        assert call.incomplete.endswith("that response is not in the store")


@both
def test_what_was_in_a_conversation_at_first_is_never_known(loop, serve, stream):
    script = [*OVER, text("Also mild.")]
    server = serve(*script)
    agent = an_agent(tools=[weather])
    traces = [
        ask(loop, server, agent, said, api="responses", stream=stream, conversation_id="conv_0")[1]
        for said in ("Paris?", "And Rome?")
    ]
    assert [body["conversation"] for body in server.bodies] == ["conv_0"] * 3
    assert contexts(*traces) == seen(server, script)
    for trace in traces:
        assert all(c.incomplete.startswith("conversation_id was set") for c in trace.calls)


@both
def test_who_takes_over_in_such_a_conversation_has_its_own_instructions(loop, serve, stream):
    """The server keeps what was said, and no system prompt."""
    billing = an_agent(name="billing", instructions="Bills.", tools=[weather])
    triage = an_agent(name="triage", handoffs=[handoff(billing)])
    script = [calls(("transfer_to_billing", "{}", "h1")), *OVER]
    server = serve(*script)
    _, trace = ask(
        loop, server, triage, "bill", api="responses", stream=stream, auto_previous_response_id=True
    )
    assert [body["instructions"] for body in server.bodies] == ["You help.", "Bills.", "Bills."]
    assert contexts(trace) == seen(server, script)
    assert [call.incomplete for call in trace.calls] == [None] * 3


@pytest.mark.parametrize("process", ["same", "another"])
def test_what_goes_on_from_a_run_without_consent_is_no_example(loop, tmp_path, serve, process):
    server = serve(text("one"), text("two"))
    first, _ = ask(loop, server, an_agent(), "my card", api="responses", consent=False)

    def go_on(loop):
        options = {"previous_response_id": first.last_response_id}
        return ask(loop, server, an_agent(), "again", api="responses", **options)[1]

    if process == "same":
        trace = go_on(loop)
    else:
        with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=loop.settings) as other:
            trace = go_on(other)
    assert trace.calls[0].incomplete == "what was said before was said without consent"


def test_of_a_run_with_metadata_alone_nothing_is_remembered(loop, serve):
    server = serve(text("one"), text("two"))
    first, _ = ask(loop, server, an_agent(), "my card", api="responses", capture="metadata")
    _, trace = ask(
        loop,
        server,
        an_agent(),
        "again",
        api="responses",
        previous_response_id=first.last_response_id,
    )
    assert "my card" not in trace.to_line()
    assert trace.calls[0].incomplete.startswith("previous_response_id was set")


def test_many_conversations_at_once_are_told_apart(loop, serve, monkeypatch):
    """Also when more of them go on than are remembered."""
    monkeypatch.setattr(conversations, "REMEMBERED", 2)
    server = serve(*[text("one")] * 6, *[text("two")] * 6)

    async def talk():
        config = RunConfig(model_provider=provider(server, "responses"))
        firsts = await asyncio.gather(
            *(asked(loop, an_agent(), f"q{n}", run_config=config) for n in range(6))
        )
        await asyncio.to_thread(loop.flush)
        return await asyncio.gather(
            *(
                asked(loop, an_agent(), f"r{n}", run_config=config, previous_response_id=id)
                for n, id in enumerate(first.last_response_id for first in firsts)
            )
        )

    results = asyncio.run(talk())
    loop.flush()
    for n, result in enumerate(results):
        (call,) = loop.store.trace(result.trace_id).calls
        assert [m.content for m in call.context] == ["You help.", f"q{n}", "one", f"r{n}"]
        assert call.incomplete is None


@pytest.mark.parametrize("stream", [False, True])
def test_chat_completions_has_no_such_conversation(loop, serve, stream, caplog):
    """What the SDK does with it there it does under capture as well: a guardrail of the output is
    allowed, and the model sees what it is sent and nothing else."""

    @output_guardrail
    async def good(context, agent, said):
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

    script = [text("x")]
    server = serve(*script)
    agent = an_agent(output_guardrails=[good])
    result, trace = ask(loop, server, agent, stream=stream, previous_response_id="resp_0")
    assert getattr(result, "final_output", result) == "x"
    check(trace, server, script)
    assert trace.calls[0].incomplete is None
    assert [m["role"] for m in sent(server.bodies[0])] == ["system", "user"]
