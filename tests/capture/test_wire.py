"""What is stored is what went over the wire: on both APIs, streamed and not."""

import asyncio
import json

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    ModelSettings,
    SQLiteSession,
    function_tool,
    input_guardrail,
    output_guardrail,
)
from pydantic import BaseModel

from agentloop.base.records import SpanKind
from tests.capture.asking import ask, broken, sent, the_same, weather
from tests.capture.server import calls, status, text

every_way = pytest.mark.parametrize(
    ("api", "stream"), [(api, stream) for api in ("chat", "responses") for stream in (False, True)]
)


def an_agent(**fields):
    given = {"name": "support", "instructions": "You help.", "model": "gpt-4.1-mini"}
    return Agent(**(given | fields))


def check(trace, server, script):
    """Whether every call that was made is stored as it was made."""
    assert len(trace.calls) == len(server.bodies)
    turns = [turn if "status" not in turn else None for turn in script]
    for n, (call, body, turn) in enumerate(zip(trace.calls, server.bodies, turns, strict=False)):
        assert (call.id, call.index, call.trace_id) == (f"{trace.id}/{n}", n, trace.id)
        assert the_same(call, body, turn)


@every_way
def test_a_plain_answer(loop, serve, api, stream):
    script = [text("It is fine, ä😀.")]
    server = serve(*script)
    settings = ModelSettings(temperature=0.25, top_p=0.5, metadata={"k": "v"}, store=False)
    agent = an_agent(model_settings=settings)
    result, trace = ask(loop, server, agent, "hi", api=api, stream=stream, user="u", session="s")
    assert result.final_output == "It is fine, ä😀."
    check(trace, server, script)
    (call,) = trace.calls
    assert (call.api, call.streamed, call.error, call.incomplete) == (api, stream, None, None)
    assert (call.usage.input_tokens, call.usage.cached_tokens) == (10, 1)
    assert call.usage.output_tokens == 5
    assert call.response_id == ("chatcmpl-1" if api == "chat" else "resp_1")
    assert call.started_at <= call.ended_at
    assert call.settings["temperature"] == 0.25
    assert (trace.agent, trace.user, trace.session, trace.version) == ("support", "u", "s", None)
    assert trace.started_at <= call.started_at <= call.ended_at <= trace.ended_at
    assert trace.error is None
    assert (result.trace_id, result.call_id) == (trace.id, call.id)


@every_way
def test_tool_calls_parallel_and_repeated(loop, serve, api, stream):
    """Arguments are kept byte for byte, spaces and order of keys and all."""
    script = [
        calls(
            ("weather", '{ "days":2,  "city": "Paris" }', "c1"), ("weather", '{"city":"R"}', "c2")
        ),
        calls(("weather", '{ "days":2,  "city": "Paris" }', "c3"), text="Again."),
        text("done"),
    ]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[weather]), "w?", api=api, stream=stream)
    check(trace, server, script)
    assert trace.leaves == (trace.calls[-1],), "each call is carried by the next"
    steps = [span for span in trace.spans if span.kind is SpanKind.TOOL]
    assert [span.name for span in steps] == ["weather"] * 3
    answers = [m.content for m in trace.conversation if m.role == "tool"]
    assert answers == ["{'city': 'Paris', 'temp': 22}", "{'city': 'R', 'temp': 21}",
                       "{'city': 'Paris', 'temp': 22}"]  # fmt: skip


@every_way
def test_a_tool_that_fails(loop, serve, api, stream):
    script = [calls(("broken", '{"x":1}', "c1")), text("sorry")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[broken]), "x", api=api, stream=stream)
    check(trace, server, script)
    (said,) = [m.content for m in trace.conversation if m.role == "tool"]
    assert "error" in said


@every_way
def test_a_handoff(loop, serve, api, stream):
    billing = an_agent(name="billing", instructions="Bills.", model="gpt-4.1", tools=[weather])
    triage = an_agent(name="triage", handoffs=[billing])
    script = [calls(("transfer_to_billing", "{}", "h1")), calls(("weather", '{"city":"P"}', "c1")),
              text("done")]  # fmt: skip
    server = serve(*script)
    result, trace = ask(loop, server, triage, "bill", api=api, stream=stream)
    assert result.last_agent is billing
    check(trace, server, script)
    assert [call.agent for call in trace.calls] == ["triage", "billing", "billing"]
    assert [call.model for call in trace.calls] == ["gpt-4.1-mini", "gpt-4.1", "gpt-4.1"]
    assert trace.calls[0].tools[0]["function"]["name"] == "transfer_to_billing"
    assert [call.index for call in trace.leaves] == [0, 2]
    (step,) = [span for span in trace.spans if span.kind is SpanKind.HANDOFF]
    assert step.data == {"from_agent": "triage", "to_agent": "billing"}


