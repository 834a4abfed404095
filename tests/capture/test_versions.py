"""Which version answers: the one that is live, whichever way the agent names its own model."""

import asyncio
import copy
import dataclasses

import pytest
from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message
from openai import AsyncOpenAI
from openai.types.shared import Reasoning

from agentloop.capture import held
from tests.capture.asking import ask, asked, provider, weather
from tests.capture.server import calls, text
from tests.makers import a_version

both = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture
def elsewhere(serve):
    """Where versions answer."""
    return serve(*[text("tuned")] * 20)


@pytest.fixture
def own(serve):
    """Where the agents' own models answer."""
    return serve(*[text("own")] * 20)


@pytest.fixture
def live(loop, elsewhere):
    """Makes a version of a model, and has it serve an agent."""

    def start(agent="support", **fields):
        version = a_version(**({"base_url": elsewhere.url, "model": "ft:tiny:a/b"} | fields))
        loop.ledger.put_version(version)
        if agent:
            loop.swap(agent, version)
        return version

    return start


def support(**fields):
    return Agent(**({"name": "support", "instructions": "You help.", "model": "gpt-4.1"} | fields))


def run(loop, agent, *, stream=False, **options):
    result = asyncio.run(asked(loop, agent, "hi", stream=stream, **options))
    loop.flush()
    return result, loop.store.trace(result.trace_id)


@both
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_version_is_called_where_it_answers_by_its_name_and_with_its_key(
    loop, live, elsewhere, own, monkeypatch, api, stream
):
    monkeypatch.setenv("AGENTLOOP_LOCAL_KEY", "sk-of-the-version")
    version = live(api=api)
    result, trace = ask(loop, own, support(), stream=stream)
    assert result.final_output == "tuned"
    assert own.requests == []
    (request,) = elsewhere.requests
    assert request["path"] == ("/v1/chat/completions" if api == "chat" else "/v1/responses")
    assert request["body"]["model"] == "ft:tiny:a/b", "an id with a slash is no prefix"
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert headers["authorization"] == "Bearer sk-of-the-version"
    (call,) = trace.calls
    assert (trace.version, call.version, call.model) == (version.id, version.id, "ft:tiny:a/b")
    assert (call.api, call.streamed) == (api, stream)
    assert "sk-of-the-version" not in trace.to_line()


@both
def test_an_agent_whose_own_model_cannot_even_be_made_is_served(loop, live, stream):
    """No key and no client for its own model: it is not asked for."""
    live()
    result, trace = run(loop, support(model="vendor/unheard-of"), stream=stream)
    assert result.final_output == "tuned"
    assert trace.error is None


def test_a_model_that_cannot_be_made_is_an_error_of_the_run(loop):
    with pytest.raises(Exception, match="Unknown prefix") as caught:
        run(loop, support(model="vendor/unheard-of"))
    loop.flush()
    trace = loop.store.trace(caught.value.__dict__["trace_id"])
    assert "Unknown prefix" in trace.error


@both
def test_settings_that_the_version_would_refuse_are_taken_away(loop, live, elsewhere, own, stream):
    live()
    settings = ModelSettings(
        temperature=0.5, verbosity="low", reasoning=Reasoning(effort="low"), max_tokens=100
    )
    _, trace = ask(loop, own, support(model_settings=settings), stream=stream)
    (body,) = elsewhere.bodies
    assert not {"verbosity", "reasoning_effort", "reasoning"} & body.keys()
    assert (body["temperature"], body["max_tokens"]) == (0.5, 100)
    assert not {"verbosity", "reasoning"} & trace.calls[0].settings.keys()


def test_the_defaults_of_a_thinking_model_do_not_reach_another(loop, live, elsewhere, own):
    live(api="responses")
    ask(loop, own, support(model="gpt-5.4-mini"), api="responses")
    (body,) = elsewhere.bodies
    assert "reasoning" not in body
    assert "verbosity" not in body.get("text", {})


def test_a_version_that_thinks_keeps_what_it_takes(loop, live, elsewhere, own):
    live(base_model="gpt-5-mini")
    settings = ModelSettings(reasoning=Reasoning(effort="low"), verbosity="low")
    ask(loop, own, support(model_settings=settings))
    (body,) = elsewhere.bodies
    assert (body["reasoning_effort"], body["verbosity"]) == ("low", "low")


def test_streams_are_asked_for_their_usage_wherever_they_come_from(loop, live, elsewhere, own):
    _, mine = ask(loop, own, support(), stream=True)
    live()
    _, tuned = ask(loop, own, support(), stream=True)
    _, plain = ask(loop, own, support())
    assert own.bodies[0]["stream_options"] == {"include_usage": True}
    assert elsewhere.bodies[0]["stream_options"] == {"include_usage": True}
    assert "stream_options" not in elsewhere.bodies[1]
    assert mine.usage.output_tokens == tuned.usage.output_tokens == plain.usage.output_tokens == 5


