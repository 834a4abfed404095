"""Runs as users run them: their hooks, filters and configurations, and streams that break off."""

import asyncio
import json
import logging
from typing import Any

import agents
import pytest
from agents import (
    Agent,
    AgentHooks,
    ModelSettings,
    RunConfig,
    RunHooks,
    RunState,
    function_tool,
    retry_policies,
)
from agents.models.interface import ModelProvider
from agents.retry import ModelRetrySettings
from agents.run import ModelInputData
from agents.testing import ScriptedModel, assistant_message, function_call

from agentloop.base.errors import ConfigError, StoreError
from agentloop.base.records import SpanKind
from tests.capture.asking import ask, asked, provider, sent, the_same, weather
from tests.capture.server import calls, status, text

either = pytest.mark.parametrize("api", ["chat", "responses"])
both = pytest.mark.parametrize("stream", [False, True])


def support(**fields):
    return Agent(**({"name": "support", "instructions": "You help.", "model": "gpt-4.1"} | fields))


def scripted(*answers):
    """A configuration whose model says these texts, or makes these tool calls."""
    steps = [
        [assistant_message(a) if isinstance(a, str) else function_call(*a, call_id=f"c{n}")]
        for n, a in enumerate(answers)
    ]
    return RunConfig(model=ScriptedModel(steps))


def stored(loop, result):
    loop.flush()
    return loop.store.trace(result.trace_id)


# ---------------------------------------------------------------------- what is the user's


@both
def test_the_users_own_filter_goes_on_working(loop, serve, stream):
    server = serve(text("x"), text("y"))
    seen = []

    def shorten(data):
        seen.append(data.agent.name)
        return ModelInputData(input=data.model_data.input[-1:], instructions="Be brief.")

    async def slowly(data):
        return shorten(data)

    for n, filter in enumerate((shorten, slowly)):
        config = {"call_model_input_filter": filter}
        said = [{"role": "user", "content": "long ago"}, {"role": "user", "content": "now"}]
        _, trace = ask(loop, server, support(), said, stream=stream, config=config)
        assert [m["content"] for m in server.bodies[n]["messages"]] == ["Be brief.", "now"]
        assert [m.content for m in trace.calls[0].context] == ["Be brief.", "now"]
    assert seen == ["support"] * 2


@both
def test_a_filter_that_fails_fails_the_run_as_it_would_without_us(loop, serve, stream):
    def fails(data):
        raise ZeroDivisionError("mine")

    error, trace = ask(
        loop, serve(), support(), stream=stream, config={"call_model_input_filter": fails}
    )
    assert isinstance(error, ZeroDivisionError)
    assert trace.error == "ZeroDivisionError: mine"


@both
def test_hooks_are_called_as_ever(loop, serve, stream):
    server = serve(calls(("weather", '{"city":"P"}', "c1")), text("x"))
    log: list[Any] = []

    class Ours(RunHooks):
        async def on_llm_start(self, context, agent, system, items):
            log.append(("start", agent.name, system))

        async def on_llm_end(self, context, agent, response):
            log.append(("end", agent.name))

        async def on_tool_start(self, context, agent, tool):
            log.append(("tool", tool.name))

    class Theirs(AgentHooks):
        async def on_end(self, context, agent, output):
            log.append(("over", output))

    agent = support(tools=[weather], hooks=Theirs())
    _, trace = ask(loop, server, agent, stream=stream, hooks=Ours())
    assert log == [
        ("start", "support", "You help."),
        ("end", "support"),
        ("tool", "weather"),
        ("start", "support", "You help."),
        ("end", "support"),
        ("over", "x"),
    ]
    assert len(trace.calls) == 2


def test_other_trace_processors_go_on_seeing_everything(loop, serve):
    class Theirs(agents.TracingProcessor):
        def __init__(self):
            self.ended = []

        def on_trace_start(self, trace):
            self.trace = trace

        def on_trace_end(self, trace):
            pass

        def on_span_start(self, span):
            pass

        def on_span_end(self, span):
            self.ended.append(span.span_data.type)

        def shutdown(self):
            pass

        def force_flush(self):
            pass

    theirs = Theirs()
    agents.add_trace_processor(theirs)
    result, trace = ask(loop, serve(text("x")), support(), session="chat-9")
    assert theirs.trace.trace_id == result.trace_id
    assert theirs.trace.group_id == "chat-9"
    assert "generation" in theirs.ended
    assert len(trace.spans) == len(theirs.ended)
    kinds = [span.kind for span in trace.spans]
    assert kinds.count(SpanKind.CALL) == kinds.count(SpanKind.AGENT) == 1


