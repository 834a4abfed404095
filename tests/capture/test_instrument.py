"""Plain runs of the SDK's own `Runner`, by code that never heard of us."""

import asyncio
import copy
import logging
import subprocess
import sys
from typing import Any

import agents
import pytest
from agents import Agent, RunConfig, Runner, RunState, SQLiteSession
from agents.testing import ScriptedModel, assistant_message

import agentloop
from agentloop import AgentLoop, Settings
from agentloop.base.errors import ConfigError
from tests.capture.asking import provider, the_same, weather
from tests.capture.server import calls, status, text
from tests.capture.test_runs import refund, until_the_first_words
from tests.makers import a_version

every_way = pytest.mark.parametrize(
    ("api", "stream"), [(api, stream) for api in ("chat", "responses") for stream in (False, True)]
)
both = pytest.mark.parametrize("stream", [False, True])


def an_agent(**fields):
    given = {"name": "support", "instructions": "You help.", "model": "gpt-4.1-mini"}
    return Agent(**(given | fields))


def plain(server, agent, input="hi", *, api="chat", stream=False, config=None, **options):
    """What a plain run gives; an error is in place of a result."""

    async def run() -> Any:
        theirs: Any = provider(server, api)
        made = RunConfig(model_provider=theirs, **(config or {}))
        try:
            if not stream:
                return await Runner.run(agent, input, run_config=made, **options)
            result = Runner.run_streamed(agent, input, run_config=made, **options)
            async for _ in result.stream_events():
                pass
        except Exception as error:  # noqa: BLE001
            return error
        finally:
            await theirs._client.close()
        return result

    return asyncio.run(run())


def stored(loop, count=1):
    """The traces of the store, oldest first."""
    loop.flush()
    found = [judged.trace for judged in loop.store.all_judged()]
    assert len(found) == count
    return found


def check(trace, server, script):
    assert len(trace.calls) == len(server.bodies) == len(script)
    for call, body, turn in zip(trace.calls, server.bodies, script, strict=True):
        assert the_same(call, body, turn)


@every_way
def test_a_plain_run_is_captured_like_one_of_ours(listening, serve, api, stream):
    script = [calls(("weather", '{ "city": "Paris" }', "c1")), text("Mild.")]
    server = serve(*script)
    result = plain(server, an_agent(tools=[weather]), "w?", api=api, stream=stream)
    assert result.final_output == "Mild."
    (trace,) = stored(listening)
    check(trace, server, script)
    assert (result.trace_id, result.call_id) == (trace.id, trace.calls[1].id)
    assert trace.error is None
    assert trace.ended_at is not None
    assert {span.name for span in trace.spans} >= {"support", "weather"}
    listening.rate(result.trace_id, "up", by="u")


def test_a_synchronous_plain_run(listening, event_loop_of_its_own):
    config = RunConfig(model=ScriptedModel([[assistant_message("x")]]))
    result: Any = Runner.run_sync(starting_agent=an_agent(), input="hi", run_config=config)
    assert result.final_output == "x"
    assert stored(listening)[0].id == result.trace_id


def test_a_stream_takes_its_arguments_by_position_as_ever(listening, serve):
    """`context` and `max_turns` may be given so, and only to `run_streamed`."""
    server = serve(text("x"))

    async def instructions(context, agent):
        return f"You help {context.context}."

    async def run():
        config = RunConfig(model_provider=provider(server))
        agent = an_agent(instructions=instructions)
        result = Runner.run_streamed(agent, "hi", "ACME", 3, run_config=config)
        async for _ in result.stream_events():
            pass
        return result

    assert asyncio.run(run()).max_turns == 3
    assert stored(listening)[0].calls[0].context[0].content == "You help ACME."


@both
def test_agent_and_configuration_are_not_changed(listening, serve, stream):
    server = serve(text("x"), text("y"))
    agent = an_agent(tools=[weather])
    before = copy.copy(vars(agent))
    theirs = provider(server)
    config = RunConfig(model_provider=theirs, workflow_name="w")
    told = copy.copy(vars(config))

    async def run():
        if not stream:
            return await Runner.run(agent, "hi", run_config=config)
        result = Runner.run_streamed(agent, "hi", run_config=config)
        async for _ in result.stream_events():
            pass
        return result

    asyncio.run(run())
    assert vars(agent) == before
    assert vars(config) == told
    assert stored(listening)[0].workflow == "w"