def test_who_does_not_want_usage_is_not_given_it(loop, own):
    _, trace = ask(
        loop, own, support(model_settings=ModelSettings(include_usage=False)), stream=True
    )
    assert own.bodies[0]["stream_options"] == {"include_usage": False}
    assert trace.usage.output_tokens == 0


def test_a_version_says_which_model_answered_and_why_it_stopped(loop, live, serve, own):
    server = serve(text("and", finish="length"), text("fine"))
    live(base_url=server.url)
    _, cut = ask(loop, own, support())
    _, whole = ask(loop, own, support())
    assert cut.calls[0].served_model == "ft:tiny:a/b-2026"
    assert cut.calls[0].incomplete == "the answer was cut off: length"
    assert (whole.calls[0].finish_reason, whole.calls[0].incomplete) == ("stop", None)


@both
def test_after_a_handoff_each_agent_is_answered_by_its_own_version(loop, live, serve, own, stream):
    first, second = serve(calls(("transfer_to_billing", "{}", "h"))), serve(text("bill"))
    live(id="v1", base_url=first.url, model="one")
    live("billing", id="v2", base_url=second.url, model="two")
    triage = support(handoffs=[support(name="billing")])
    result, trace = ask(loop, own, triage, stream=stream)
    assert result.final_output == "bill"
    assert [(c.agent, c.version, c.model) for c in trace.calls] == [
        ("support", "v1", "one"),
        ("billing", "v2", "two"),
    ]


@both
def test_only_the_agent_that_was_swapped_is_served(loop, live, serve, stream):
    own = serve(calls(("transfer_to_billing", "{}", "h")))
    live("billing")
    triage = support(handoffs=[support(name="billing")])
    result, trace = ask(loop, own, triage, stream=stream)
    assert result.final_output == "tuned"
    assert [c.version for c in trace.calls] == [None, "v1"]
    assert trace.version is None


@both
def test_an_agent_that_is_a_tool_is_served_too(loop, live, serve, elsewhere, stream):
    own = serve(calls(("ask", '{"input":"x"}', "c")), text("done"))
    live("expert")
    main = support(tools=[support(name="expert").as_tool("ask", "Ask.")])
    _, trace = ask(loop, own, main, stream=stream)
    assert [(c.agent, c.version) for c in trace.calls] == [
        ("support", None),
        ("expert", "v1"),
        ("support", None),
    ]
    assert len(elsewhere.requests) == 1


def test_two_runs_of_one_agent_at_once_have_different_versions(loop, live, serve, own):
    servers = [serve(*[text(f"v{n}")] * 4) for n in range(2)]
    versions = [live(None, id=f"v{n}", base_url=s.url) for n, s in enumerate(servers)]
    agent = support()

    async def at_once():
        config = RunConfig(model_provider=provider(own))
        return await asyncio.gather(
            *(
                asked(loop, agent, "hi", stream=n > 3, version=versions[n % 2], run_config=config)
                for n in range(8)
            )
        )

    results = asyncio.run(at_once())
    assert [result.final_output for result in results] == ["v0", "v1"] * 4
    loop.flush()
    assert [loop.store.trace(r.trace_id).version for r in results] == ["v0", "v1"] * 4


def test_a_run_ends_with_the_version_that_it_began_with(loop, live, serve, own):
    server = serve(calls(("swap", "{}", "c")), text("first"))
    first = live(id="v1", base_url=server.url)
    second = live(None, id="v2", base_url="http://127.0.0.1:9")

    @function_tool
    def swap() -> str:
        loop.swap("support", second)
        return "swapped"

    result, trace = ask(loop, own, support(tools=[swap]))
    assert result.final_output == "first"
    assert {call.version for call in trace.calls} == {first.id}


# ---------------------------------------------------------------------- agents that hold a model


def model_of(server, api="chat"):
    client = AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0)
    kind = OpenAIChatCompletionsModel if api == "chat" else OpenAIResponsesModel
    return kind("held", client)


@both
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_agent_that_holds_its_model_is_recorded(loop, own, api, stream):
    agent = support(model=model_of(own, api))
    result, trace = run(loop, agent, stream=stream)
    assert result.final_output == "own"
    (call,) = trace.calls
    assert (call.model, call.api, call.version) == ("held", api, None)
    assert call.output.text == "own"


@both
def test_an_agent_that_holds_its_model_is_served_by_a_version(loop, live, own, stream):
    live()
    result, trace = run(loop, support(model=model_of(own)), stream=stream)
    assert result.final_output == "tuned"
    assert trace.calls[0].version == "v1"
    assert own.requests == []


