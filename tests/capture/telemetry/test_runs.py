"""Runs on the real SDK, as the spans that an application's own provider is told."""

import asyncio
from datetime import timedelta

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    ModelSettings,
    RunConfig,
    custom_span,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message, function_call
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from agentloop import Telemetry
from agentloop.base.errors import ConfigError
from agentloop.capture.telemetry import names
from tests.capture.asking import ask, broken, weather
from tests.capture.server import calls, status, text

SECRET = "sesame"
"""Stands in everything that is said, and must be nowhere where content is not asked for."""

either = pytest.mark.parametrize("api", ["chat", "responses"])


@function_tool
def find_order(order_id: str) -> str:
    """Look up an order by sesame."""
    if order_id == "sesame!":
        raise ValueError(f"{order_id} is no order")
    return f"{order_id} is shipped"


def support(**fields):
    given = {"name": "support", "instructions": f"You know {SECRET}.", "model": "gpt-4.1"}
    return Agent(**(given | fields))


def asks_twice():
    return [
        calls(("find_order", f'{{"order_id":"{SECRET}"}}', "c1")),
        calls(("find_order", f'{{"order_id":"{SECRET}!"}}', "c2")),
        text(f"{SECRET} is shipped"),
    ]


def attributes(span):
    return dict(span.attributes)


@either
@pytest.mark.parametrize("stream", [False, True])
def test_a_run_is_a_tree_of_spans(application, opened, serve, api, stream):
    server = serve(calls(("weather", '{"city":"Rome"}', "c1")), text("Sunny."))
    with opened(application.tracer_provider) as loop:
        agent = support(tools=[weather], model_settings=ModelSettings(temperature=0.5))
        _, trace = ask(loop, server, agent, api=api, stream=stream, user="u7", session="s1")
    assert application.tree == [
        ("invoke_workflow Agent workflow", None),
        ("invoke_agent support", "invoke_workflow Agent workflow"),
        ("chat gpt-4.1", "invoke_agent support"),
        ("execute_tool weather", "invoke_agent support"),
        ("chat gpt-4.1", "invoke_agent support"),
    ]
    first, last = [s for s in application.told.get_finished_spans() if s.name == "chat gpt-4.1"]
    first, last = (first, last) if first.start_time < last.start_time else (last, first)
    assert first.kind is SpanKind.CLIENT
    told = attributes(last)
    assert told.pop(names.RESPONSE_ID) == trace.calls[1].response_id
    finish = told.pop(names.RESPONSE_FINISH_REASONS, None)
    assert finish == ((trace.calls[1].finish_reason,) if trace.calls[1].finish_reason else None)
    for name, value in (
        (names.USAGE_REASONING, trace.calls[1].usage.reasoning_tokens),
        (names.RESPONSE_MODEL, trace.calls[1].served_model),
        (names.REQUEST_STREAM, stream),
    ):
        assert told.pop(name, None) == (value or None)
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "openai.api.type": "chat_completions" if api == "chat" else "responses",
        "gen_ai.agent.name": "support",
        "gen_ai.conversation.id": "s1",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.output_tokens": 5,
        "agentloop.call.id": trace.calls[1].id,
    }
    tool = attributes(application.spans["execute_tool weather"])
    assert tool["gen_ai.tool.name"] == "weather"
    assert tool["gen_ai.tool.call.id"] == "c1"
    root = application.spans["invoke_workflow Agent workflow"]
    assert attributes(root)["user.id"] == "u7"
    assert root.instrumentation_scope.name == "agentloop"
    assert root.instrumentation_scope.schema_url == names.SCHEMA_URL


def test_the_times_are_those_of_the_capture(application, opened, serve):
    server = serve(text("hello"))
    with opened(application.tracer_provider) as loop:
        _, trace = ask(loop, server, support())

    def of_day(span_time, moment):
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        return span_time - int(midnight.timestamp()) * 10**9 == (
            (moment - midnight) // timedelta(microseconds=1) * 1000
        )

    chat, root = (
        application.spans["chat gpt-4.1"],
        application.spans["invoke_workflow Agent workflow"],
    )
    call = trace.calls[0]
    assert of_day(chat.start_time, call.started_at)
    assert of_day(chat.end_time, call.ended_at)
    assert of_day(root.start_time, trace.started_at)
    assert of_day(root.end_time, trace.ended_at)