@both
def test_what_is_sent_is_what_would_be_sent_without_us(loop, serve, stream):
    """A streamed chat completion alone is asked for its tokens as well."""
    script = [calls(("weather", '{"city":"P"}', "c1")), text("x")]
    server = serve(*script, *script)
    agent = an_agent(tools=[weather])
    plain(server, agent, stream=stream)
    loop.instrument()
    plain(server, agent, stream=stream)
    without, seen = server.bodies[:2], server.bodies[2:]
    if stream:
        assert [body.pop("stream_options") for body in seen] == [{"include_usage": True}] * 2
    assert seen == without


@both
def test_asking_twice_captures_once(listening, serve, stream):
    assert listening.instrument() is listening
    assert agentloop.instrument() is listening
    script = [text("x")]
    server = serve(*script)
    plain(server, an_agent(), stream=stream)
    (trace,) = stored(listening)
    check(trace, server, script)


def test_undone_it_leaves_nothing_behind(loop, serve):
    before = {name: vars(Runner)[name] for name in ("run", "run_sync", "run_streamed")}
    loop.instrument()
    assert all(vars(Runner)[name] is not value for name, value in before.items())
    loop.uninstrument()
    loop.uninstrument()
    assert {name: vars(Runner)[name] for name in before} == before
    assert not hasattr(plain(serve(text("x")), an_agent()), "trace_id")
    stored(loop, 0)
    loop.instrument()
    plain(serve(text("x")), an_agent())
    stored(loop, 1)


def test_somebody_who_wraps_the_runner_after_us_stays_when_we_leave(loop, serve):
    loop.instrument()
    ours, seen = vars(Runner)["run"], []

    async def run(cls, *args, **kwargs):
        seen.append("theirs")
        return await ours.__func__(cls, *args, **kwargs)

    theirs = classmethod(run)
    original = ours.__func__.__wrapped__
    try:
        setattr(Runner, "run", theirs)  # noqa: B010 - a class method for a type checker's function
        plain(serve(text("x")), an_agent())
        stored(loop, 1)
        loop.uninstrument()
        assert vars(Runner)["run"] is theirs
        plain(serve(text("y")), an_agent())
        stored(loop, 1)
        assert seen == ["theirs", "theirs"], "each run passes by once"
    finally:
        setattr(Runner, "run", classmethod(original))  # noqa: B010


def test_closing_a_loop_undoes_it(tmp_path):
    before = vars(Runner)["run"]
    with AgentLoop(f"sqlite:///{tmp_path}/a.db", settings=Settings(spill_dir=tmp_path)) as opened:
        opened.instrument()
    assert vars(Runner)["run"] is before


def test_two_stores_do_not_capture_one_run(listening, tmp_path):
    with (
        AgentLoop(f"sqlite:///{tmp_path}/b.db", settings=listening.settings) as other,
        pytest.raises(ConfigError, match="another store already"),
    ):
        other.instrument()
    with pytest.raises(ConfigError, match=r"plain runs go to sqlite:///.*loop\.db already"):
        agentloop.instrument(f"sqlite:///{tmp_path}/b.db")


def test_a_run_of_ours_is_captured_once(listening):
    config = RunConfig(model=ScriptedModel([[assistant_message("x")]]))
    result = asyncio.run(listening.run(an_agent(), "hi", run_config=config, user="u"))
    (trace,) = stored(listening)
    assert (trace.id, trace.user, len(trace.calls)) == (result.trace_id, "u", 1)


class Theirs(agents.TracingProcessor):
    """A trace processor of somebody else."""

    def __init__(self):
        self.seen = []

    def on_trace_start(self, trace):
        self.seen.append(("begin", trace.name, trace.group_id, dict(trace.metadata or {})))

    def on_trace_end(self, trace):
        self.seen.append(("end", trace.name))

    def on_span_start(self, span):
        self.seen.append(("begin", span.span_data.type))

    def on_span_end(self, span):
        self.seen.append(("end", span.span_data.type))

    def shutdown(self):
        pass

    def force_flush(self):
        pass


@both
def test_other_trace_processors_see_what_they_saw_before(loop, serve, stream):
    script = [calls(("weather", '{"city":"P"}', "c1")), text("x")]
    told = []
    for listens in (False, True):
        theirs = Theirs()
        agents.add_trace_processor(theirs)
        if listens:
            loop.instrument()
        config = {"workflow_name": "w", "trace_metadata": {"k": "v"}}
        session = SQLiteSession("chat-9")
        agent = an_agent(tools=[weather])
        plain(serve(*script), agent, stream=stream, config=config, session=session)
        session.close()
        told.append(theirs.seen)
        agents.set_trace_processors([])
    assert told[0] == told[1]
    assert told[0][0] == ("begin", "w", None, {"k": "v"})