def test_spans_make_a_tree(loop, serve):
    server = serve(calls(("weather", '{"city":"P"}', "c1")), text("x"))
    _, trace = ask(loop, server, support(tools=[weather]))
    ids = {span.id for span in trace.spans}
    roots = [span for span in trace.spans if span.parent_id not in ids]
    assert len(roots) == 1
    (tool,) = [span for span in trace.spans if span.kind is SpanKind.TOOL]
    assert json.loads(tool.data["input"]) == {"city": "P"}
    assert tool.data["output"] == "{'city': 'P', 'temp': 21}"
    assert tool.started_at <= tool.ended_at


def test_a_plain_run_of_the_sdk_is_none_of_ours(loop, serve):
    server = serve(text("x"))
    ask(loop, serve(text("y")), support())

    async def plain():
        config = RunConfig(model_provider=provider(server))
        return await agents.Runner.run(support(), "hi", run_config=config)

    assert asyncio.run(plain()).final_output == "x"
    loop.flush()
    assert loop.store.count() == 1


# ---------------------------------------------------------------------- configuration


@both
def test_the_configuration_may_be_a_dict(loop, serve, stream):
    server = serve(text("x"))

    async def run():
        config = {
            "model_provider": provider(server),
            "model_settings": {"temperature": 0.5},
            "workflow_name": "w",
            "trace_metadata": {"k": "v"},
        }
        return await asked(loop, support(), "hi", stream=stream, run_config=config)

    trace = stored(loop, asyncio.run(run()))
    assert server.bodies[0]["temperature"] == 0.5
    assert (trace.workflow, trace.metadata) == ("w", {"k": "v"})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"run_config": {"colour": "red"}}, "run_config: .*colour"),
        ({"run_config": 7}, "run_config is a RunConfig or a dict, not int"),
        ({"user": 7}, "a run cannot be recorded so: user: "),
        ({"tags": {"a": ["b"]}}, r"a run cannot be recorded so: tags\.a"),
        ({"held_out": "maybe"}, "a run cannot be recorded so: held_out"),
    ],
)
def test_a_run_that_cannot_be_recorded_so_does_not_begin(loop, options, why):
    with pytest.raises(ConfigError, match=why):
        asyncio.run(loop.run(support(), "hi", **options))
    loop.flush()
    assert loop.store.count() == 0


def test_what_a_run_is_told_of_itself_is_on_its_trace(loop):
    result = asyncio.run(
        loop.run(
            support(),
            "hi",
            run_config=scripted("x"),
            user="u",
            session="s",
            task_id="k",
            tags={"test": True},
            held_out=True,
        )
    )
    trace = stored(loop, result)
    assert (trace.user, trace.session, trace.task_id) == ("u", "s", "k")
    assert (trace.tags, trace.held_out) == ({"test": True}, True)


def test_a_trace_id_of_the_users_own_is_kept_and_never_given_twice(loop):
    config = RunConfig(
        model=ScriptedModel([[assistant_message("x")], [assistant_message("y")]]),
        trace_id="trace_of_mine",
    )
    first = asyncio.run(loop.run(support(), "hi", run_config=config))
    second = asyncio.run(loop.run(support(), "hi", run_config=config))
    assert first.trace_id == "trace_of_mine"
    assert second.trace_id != first.trace_id
    assert stored(loop, first).answer == "x"
    assert stored(loop, second).answer == "y"


def test_runs_inside_a_trace_of_the_users_own_are_traces_of_ours(loop):
    async def run():
        with agents.trace("outer"):
            one = await loop.run(support(), "a", run_config=scripted("x"))
            two = await loop.run(support(), "b", run_config=scripted("y"))
        return one, two

    one, two = (stored(loop, result) for result in asyncio.run(run()))
    assert (one.answer, two.answer) == ("x", "y")
    assert one.id != two.id


def test_settings_with_secrets_or_functions_in_them_are_recorded_without(loop, serve):
    server = serve(text("x"))
    settings = ModelSettings(
        temperature=0.1,
        extra_headers={"X-Key": "secret"},
        extra_query={"key": "secret"},
        extra_body={"key": "secret"},
        extra_args={"seed": 7, "user": "someone"},
        retry=ModelRetrySettings(max_retries=1, policy=retry_policies.http_status([503])),
    )
    _, trace = ask(loop, server, support(model_settings=settings))
    assert trace.calls[0].settings == {"temperature": 0.1, "seed": 7, "user": "someone"}
    assert trace.calls[0].incomplete is None
    assert "secret" not in trace.to_line()