@either
def test_nothing_that_was_said_is_told_unless_it_is_asked_for(application, opened, serve, api):
    otel = Telemetry(application.tracer_provider, application.logger_provider)
    with opened(otel) as loop:
        _, trace = ask(loop, serve(*asks_twice()), support(tools=[find_order]), SECRET, api=api)
        ask(loop, serve(status(400, SECRET)), support(), SECRET, api=api)
        loop.rate(trace.id, "down", by="ann", comment=f"{SECRET}?")
        loop.correct(trace.id, SECRET, by="ann", comment=SECRET)
        loop.outcome(trace.id, "resolved", False, reference=SECRET)
    spans = application.told.get_finished_spans()
    assert len(spans) == 10
    for span in spans:
        assert SECRET not in span.to_json()
    told = [about for about, _ in application.evaluations]
    assert len(told) == 2
    assert SECRET not in repr(told)
    failed = [s for s in spans if s.status.status_code is StatusCode.ERROR]
    known = {"ValueError", "BadRequestError", names.OTHER_ERROR}  # the SDK's of the agent's step
    assert {s.attributes["error.type"] for s in failed} == known


@either
def test_with_content_all_of_it_is_told(application, opened, serve, api):
    with opened(Telemetry(application.tracer_provider, content=True)) as loop:
        ask(loop, serve(*asks_twice()), support(tools=[find_order]), SECRET, api=api)
    chat = attributes(application.spans["chat gpt-4.1"])
    for name in (names.INPUT_MESSAGES, names.OUTPUT_MESSAGES, names.TOOL_DEFINITIONS):
        assert SECRET in chat[name]
    assert (names.SYSTEM_INSTRUCTIONS in chat) == (api == "responses")
    tools = [attributes(s) for s in application.told.get_finished_spans() if "tool" in s.name]
    assert all(SECRET in tool[names.TOOL_ARGUMENTS] for tool in tools)
    assert f"{SECRET} is shipped" in [tool[names.TOOL_RESULT] for tool in tools]


def test_a_run_of_metadata_alone_is_told_without_what_was_said(application, opened, serve):
    with opened(Telemetry(application.tracer_provider, content=True)) as loop:
        server = serve(*asks_twice())
        ask(loop, server, support(tools=[find_order]), SECRET, capture="metadata")
    assert len(application.told.get_finished_spans()) == 7
    for span in application.told.get_finished_spans():
        assert SECRET not in span.to_json()


def test_a_run_that_is_not_captured_is_not_told(application, opened, event_loop_of_its_own):
    with opened(application.tracer_provider) as loop:
        config = RunConfig(model=ScriptedModel([[assistant_message("hi")]]))
        loop.run_sync(support(), "hi", run_config=config, capture="off")
    assert application.tree == []


def test_a_handoff_stands_between_two_agents(application, opened, serve):
    billing = support(name="billing")
    server = serve(calls(("transfer_to_billing", "{}", "c1")), text("Done."))
    with opened(application.tracer_provider) as loop:
        ask(loop, server, support(handoffs=[billing]))
    assert ("handoff billing", "invoke_agent support") in application.tree
    assert ("invoke_agent billing", "invoke_workflow Agent workflow") in application.tree
    assert ("chat gpt-4.1", "invoke_agent billing") in application.tree
    told = attributes(application.spans["handoff billing"])
    assert (told[names.HANDOFF_FROM], told[names.HANDOFF_TO]) == ("support", "billing")


def test_an_agent_that_is_a_tool_is_inside_of_it(application, opened, serve):
    inner = support(name="inner", model="small")
    server = serve(calls(("ask", '{"input":"x"}', "c1")), text("inner says"), text("Done."))
    tool = inner.as_tool(tool_name="ask", tool_description="x")
    with opened(application.tracer_provider) as loop:
        ask(loop, server, support(tools=[tool]))
    assert ("invoke_agent inner", "execute_tool ask") in application.tree
    assert ("chat small", "invoke_agent inner") in application.tree


def test_errors_are_the_status_of_what_failed(application, opened, serve):
    server = serve(calls(("broken", '{"x":1}', "c1")), status(400, "no such thing"))
    with opened(Telemetry(application.tracer_provider, content=True)) as loop:
        ask(loop, server, support(tools=[broken]))
    tool = application.spans["execute_tool broken"]
    assert tool.attributes["error.type"] == "ValueError"
    root = application.spans["invoke_workflow Agent workflow"]
    assert root.status.status_code is StatusCode.ERROR
    assert root.attributes["error.type"] == "BadRequestError"
    assert "no such thing" in root.status.description
    chats = [s for s in application.told.get_finished_spans() if s.name == "chat gpt-4.1"]
    assert {s.status.status_code for s in chats} == {StatusCode.UNSET, StatusCode.ERROR}