class Answer(BaseModel):
    answer: str
    score: int


@every_way
def test_structured_output(loop, serve, api, stream):
    script = [text('{"answer": "a",  "score": 3}')]
    server = serve(*script)
    agent = an_agent(output_type=Answer)
    result, trace = ask(loop, server, agent, "x", api=api, stream=stream)
    assert result.final_output == Answer(answer="a", score=3)
    check(trace, server, script)
    assert trace.calls[0].response_format["json_schema"]["name"] == "final_output"


@every_way
def test_a_refusal(loop, serve, api, stream):
    script = [text(None, refusal="I will not.")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(), "x", api=api, stream=stream)
    check(trace, server, script)


@every_way
@pytest.mark.parametrize("code", [400, 500])
def test_a_call_that_the_server_refuses(loop, serve, api, stream, code):
    script = [calls(("weather", '{"city":"P"}', "c1")), status(code, "out of order")]
    server = serve(*script)
    error, trace = ask(loop, server, an_agent(tools=[weather]), "x", api=api, stream=stream)
    assert isinstance(error, Exception) or error.run_loop_exception
    check(trace, server, script)
    failed = trace.calls[1]
    assert "out of order" in failed.error
    assert failed.output is None
    assert "out of order" in trace.error
    assert trace.ended_at is not None


@every_way
def test_an_input_guardrail_that_trips(loop, serve, api, stream):
    @input_guardrail(run_in_parallel=False)
    async def nothing_bad(context, agent, said):
        return GuardrailFunctionOutput(output_info="why", tripwire_triggered=True)

    server = serve(text("x"))
    _, trace = ask(
        loop, server, an_agent(input_guardrails=[nothing_bad]), "bad", api=api, stream=stream
    )
    assert trace.error.startswith("InputGuardrailTripwireTriggered")
    (step,) = [span for span in trace.spans if span.kind is SpanKind.GUARDRAIL]
    assert step.data["triggered"] is True


@every_way
def test_an_output_guardrail_that_trips(loop, serve, api, stream):
    @output_guardrail
    async def no_secret(context, agent, said):
        return GuardrailFunctionOutput(output_info="why", tripwire_triggered=True)

    script = [text("the secret is 42")]
    server = serve(*script)
    _, trace = ask(
        loop, server, an_agent(output_guardrails=[no_secret]), "x", api=api, stream=stream
    )
    check(trace, server, script)
    assert trace.error.startswith("OutputGuardrailTripwireTriggered")


@every_way
def test_too_many_turns(loop, serve, api, stream):
    script = [calls(("weather", '{"city":"P"}', f"c{n}")) for n in range(3)]
    server = serve(*script)
    _, trace = ask(
        loop, server, an_agent(tools=[weather]), "x", api=api, stream=stream, max_turns=2
    )
    check(trace, server, script)
    assert trace.error.startswith("MaxTurnsExceeded")
    assert len(trace.calls) == 2


@every_way
def test_an_agent_that_is_a_tool_of_another(loop, serve, api, stream):
    expert = an_agent(name="expert", instructions="You count.", model="gpt-4.1-nano")
    main = an_agent(name="main", tools=[expert.as_tool("ask_expert", "Ask an expert.")])
    script = [calls(("ask_expert", '{"input":"2+2"}', "c1")), text("4"), text("four")]
    server = serve(*script)
    _, trace = ask(loop, server, main, "2+2?", api=api, stream=stream)
    check(trace, server, script)
    assert [call.agent for call in trace.calls] == ["main", "expert", "main"]


@every_way
def test_a_session_brings_what_was_said_before(loop, serve, api, stream):
    script = [text("one"), text("two")]
    server = serve(*script)
    session = SQLiteSession("chat-9")
    agent = an_agent()
    for n, said in enumerate(("first", "second")):
        _, trace = ask(loop, server, agent, said, api=api, stream=stream, session=session)
        assert trace.session == "chat-9"
        (call,) = trace.calls
        assert the_same(call, server.bodies[n], script[n])
    assert [m["content"] for m in sent(server.bodies[1])] == ["You help.", "first", "one", "second"]
    session.close()


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_is_no_part_of_what_was_said(loop, serve, stream):
    script = [calls(("weather", '{"city":"P"}', "c1"), reasoning="hm"), text("ok", reasoning="so")]
    server = serve(*script)
    _, trace = ask(loop, server, an_agent(tools=[weather]), "x", api="responses", stream=stream)
    check(trace, server, script)
    assert trace.calls[1].usage.reasoning_tokens == 2
    assert trace.calls[1].served_model == "gpt-4.1-mini-2026"
    assert trace.calls[1].incomplete is None