def test_a_call_that_is_tried_again_is_two_calls(loop, serve):
    server = serve(status(503), text("x"))
    policy = ModelRetrySettings(max_retries=1, policy=retry_policies.http_status([503]))
    result, trace = ask(loop, server, support(model_settings=ModelSettings(retry=policy)))
    assert result.final_output == "x"
    assert [call.error is None for call in trace.calls] == [False, True]
    assert trace.calls[0].context == trace.calls[1].context
    assert trace.leaves == (trace.calls[1],)
    assert result.call_id == trace.calls[1].id


def test_a_provider_that_is_the_users_own_is_not_closed(loop):
    class Theirs(ModelProvider):
        closed = 0

        def get_model(self, name):
            return ScriptedModel([[assistant_message("x")]])

        async def aclose(self):
            self.closed += 1

    theirs = Theirs()
    asyncio.run(loop.run(support(), "hi", run_config=RunConfig(model_provider=theirs)))
    assert theirs.closed == 0


@pytest.mark.parametrize("way", ["run", "stream", "sync"])
@pytest.mark.parametrize("config", [None, {}])
def test_a_provider_that_was_made_for_the_run_is_closed_after_it(
    loop, monkeypatch, way, config, event_loop_of_its_own
):
    closed = []

    async def aclose(self):
        closed.append(self)

    def get_model(self, name):
        return ScriptedModel([[assistant_message("x")]])

    monkeypatch.setattr(agents.MultiProvider, "aclose", aclose)
    monkeypatch.setattr(agents.MultiProvider, "get_model", get_model)
    if way == "sync":
        loop.run_sync(support(), "hi", run_config=config)
    else:
        asyncio.run(asked(loop, support(), "hi", stream=way == "stream", run_config=config))
    assert len(closed) == 1


def test_a_run_may_be_synchronous(loop, event_loop_of_its_own):
    result = loop.run_sync(support(), "hi", run_config=scripted("x"), user="u")
    trace = stored(loop, result)
    assert (trace.answer, trace.user, result.call_id) == ("x", "u", f"{trace.id}/0")


# ---------------------------------------------------------------------- errors


@both
def test_an_error_names_the_trace_of_its_run(loop, serve, stream):
    error, trace = ask(loop, serve(status(400, "out of order")), support(), stream=stream)
    assert error.trace_id == trace.id
    assert error.__dict__["trace_id"] == trace.id
    loop.rate(error.trace_id, "down", by="u")
    assert loop.judgement(trace.id).score == 0.0


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"type": "message", "content": "of nobody"}, "an item cannot be read: KeyError: 'role'"),
        ({"role": "robot", "content": "x"}, "the context could not be kept: ValidationError"),
        ({"type": "compaction", "id": "c"}, "an item of type 'compaction' has no"),
    ],
)
def test_an_item_that_cannot_be_converted_is_named_and_the_call_is_kept(loop, item, why):
    said = [{"role": "user", "content": "first"}, item]
    trace = stored(loop, asyncio.run(loop.run(support(), said, run_config=scripted("x"))))
    (call,) = trace.calls
    assert call.output.text == "x"
    assert why in call.incomplete


def test_items_without_a_form_as_a_message_make_the_call_incomplete(loop, serve):
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed",
              "action": {"type": "search", "query": "x"}}  # fmt: skip
    server = serve(text("found", items=[search]))
    _, trace = ask(loop, server, support(tools=[agents.WebSearchTool()]), api="responses")
    (call,) = trace.calls
    assert call.output.text == "found"
    assert "the hosted tool 'web_search'" in call.incomplete
    assert "'web_search_call' has no Chat Completions form" in call.incomplete


def test_a_store_that_refuses_never_fails_a_run(loop, monkeypatch, caplog):
    def refuse(*records):
        raise StoreError("gone")

    asyncio.run(loop.run(support(), "hi", run_config=scripted("x")))
    loop.flush()
    with monkeypatch.context() as patch:
        patch.setattr(loop.store, "put", refuse)
        result = asyncio.run(loop.run(support(), "hi", run_config=scripted("y")))
        assert result.final_output == "y"
        with pytest.raises(StoreError, match="gone"):
            loop.flush()
    assert stored(loop, result).answer == "y"


# ---------------------------------------------------------------------- streams that break off


async def until_the_first_words(result):
    """Reads a stream until the model begins to answer."""
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.created":
            break


def begun(loop, server, how, api):
    """A stream that is left before its end, in the way that `how` leaves it."""

    async def run():
        config = RunConfig(model_provider=provider(server, api))
        result = loop.run_streamed(support(), "hi", run_config=config)
        await until_the_first_words(result)
        how(result)
        return result

    result = asyncio.run(run())
    return stored(loop, result)