@both
def test_a_handoff_to_an_agent_that_holds_its_model(loop, serve, own, stream):
    first = serve(calls(("transfer_to_billing", "{}", "h")))
    billing = support(name="billing", model=model_of(own))
    _, trace = run(loop, support(model=model_of(first), handoffs=[billing]), stream=stream)
    assert [call.agent for call in trace.calls] == ["support", "billing"]


def test_two_runs_at_once_of_agents_that_hold_one_model(loop, live, serve, own):
    version = live(None)
    model = model_of(own)
    agents = [support(model=model), support(model=model)]

    async def at_once():
        return await asyncio.gather(
            *(
                asked(loop, agents[n % 2], "hi", stream=n > 3, version=version if n % 2 else None)
                for n in range(8)
            )
        )

    results = asyncio.run(at_once())
    assert [result.final_output for result in results] == ["own", "tuned"] * 4
    assert held._holds == {}


@both
def test_a_model_given_for_the_run_is_recorded(loop, stream):
    model = ScriptedModel([[assistant_message("scripted")]])
    _, trace = run(loop, support(), stream=stream, run_config=RunConfig(model=model))
    (call,) = trace.calls
    assert (call.output.text, call.agent, call.api, call.version) == (
        "scripted",
        "support",
        None,
        None,
    )


@both
def test_what_is_live_serves_also_where_a_model_was_given_for_the_run(loop, live, own, stream):
    live()
    for given in (ScriptedModel([[assistant_message("scripted")]]), "gpt-4.1-nano"):
        config = RunConfig(model=given, model_provider=provider(own))
        result, trace = run(loop, support(), stream=stream, run_config=config)
        assert result.final_output == "tuned"
        assert (trace.version, trace.calls[0].version) == ("v1", "v1")


# ---------------------------------------------------------------------- nothing of theirs changes


def snapshot(agent):
    """Everything that an agent is, one level into what it holds."""
    names = [field.name for field in dataclasses.fields(agent)]
    fields = {name: copy.copy(getattr(agent, name)) for name in names}
    fields["model"] = (agent.model, dict(getattr(agent.model, "__dict__", {})))
    fields["tools"] = [(tool, dict(vars(tool))) for tool in agent.tools]
    fields["model_settings"] = agent.model_settings.to_json_dict()
    return fields


@both
@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_neither_agent_nor_model_nor_configuration_is_changed(
    loop, live, serve, holds, swapped, stream
):
    own = serve(calls(("weather", '{"city":"P"}', "c1")), text("x"))
    if swapped:
        live(base_url=serve(calls(("weather", '{"city":"P"}', "c1")), text("x")).url)
    agent = support(
        model=model_of(own) if holds else "gpt-4.1",
        tools=[weather],
        model_settings=ModelSettings(reasoning=Reasoning(effort="low")),
        handoffs=[support(name="billing")],
    )
    config = RunConfig(model_provider=provider(own))
    before, before_config = snapshot(agent), copy.copy(vars(config))
    result, _ = run(loop, agent, stream=stream, run_config=config)
    assert result.last_agent is agent
    assert snapshot(agent) == before
    assert vars(config) == before_config


@both
def test_a_held_model_is_itself_again_though_the_run_failed(loop, serve, stream):
    from tests.capture.server import status

    model = model_of(serve(status(400)))
    before = dict(vars(model))
    with pytest.raises(Exception, match="no"):
        run(loop, support(model=model), stream=stream)
    assert vars(model) == before


def test_a_held_model_with_methods_of_its_own_has_them_again(loop, own):
    model = model_of(own)
    original = model.get_response
    seen = []

    async def mine(*args, **kwargs):
        seen.append(kwargs["input"])
        return await original(*args, **kwargs)

    model.get_response = mine
    _, trace = run(loop, support(model=model))
    assert len(seen) == len(trace.calls) == 1
    assert model.get_response is mine


def test_a_model_without_room_for_us_still_answers(loop):
    class Slotted(ScriptedModel):
        __slots__ = ()

        def __setattr__(self, name, value):
            if name in ("get_response", "stream_response"):
                raise AttributeError(name)
            super().__setattr__(name, value)

    result, trace = run(loop, support(model=Slotted([[assistant_message("x")]])))
    assert result.final_output == "x"
    assert trace.calls == ()


class Plain(Model):
    """A model that says nothing."""

    async def get_response(self, *args, **kwargs):
        raise NotImplementedError

    def stream_response(self, *args, **kwargs):
        raise NotImplementedError


def test_models_of_runs_that_never_end_are_bounded(monkeypatch, caplog):
    monkeypatch.setattr(held, "HELD", 3)
    models = [Plain() for _ in range(5)]
    for model in models:
        assert held.hold(model, lambda _: None)
    assert len(held._holds) == 3
    assert [bool(vars(model)) for model in models] == [False, False, True, True, True]
    assert "more than 3 models are held" in caplog.text
    for model in models:
        held.release(model)
    assert held._holds == {}
    assert not any(vars(model) for model in models)