def test_processors_that_are_set_anew_take_ours_away_and_no_call(listening, serve):
    """`set_trace_processors` replaces ours, too: steps are then missing, calls are not."""
    agents.set_trace_processors([Theirs()])
    script = [text("x")]
    server = serve(*script)
    plain(server, an_agent())
    (trace,) = stored(listening)
    check(trace, server, script)
    assert trace.spans == ()


@pytest.mark.parametrize("named", ["config", "trace", "session"])
def test_the_session_is_the_name_that_the_sdk_knows(listening, serve, named):
    server = serve(text("x"))
    session = SQLiteSession("chat-9")
    if named == "trace":
        with agents.trace("outer", group_id="chat-9"):
            plain(server, an_agent())
    elif named == "config":
        plain(server, an_agent(), config={"group_id": "chat-9"})
    else:
        plain(server, an_agent(), session=session)
    session.close()
    assert stored(listening)[0].session == "chat-9"


def test_the_version_that_is_live_answers_plain_runs_too(listening, serve, monkeypatch):
    elsewhere, own = serve(text("tuned")), serve()
    version = a_version(base_url=elsewhere.url, api="chat")
    listening.ledger.put_version(version)
    listening.swap("support", version)
    assert plain(own, an_agent()).final_output == "tuned"
    assert stored(listening)[0].version == version.id


@both
def test_an_error_is_the_users_to_see(listening, serve, stream):
    error = plain(serve(status(400, "out of order")), an_agent(), stream=stream)
    assert isinstance(error, Exception)
    assert "out of order" in stored(listening)[0].error


def test_a_stream_that_is_left_is_captured_as_incomplete(listening, serve):
    server = serve(text("never", hangs=True))

    async def run():
        config = RunConfig(model_provider=provider(server, "responses"))
        await until_the_first_words(Runner.run_streamed(an_agent(), "hi", run_config=config))

    asyncio.run(run())
    (trace,) = stored(listening)
    assert trace.calls[0].incomplete == "the stream was not read to its end"


@both
def test_a_plain_run_that_waits_for_approval_goes_on_as_the_same_trace(listening, serve, stream):
    script = [calls(("refund", '{"order":"7"}', "c1")), text("done")]
    server = serve(*script)
    agent = an_agent(tools=[refund])
    state: RunState = plain(server, agent, stream=stream).to_state()
    for item in state.get_interruptions():
        state.approve(item)
    assert plain(server, agent, state, stream=stream).final_output == "done"
    (trace,) = stored(listening)
    check(trace, server, script)


def test_wrong_use_of_the_runner_is_answered_by_the_sdk(listening):
    run: Any = Runner.run
    with pytest.raises(TypeError, match="colour"):
        asyncio.run(run(an_agent(), "hi", colour="red"))
    with pytest.raises(Exception, match="run_config"):
        asyncio.run(run(an_agent(), "hi", run_config=7))
    stored(listening, 0)


def test_what_cannot_be_captured_runs_all_the_same(listening, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(listening._runner, "_serve", broken)
    config = RunConfig(model=ScriptedModel([[assistant_message("x")]]))
    with caplog.at_level(logging.WARNING, "agentloop"):
        result = asyncio.run(Runner.run(an_agent(), "hi", run_config=config))
    assert result.final_output == "x"
    assert "a run was not captured: ours" in caplog.text
    stored(listening, 0)


STRANGER = """
import asyncio
from agents import Agent, Runner, RunConfig, set_trace_processors
from agents.testing import ScriptedModel, assistant_message

def work():
    config = RunConfig(model=ScriptedModel([[assistant_message("x")]]))
    return asyncio.run(Runner.run(Agent(name="support"), "hi", run_config=config))
"""


def test_one_line_in_a_program_is_enough(tmp_path):
    """What was imported before is captured, and all is stored when the program ends."""
    (tmp_path / "stranger.py").write_text(STRANGER)
    program = (
        "import stranger, agentloop\n"
        "stranger.set_trace_processors([])\n"
        "agentloop.instrument()\n"
        "agentloop.instrument()\n"
        "print(stranger.work().trace_id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path) + ":" + str(agentloop.__path__[0]) + "/.."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    with AgentLoop(f"sqlite:///{tmp_path}/traces/loop.db", create=False) as opened:
        assert opened.store.trace(done.stdout.strip()).answer == "x"