def test_a_guardrail_says_whether_it_tripped(application, opened, serve):
    guard = InputGuardrail(
        lambda *_: GuardrailFunctionOutput(output_info=None, tripwire_triggered=True),
        name="no_shouting",
        run_in_parallel=False,
    )
    with opened(application.tracer_provider) as loop:
        ask(loop, serve(), support(input_guardrails=[guard]))
    told = application.spans["guardrail_check no_shouting"]
    assert told.attributes[names.GUARDRAIL_TRIGGERED] is True


def test_without_tracing_the_run_is_the_agents(application, opened, serve):
    server = serve(text("hello"))
    with opened(application.tracer_provider) as loop:
        ask(loop, server, support(), config={"tracing_disabled": True})
    assert application.tree == [
        ("invoke_agent support", None),
        ("chat gpt-4.1", "invoke_agent support"),
    ]


def test_steps_of_the_users_own_are_told_under_their_names(
    application, opened, event_loop_of_its_own
):
    @function_tool
    def look() -> str:
        """Look."""
        with custom_span("database"):
            return "x"

    steps = [[function_call("look", {}, call_id="c1")], [assistant_message("hi")]]
    with opened(application.tracer_provider) as loop:
        config = RunConfig(model=ScriptedModel(steps))
        loop.run_sync(support(tools=[look]), "hi", run_config=config)
    assert ("database", "execute_tool look") in application.tree


def test_a_run_is_part_of_the_span_that_it_was_asked_for_in(application, opened, serve):
    tracer = application.tracer_provider.get_tracer("application")
    server = serve(text("hello"), text("hello"))
    with opened(application.tracer_provider) as loop:
        with tracer.start_as_current_span("POST /chat") as request:
            ask(loop, server, support())
        ask(loop, server, support())
    inside = [s for s in application.told.get_finished_spans() if s.name.startswith("invoke_w")]
    assert {s.parent and s.parent.span_id for s in inside} == {
        request.get_span_context().span_id,
        None,
    }


def test_what_the_application_does_not_sample_is_not_told(opened, serve, application):
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(application.told))
    with opened(provider) as loop:
        ask(loop, serve(text("hello")), support())
    assert application.tree == []
    provider.shutdown()


def test_concurrent_runs_are_told_apart(application, opened):
    async def all_at_once(loop):
        configs = [RunConfig(model=ScriptedModel([[assistant_message("x")]])) for _ in range(20)]
        await asyncio.gather(*(loop.run(support(), "hi", run_config=c) for c in configs))

    with opened(application.tracer_provider) as loop:
        asyncio.run(all_at_once(loop))
    spans = application.told.get_finished_spans()
    by_trace = {}
    for span in spans:
        by_trace.setdefault(span.context.trace_id, []).append(span.name)
    assert [sorted(named) for named in by_trace.values()] == [
        ["chat", "invoke_agent support", "invoke_workflow Agent workflow"]
    ] * 20


def test_a_paused_run_goes_on_as_a_part_of_the_same_trace(application, opened):
    @function_tool(needs_approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    agent = support(tools=[pay])
    model = ScriptedModel([[function_call("pay", {}, call_id="c1")], [assistant_message("Done.")]])
    config = RunConfig(model=model)

    async def twice(loop):
        result = await loop.run(agent, "hi", run_config=config)
        state = result.to_state()
        state.approve(result.interruptions[0])
        return await loop.run(agent, state, run_config=config)

    with opened(application.tracer_provider) as loop:
        result = asyncio.run(twice(loop))
    spans = application.told.get_finished_spans()
    assert len({span.context.trace_id for span in spans}) == 1
    assert len({span.context.span_id for span in spans}) == len(spans)
    roots = [span for span in spans if span.parent is None]
    assert [attributes(root)[names.TRACE_ID] for root in roots] == [result.trace_id] * 2
    asked = [s for s in spans if s.name == "chat"]
    assert [s.attributes[names.CALL_ID] for s in asked] == [
        f"{result.trace_id}/{n}" for n in range(2)
    ]


@pytest.mark.parametrize("wrong", ["http://localhost:4318", None, 1])
def test_what_is_no_provider_is_an_error(opened, wrong):
    with pytest.raises(ConfigError, match="otel is True, a TracerProvider or a Telemetry"):
        opened(wrong)