@every_way
def test_images_in_what_the_user_says(loop, serve, api, stream):
    script = [text("a cat")]
    server = serve(*script)
    said = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "what is it?"},
                {"type": "input_image", "image_url": "https://x/cat.png", "detail": "low"},
            ],
        }
    ]
    _, trace = ask(loop, server, an_agent(), said, api=api, stream=stream)
    check(trace, server, script)


@every_way
def test_no_instructions_are_no_message(loop, serve, api, stream):
    script = [text("x")]
    for instructions in (None, ""):
        server = serve(*script)
        agent = an_agent(instructions=instructions)
        _, trace = ask(loop, server, agent, "hi", api=api, stream=stream)
        check(trace, server, script)
        assert [m.role for m in trace.calls[0].context] == ["user"]


@every_way
def test_instructions_that_are_made_anew_for_each_run(loop, serve, api, stream):
    async def instructions(context, agent):
        return f"You help {context.context}."

    script = [text("x")]
    server = serve(*script)
    agent = an_agent(instructions=instructions)
    _, trace = ask(loop, server, agent, "hi", api=api, stream=stream, context="ACME")
    check(trace, server, script)
    assert trace.calls[0].context[0].content == "You help ACME."


@every_way
def test_with_tracing_off_every_call_is_still_recorded(loop, serve, api, stream):
    script = [calls(("weather", '{"city":"P"}', "c1")), text("x")]
    server = serve(*script)
    off = {"tracing_disabled": True}
    _, trace = ask(loop, server, an_agent(tools=[weather]), api=api, stream=stream, config=off)
    check(trace, server, script)
    assert trace.spans == ()


def test_input_that_the_caller_changes_afterwards_stays_as_it_was_sent(loop, serve):
    server = serve(text("x"), text("y"))
    history = [{"role": "user", "content": "first"}]

    @function_tool
    def spoil() -> str:
        history[0]["content"] = "spoilt"
        return "ok"

    _, trace = ask(loop, server, an_agent(), history)
    history[0]["content"] = "other"
    assert [m["content"] for m in sent(server.bodies[0])][-1] == "first"
    assert trace.calls[0].context[-1].content == "first"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_cut_off_is_no_example(loop, serve, stream):
    """The SDK does not pass on why a chat completion stopped."""
    server = serve(text("and then", finish="length", tokens=16), text("fine", tokens=5))
    agent = an_agent(model_settings=ModelSettings(max_tokens=16))
    config = {"model_settings": ModelSettings(include_usage=True)}
    _, cut = ask(loop, server, agent, stream=stream, config=config)
    _, whole = ask(loop, server, agent, stream=stream, config=config)
    assert cut.calls[0].finish_reason == "length"
    assert cut.calls[0].incomplete == "the answer was cut off: length"
    assert (whole.calls[0].finish_reason, whole.calls[0].incomplete) == ("stop", None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ended", ["incomplete", "failed"])
def test_a_response_that_does_not_come_to_its_end(loop, serve, stream, ended):
    server = serve(text("and then", finish=ended))
    _, trace = ask(loop, server, an_agent(), api="responses", stream=stream)
    (call,) = trace.calls
    assert trace.error is not None
    assert call.error or call.incomplete


def test_two_runs_at_once_are_two_traces(loop, serve):
    from agents import RunConfig

    from tests.capture.asking import provider

    server = serve(*[text("x")] * 8)
    agent = an_agent()

    async def both():
        config = RunConfig(model_provider=provider(server))
        return await asyncio.gather(
            *(loop.run(agent, f"q{n}", run_config=config, user=f"u{n}") for n in range(8))
        )

    results = asyncio.run(both())
    loop.flush()
    traces = [loop.store.trace(result.trace_id) for result in results]
    assert [trace.calls[0].context[-1].content for trace in traces] == [f"q{n}" for n in range(8)]
    assert [trace.user for trace in traces] == [f"u{n}" for n in range(8)]
    assert all(json.loads(trace.to_line())["ended_at"] for trace in traces)
