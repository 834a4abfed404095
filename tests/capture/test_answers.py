"""What an answer says of itself: which model gave it, and why it stopped; every way."""

import asyncio

import pytest
from agents import ModelSettings, OpenAIChatCompletionsModel
from openai import AsyncOpenAI

from agentloop.base.errors import EmptyHarvest
from agentloop.capture import hearing
from tests.capture.asking import ask, asked, provider, weather
from tests.capture.server import calls, text
from tests.capture.test_wire import an_agent, check
from tests.makers import a_version

both = pytest.mark.parametrize("stream", [False, True])
whose = pytest.mark.parametrize("whose", ["provider", "agent", "version"])


@pytest.fixture
def answered(loop, serve):
    """Runs an agent whose model is its provider's, its own or a version's."""

    def run(whose, script, *, stream, **fields):
        server = serve(*script)
        if whose == "version":
            version = a_version(base_url=server.url, api="chat")
            loop.ledger.put_version(version)
            loop.swap("support", version)
        if whose != "agent":
            return (*ask(loop, server, an_agent(**fields), stream=stream), server)
        client = AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0)
        model = OpenAIChatCompletionsModel("gpt-4.1-mini", client)
        before = dict(vars(model))
        agent = an_agent(**fields | {"model": model})
        result = asyncio.run(asked(loop, agent, "hi", stream=stream))
        loop.flush()
        assert {k: v for k, v in vars(model).items() if k in before} == before
        assert hearing.FETCH not in vars(model), "it is what it was"
        return result, loop.store.trace(result.trace_id), server

    return run


@both
@whose
def test_a_chat_completion_says_which_model_answered_and_why_it_stopped(answered, whose, stream):
    script = [calls(("weather", '{"city":"P"}', "c1")), text("Mild.")]
    _, trace, server = answered(whose, script, stream=stream, tools=[weather])
    check(trace, server, script)
    assert [call.finish_reason for call in trace.calls] == ["tool_calls", "stop"]
    asked_for = server.bodies[0]["model"]
    assert [call.served_model for call in trace.calls] == [f"{asked_for}-2026"] * 2
    assert [call.incomplete for call in trace.calls] == [None, None]
    assert hearing._ears == {}


@both
@whose
@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_was_cut_off_makes_no_row(loop, answered, whose, stream, finish):
    result, trace, _ = answered(whose, [text("and then", finish=finish)], stream=stream)
    (call,) = trace.calls
    assert call.finish_reason == finish
    assert call.incomplete == f"the answer was cut off: {finish}"
    loop.rate(result.trace_id, "up", by="u")
    with pytest.raises(EmptyHarvest, match="incomplete"):
        loop.harvest("sft", agent="support")


@both
def test_calls_at_once_through_one_model_are_not_mixed_up(loop, serve, stream):
    server = serve(*[text("x", finish=f) for f in ("stop", "length") * 4])

    async def run():
        model = provider(server).get_model("gpt-4.1-mini")
        agent = an_agent(model=model, model_settings=ModelSettings(max_tokens=99))
        return await asyncio.gather(*(asked(loop, agent, "hi", stream=stream) for _ in range(8)))

    results = asyncio.run(run())
    loop.flush()
    found = [loop.store.trace(result.trace_id).calls[0] for result in results]
    wanted = {f"chatcmpl-{n}": f for n, f in enumerate(("stop", "length") * 4, 1)}
    assert {call.response_id: call.finish_reason for call in found} == wanted


@both
def test_a_model_that_users_made_of_the_sdks_is_called_as_it_is(loop, serve, stream):
    seen = []

    class Theirs(OpenAIChatCompletionsModel):
        async def _fetch_response(self, *args, **kwargs):
            seen.append(self.model)
            return await super()._fetch_response(*args, **kwargs)

    server = serve(text("x"))
    client = AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0)
    agent = an_agent(model=Theirs("theirs", client))
    result = asyncio.run(asked(loop, agent, "hi", stream=stream))
    loop.flush()
    (call,) = loop.store.trace(result.trace_id).calls
    assert seen == ["theirs"]
    assert (call.finish_reason, call.served_model) == ("stop", "theirs-2026")


@both
def test_durable_is_stored_when_the_run_is_over(tmp_path, serve, stream):
    """Also when it is over with an error; nobody has to flush."""
    from agents import RunConfig, Runner

    from agentloop import AgentLoop, Settings
    from tests.capture.server import status

    for way in ("run", "instrument"):
        url = f"sqlite:///{tmp_path}/{way}.db"
        with AgentLoop(url, settings=Settings(spill_dir=tmp_path), durable=True) as loop:
            server = serve(text("x"), status(400, "no"))
            on = loop if way == "run" else loop.instrument() and Runner

            async def run(on=on, server=server):
                config = RunConfig(model_provider=provider(server))
                if not stream:
                    return await on.run(an_agent(), "hi", run_config=config)
                result = on.run_streamed(an_agent(), "hi", run_config=config)
                async for _ in result.stream_events():
                    pass
                return result

            async def seen(run=run, loop=loop):
                result = await run()
                told = loop.store.trace(result.trace_id)
                try:
                    await run()
                except Exception as error:  # noqa: BLE001
                    return told, loop.store.trace(error.__dict__["trace_id"])

            whole, failed = asyncio.run(seen())
            assert (whole.answer, len(whole.calls), whole.error) == ("x", 1, None)
            assert whole.ended_at is not None
            assert failed.error is not None
            assert failed.calls[0].error is not None
