"""Settings that reach who answers: a version is sent nothing that it would refuse."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from agents import (
    ModelProvider,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
)
from openai import AsyncOpenAI
from openai.types.shared import Reasoning

from tests.capture.asking import ask, settings_of, weather
from tests.capture.server import _completion, _response, calls, text
from tests.capture.test_instrument import plain
from tests.capture.test_wire import an_agent, check
from tests.makers import a_version

EVERYTHING = ModelSettings(
    temperature=0.5,
    top_p=0.9,
    frequency_penalty=0.1,
    presence_penalty=0.2,
    max_tokens=100,
    top_logprobs=2,
    parallel_tool_calls=True,
    truncation="auto",
    reasoning=Reasoning(effort="low"),
    verbosity="low",
    metadata={"k": "v"},
    store=True,
    prompt_cache_retention="24h",
    response_include=["reasoning.encrypted_content"],
    extra_args={"service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "k"},
)
every_way = pytest.mark.parametrize(
    ("api", "stream"), [(api, stream) for api in ("chat", "responses") for stream in (False, True)]
)
OF_THE_MESSAGES = {
    *("model", "messages", "input", "instructions", "include", "tools", "tool_choice", "text"),
    *("stream", "stream_options"),
}


@pytest.fixture
def sent_to(loop, serve):
    """What a version is sent, less what is said."""

    def run(settings, *, api="chat", stream=False, **fields):
        server = serve(text("x"))
        version = a_version(base_url=server.url, api=api, **fields)
        loop.ledger.put_version(version)
        loop.swap("support", version)
        agent = an_agent(model_settings=settings)
        _, trace = ask(loop, serve(), agent, stream=stream)
        (body,) = server.bodies
        return {k: v for k, v in body.items() if k not in OF_THE_MESSAGES}, body, trace.calls[0]

    return run


@every_way
def test_another_server_is_sent_nothing_of_openais(sent_to, api, stream):
    body, whole, call = sent_to(EVERYTHING, api=api, stream=stream, provider="local")
    limit = {"max_tokens": 100} if api == "chat" else {"max_output_tokens": 100}
    sampling = {"temperature": 0.5, "top_p": 0.9, "top_logprobs": 2}
    if api == "chat":
        penalties = {"frequency_penalty": 0.1, "presence_penalty": 0.2, "logprobs": True}
        assert body == sampling | limit | penalties
    else:
        assert body == sampling | limit
        assert whole["include"] == ["message.output_text.logprobs"]
        assert "verbosity" not in whole.get("text", {})
    gone = {"reasoning", "verbosity", "metadata", "store", "prompt_cache_retention", "truncation"}
    gone |= {"response_include", "service_tier", "safety_identifier", "prompt_cache_key"}
    assert not gone & call.settings.keys(), "stored is what was sent"
    assert call.incomplete is None


@every_way
def test_openais_own_takes_what_is_openais(sent_to, monkeypatch, api, stream):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    body, _, _ = sent_to(EVERYTHING, api=api, stream=stream, provider="openai")
    assert body["metadata"] == {"k": "v"}
    assert (body["store"], body["prompt_cache_retention"]) == (True, "24h")
    assert (body["service_tier"], body["prompt_cache_key"]) == ("flex", "k")
    assert not {"reasoning", "reasoning_effort", "verbosity"} & body.keys()


@every_way
def test_who_thinks_is_not_told_how_to_draw(sent_to, api, stream):
    thinks = {"provider": "local", "base_model": "o4-mini"}
    body, whole, _ = sent_to(EVERYTHING, api=api, stream=stream, **thinks)
    if api == "chat":
        assert body == {"reasoning_effort": "low", "verbosity": "low", "max_completion_tokens": 100}
    else:
        assert body == {"reasoning": {"effort": "low"}, "max_output_tokens": 100}
        assert whole["text"]["verbosity"] == "low"


def test_who_thinks_of_nothing_is(sent_to):
    settings = ModelSettings(temperature=0.5, max_tokens=9, reasoning=Reasoning(effort="none"))
    body, _, _ = sent_to(settings, provider="local", base_model="gpt-5.4-mini")
    assert body == {"reasoning_effort": "none", "temperature": 0.5, "max_completion_tokens": 9}


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_sdk_sends_a_model_of_its_own_stays_as_it_is(loop, serve, stream):
    server = serve(text("x"))
    ask(loop, server, an_agent(model_settings=EVERYTHING), stream=stream)
    (body,) = server.bodies
    assert (body["store"], body["verbosity"], body["reasoning_effort"]) == (True, "low", "low")
    assert (body["metadata"], body["service_tier"]) == ({"k": "v"}, "flex")


@every_way
def test_of_every_call_are_stored_as_they_went_over_the_wire(loop, serve, api, stream):
    """After its first call of a tool an agent is no longer told to call one."""
    given: Any = {"temperature": 0.1, "top_p": 0.2, "max_tokens": 30, "parallel_tool_calls": False}
    given |= {"tool_choice": "weather", "store": False, "metadata": {"k": "v"}, "top_logprobs": 1}
    given |= {"verbosity": "low", "reasoning": Reasoning(effort="low")}
    given |= {"extra_args": {"service_tier": "flex"}, "prompt_cache_retention": "24h"}
    given |= {"truncation": "auto"} if api == "responses" else {"presence_penalty": 0.3}
    script = [calls(("weather", '{"city":"P"}', "c1")), text("x")]
    server = serve(*script)
    agent = an_agent(tools=[weather], model_settings=ModelSettings(**given))
    _, trace = ask(loop, server, agent, api=api, stream=stream)
    check(trace, server, script)
    wire = [settings_of(body) for body in server.bodies]
    assert wire[0].keys() == (given.keys() - {"extra_args"}) | {"service_tier"}
    assert [settings.get("tool_choice") for settings in wire] == ["weather", None]
    assert [call.settings.get("tool_choice") for call in trace.calls] == ["weather", None]


# ---------------------------------------------------------------------- prompt caching


@every_way
@pytest.mark.parametrize("way", ["run", "instrument"])
def test_the_bytes_that_are_sent_are_the_same_with_and_without_capture(
    loop, serve, api, stream, way
):
    """A server that caches prompts finds them again. A streamed chat completion alone is asked for
    its tokens besides."""
    script = [calls(("weather", '{"city":"P"}', "c1"), ("weather", "{}", "c2")), text("x")]
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    words = {"type": "input_text", "text": "what is ä😀?"}
    said = [{"role": "user", "content": [words, picture]}]
    without, with_capture = serve(*script), serve(*script)
    settings = ModelSettings(temperature=0.5, metadata={"k": "v"})

    def agent():
        billing = an_agent(name="billing", instructions="Bills.")
        return an_agent(tools=[weather], handoffs=[billing], model_settings=settings)

    plain(without, agent(), said, api=api, stream=stream)
    if way == "run":
        ask(loop, with_capture, agent(), said, api=api, stream=stream)
    else:
        loop.instrument()
        plain(with_capture, agent(), said, api=api, stream=stream)
    usage = b',"stream_options":{"include_usage":true}'
    seen = [body.replace(usage, b"") for body in with_capture.bytes]
    assert [usage in body for body in with_capture.bytes] == [api == "chat" and stream] * 2
    assert seen == without.bytes


@pytest.mark.parametrize("kind", [OpenAIChatCompletionsModel, OpenAIResponsesModel])
@pytest.mark.parametrize("held", [False, True])
def test_openais_own_service_is_told_the_same_key_of_the_cache(loop, kind, held):
    """The SDK gives one to OpenAI's own service alone, and asks the model which that is."""
    keys = []

    def answer(request):
        body = json.loads(request.content)
        keys.append(body["prompt_cache_key"])
        make = _completion if kind is OpenAIChatCompletionsModel else _response
        return httpx2.Response(200, json=make(text("x"), 1, body)[0])

    async def run(on):
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
        client = AsyncOpenAI(api_key="k", http_client=http)
        model = kind("gpt-4.1-mini", client)

        class Theirs(ModelProvider):
            def get_model(self, name):
                return model

        agent = an_agent(model=model) if held else an_agent()
        config = RunConfig(model_provider=Theirs(), group_id="chat-9")
        await on.run(agent, "hi", run_config=config)
        await client.close()

    asyncio.run(run(Runner))
    asyncio.run(run(loop))
    assert keys[0] == keys[1]
    assert keys[0].startswith("agents-sdk:group:")