@either
def test_a_stream_that_nobody_reads_to_its_end_is_recorded_as_incomplete(loop, serve, api):
    trace = begun(loop, serve(text("never", hangs=True)), lambda result: None, api)
    (call,) = trace.calls
    assert call.incomplete == "the stream was not read to its end"
    assert call.output is None
    assert trace.error.startswith("CancelledError")
    assert trace.ended_at is not None


@either
def test_a_stream_that_is_cancelled_is_recorded_as_such(loop, serve, api):
    trace = begun(loop, serve(text("never", hangs=True)), lambda result: result.cancel(), api)
    assert trace.calls[0].incomplete == "the stream was not read to its end"
    assert trace.error == "CancelledError: the stream was cancelled"


def test_a_stream_that_ends_after_its_turn_is_whole(loop, serve):
    server = serve(calls(("weather", '{"city":"P"}', "c1")), text("never asked"))

    async def run():
        config = RunConfig(model_provider=provider(server))
        result = loop.run_streamed(support(tools=[weather]), "hi", run_config=config)
        async for _ in result.stream_events():
            result.cancel(mode="after_turn")
        return result

    trace = stored(loop, asyncio.run(run()))
    assert len(trace.calls) == 1
    assert trace.calls[0].incomplete is None
    assert trace.error is None


class Waiting(ScriptedModel):
    """A model that begins to think and never ends."""

    def __init__(self):
        super().__init__([])
        self.began = asyncio.Event()

    async def get_response(self, *args, **kwargs):
        self.began.set()
        await asyncio.Event().wait()


def test_a_run_that_is_cancelled_is_recorded_as_such(loop):
    async def run():
        model = Waiting()
        config = RunConfig(model=model)
        task = asyncio.ensure_future(loop.run(support(), "hi", run_config=config))
        await model.began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    trace = stored(loop, asyncio.run(run()))
    assert trace.error == "CancelledError"
    assert trace.calls[0].error == "CancelledError"


def test_the_ids_of_a_stream_are_known_from_the_start_and_at_the_end(loop):
    async def run():
        result = loop.run_streamed(support(), "hi", run_config=scripted("x"))
        early = result.trace_id, result.call_id
        async for _ in result.stream_events():
            pass
        return result, early

    result, early = asyncio.run(run())
    assert early == (result.trace_id, None)
    assert result.call_id == f"{result.trace_id}/0"


# ---------------------------------------------------------------------- approvals


@function_tool(needs_approval=True)
def refund(order: str) -> str:
    """Give the money back."""
    return f"{order} refunded"


@either
@both
@pytest.mark.parametrize("process", ["same", "another"])
def test_a_run_that_waits_for_approval_goes_on_as_the_same_trace(
    loop, tmp_path, serve, stream, process, api
):
    from agentloop import AgentLoop

    script = [calls(("refund", '{"order":"7"}', "c1")), text("done")]
    server = serve(*script)
    agent = support(tools=[refund])
    result, paused = ask(
        loop, server, agent, "refund 7", api=api, stream=stream, user="u", session="s"
    )
    assert result.interruptions
    written = json.dumps(result.to_state().to_json())

    async def state():
        back = await RunState.from_json(agent, json.loads(written))
        for item in back.get_interruptions():
            back.approve(item)
        return back

    def go_on(loop):
        return ask(loop, server, agent, asyncio.run(state()), api=api, stream=stream)

    if process == "same":
        resumed, trace = go_on(loop)
    else:
        with AgentLoop(f"sqlite:///{tmp_path}/loop.db", settings=loop.settings) as other:
            resumed, trace = go_on(other)
    assert resumed.final_output == "done"
    assert trace.id == paused.id
    assert [call.index for call in trace.calls] == [0, 1]
    for call, body, turn in zip(trace.calls, server.bodies, script, strict=True):
        assert the_same(call, body, turn)
    assert (trace.user, trace.session) == ("u", "s")
    assert trace.started_at == paused.started_at
    assert trace.ended_at > paused.ended_at
    assert trace.leaves == (trace.calls[1],)
    assert [m["content"] for m in sent(server.bodies[1]) if m["role"] == "tool"] == ["7 refunded"]


def test_our_processor_keeps_nothing_alive(tmp_path, caplog):
    import gc
    import weakref

    from agentloop import AgentLoop

    caplog.set_level(logging.ERROR)
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db") as opened:
        asyncio.run(opened.run(support(), "hi", run_config=scripted("x")))
        recorder = weakref.ref(opened._recorder)
    del opened
    gc.collect()
    assert recorder() is None
