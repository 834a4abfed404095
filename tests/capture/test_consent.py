"""How much of a run is kept, and whether it may be learned from: said by each run."""

import asyncio
import json

import pytest
from agents import Agent, RunConfig, RunState, custom_span, function_tool
from agents.testing import ScriptedModel, assistant_message

from agentloop import AgentLoop
from agentloop.base.errors import ConfigError, EmptyHarvest, NotFound
from agentloop.base.records import SpanKind
from tests.capture.asking import ask, broken, weather
from tests.capture.server import calls, status, text
from tests.capture.test_instrument import an_agent, plain
from tests.capture.test_runs import refund

both = pytest.mark.parametrize("stream", [False, True])
every_way = pytest.mark.parametrize(
    ("api", "stream"), [(api, stream) for api in ("chat", "responses") for stream in (False, True)]
)
SECRET = "4111-1111"


@function_tool
def pay(card: str) -> str:
    """Pay."""
    with custom_span("charging", {"card": card}):
        return f"{card} was charged"


@every_way
def test_of_a_run_with_metadata_alone_nothing_that_was_said_is_kept(loop, serve, api, stream):
    script = [
        calls(("pay", f'{{"card": "{SECRET}"}}', "c1"), ("broken", '{"x": 1}', "c2")),
        text(f"{SECRET} is charged."),
    ]
    agent = an_agent(instructions=f"The card is {SECRET}.", tools=[pay, broken])
    server = serve(*script)
    result, trace = ask(
        loop, server, agent, f"pay with {SECRET}", api=api, stream=stream, capture="metadata"
    )
    assert result.final_output == f"{SECRET} is charged."
    assert SECRET in json.dumps(server.bodies)
    assert SECRET not in trace.to_line()
    assert trace.capture == "metadata"
    assert [call.model for call in trace.calls] == ["gpt-4.1-mini"] * 2
    assert [call.output for call in trace.calls] == [None, None]
    if api == "responses" or not stream:
        assert [call.usage.input_tokens for call in trace.calls] == [10, 20]
    assert all(call.started_at <= call.ended_at for call in trace.calls)
    kinds = {(span.kind, span.name) for span in trace.spans}
    assert {(SpanKind.TOOL, "pay"), (SpanKind.TOOL, "broken")} < kinds
    assert all(span.data == {} for span in trace.spans)
    assert SECRET.encode() not in b"".join(
        file.read_bytes() for file in loop._spill.parent.glob("loop.db*")
    )


def test_an_error_is_kept_by_its_kind_alone(loop, serve):
    _, trace = ask(loop, serve(status(400, SECRET)), an_agent(), capture="metadata")
    assert (trace.error, trace.calls[0].error) == ("BadRequestError", "BadRequestError")
    assert SECRET not in trace.to_line()


def test_metadata_makes_no_row(loop, serve):
    result, _ = ask(loop, serve(text("x")), an_agent(), capture="metadata")
    loop.rate(result.trace_id, "up", by="u")
    with pytest.raises(EmptyHarvest, match="incomplete"):
        loop.harvest("sft", agent="support")


@both
def test_of_a_run_that_is_off_nothing_is_kept(loop, serve, stream):
    server = serve(calls(("weather", '{"city":"P"}', "c1")), text("x"))
    with pytest.raises(NotFound):
        ask(loop, server, an_agent(tools=[weather]), stream=stream, capture="off")
    assert len(server.bodies) == 2, "it ran"
    assert loop.store.count() == 0


@both
def test_a_run_without_consent_is_kept_whole_and_never_harvested(loop, serve, stream):
    result, trace = ask(loop, serve(text("x")), an_agent(), stream=stream, consent=False)
    assert (trace.answer, trace.consent, trace.capture) == ("x", False, "full")
    loop.rate(result.trace_id, "up", by="u")
    loop.outcome(result.trace_id, "resolved", True, reference="x")
    for method in ("sft", "dpo", "rft"):
        with pytest.raises(EmptyHarvest):
            loop.harvest(method, agent="support")
    other, _ = ask(loop, serve(text("y")), an_agent(), stream=stream)
    loop.rate(other.trace_id, "up", by="u")
    dataset = loop.harvest("sft", agent="support", valid_share=0.0)
    assert [row.traces for row in dataset.rows] == [(other.trace_id,)]
    (refused,) = dataset.refused
    assert (refused.code.value, refused.traces) == ("no_consent", (result.trace_id,))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"capture": "some"}, "capture is one of full, metadata, off, not 'some'"),
        ({"consent": "no"}, "consent is True or False, not 'no'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_run(loop, said, why):
    with pytest.raises(ConfigError, match=why):
        asyncio.run(loop.run(Agent(name="support"), "hi", **said))
    loop.flush()
    assert loop.store.count() == 0


@both
@pytest.mark.parametrize("process", ["same", "another"])
@pytest.mark.parametrize(
    "said", [{"capture": "metadata"}, {"consent": False}, {"capture": "off"}], ids=str
)
def test_a_run_that_goes_on_is_captured_as_it_began(loop, tmp_path, serve, stream, process, said):
    """Who goes on with it, maybe elsewhere, need not say it again; and cannot say more."""
    script = [calls(("refund", '{"order":"7"}', "c1")), text("done")]
    server = serve(*script)
    agent = an_agent(tools=[refund])
    metadata = {"trace_metadata": {"k": "v"}}

    async def begin():
        from tests.capture.asking import asked, provider

        config = RunConfig(model_provider=provider(server), **metadata)
        return await asked(loop, agent, "refund 7", stream=stream, run_config=config, **said)

    result = asyncio.run(begin())
    written = json.dumps(result.to_state().to_json())

    async def state():
        back = await RunState.from_json(agent, json.loads(written))
        for item in back.get_interruptions():
            back.approve(item)
        return back

    def go_on(loop):
        return ask(loop, server, agent, asyncio.run(state()), stream=stream, **more)

    more = {"capture": "full", "consent": True}
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=loop.settings) as other:
        goes_on = loop if process == "same" else other
        if said.get("capture") == "off":
            with pytest.raises(NotFound):
                go_on(goes_on)
            assert len(server.bodies) == 2
            return
        resumed, trace = go_on(goes_on)
    assert (trace.id, resumed.final_output) == (result.trace_id, "done")
    assert trace.capture == said.get("capture", "full")
    assert trace.consent is said.get("consent", True)
    assert trace.metadata == {"k": "v"}
    assert [call.output is None for call in trace.calls] == [trace.capture == "metadata"] * 2


def test_plain_runs_are_captured_as_the_program_says(loop, serve):
    loop.instrument(capture="metadata", consent=False)
    loop.instrument()  # by somebody else: nothing that was said is taken back
    plain(serve(text(SECRET)), an_agent())
    loop.flush()
    (one,) = loop.store.all_judged()
    assert (one.trace.capture, one.trace.consent) == ("metadata", False)
    assert SECRET not in one.trace.to_line()


def test_a_usual_run_says_nothing_of_it_to_other_processors(loop):
    seen = []

    class Model(ScriptedModel):
        async def get_response(self, *args, **kwargs):
            from agents import get_current_trace

            seen.append(get_current_trace().metadata)
            return await super().get_response(*args, **kwargs)

    for said in ({}, {"capture": "metadata", "consent": False}):
        config = RunConfig(model=Model([[assistant_message("x")]]), trace_metadata={"k": "v"})
        asyncio.run(loop.run(Agent(name="support"), "hi", run_config=config, **said))
    note = {"agentloop.capture": "metadata", "agentloop.consent": "no"}
    assert seen == [{"k": "v"}, {"k": "v", **note}]
