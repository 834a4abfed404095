"""The Agents SDK on Chat Completions and on Responses, streamed and not."""

import asyncio

import openai
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel

asked: list[str] = []


@function_tool
def get_order(id: str) -> str:
    """Look up an order."""
    asked.append(id)
    return "shipped"


@pytest.fixture(params=[OpenAIChatCompletionsModel, OpenAIResponsesModel])
def agent(server, request):
    set_tracing_disabled(True)
    asked.clear()

    def made(client):
        return Agent(
            name="shop",
            instructions="You are the shop.",
            tools=[get_order],
            model=request.param("parrot", client),
            model_settings=ModelSettings(temperature=0, include_usage=True),
        )

    return made


def run(server, agent, play):
    async def with_client():
        url = f"{server.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            return await play(agent(client))

    return asyncio.run(with_client())


def test_an_agent_calls_its_tool_and_answers(server, agent):
    async def play(shop):
        return await Runner.run(shop, "order 7")

    result = run(server, agent, play)
    assert result.final_output == "It is shipped."
    assert asked == ["7"]
    assert result.context_wrapper.usage.requests == 2
    assert result.context_wrapper.usage.total_tokens > 20


def test_a_streamed_agent_does_the_same(server, agent):
    async def play(shop):
        result = Runner.run_streamed(shop, "order 7")
        deltas = [
            event.data.delta
            async for event in result.stream_events()
            if event.type == "raw_response_event"
            and event.data.type == "response.output_text.delta"
        ]
        return result.final_output, "".join(deltas), result.context_wrapper.usage.total_tokens

    output, deltas, tokens = run(server, agent, play)
    assert output == deltas == "It is shipped."
    assert asked == ["7"]
    assert tokens > 20


def test_many_agents_at_once_do_not_mix(server, agent):
    async def play(shop):
        return await asyncio.gather(
            *(Runner.run(shop, "order 7" if n % 2 else "hi") for n in range(24))
        )

    outputs = [result.final_output for result in run(server, agent, play)]
    assert outputs == ["Hello! How can I help?", "It is shipped."] * 12
    assert asked == ["7"] * 12


class Verdict(BaseModel):
    good: bool


def test_an_output_type_is_what_comes_out(server, agent):
    async def play(shop):
        return await Runner.run(shop.clone(output_type=Verdict, tools=[]), "hi")

    assert isinstance(run(server, agent, play).final_output, Verdict)


def test_a_tool_that_has_to_be_called_is_called(server, agent):
    async def play(shop):
        settings = ModelSettings(temperature=0, tool_choice="required", max_tokens=200)
        must = shop.clone(model_settings=settings, tool_use_behavior="stop_on_first_tool")
        return await Runner.run(must, "order 7")

    assert run(server, agent, play).final_output == "shipped"
    assert asked == ["7"]
