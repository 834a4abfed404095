"""Runs of real agents on the real SDK, and what came over the wire of it."""

import asyncio
from typing import Any

from agents import OpenAIProvider, RunConfig, function_tool
from openai import AsyncOpenAI


@function_tool
def weather(city: str, days: int = 1) -> dict:
    """Tell the weather.

    Args:
        city: where
        days: how far ahead
    """
    return {"city": city, "temp": 20 + days}


@function_tool
def broken(x: int) -> str:
    """Always fails."""
    raise ValueError("kaput")


def provider(server, api="chat"):
    client = AsyncOpenAI(base_url=server.url, api_key="sk-test", max_retries=0)
    return OpenAIProvider(openai_client=client, use_responses=api == "responses")


async def asked(loop, agent, input, *, stream=False, **options):
    """The result of a run, streamed to its end or not."""
    if not stream:
        return await loop.run(agent, input, **options)
    result = loop.run_streamed(agent, input, **options)
    async for _ in result.stream_events():
        pass
    return result


def ask(loop, server, agent, input="hi", *, api="chat", stream=False, config=None, **options):
    """The result of a run, and its trace as it is stored. An error is in place of the result."""

    async def run():
        theirs: Any = provider(server, api)
        made = RunConfig(model_provider=theirs, **(config or {}))
        try:
            return await asked(loop, agent, input, stream=stream, run_config=made, **options)
        except Exception as error:  # noqa: BLE001
            return error
        finally:
            await theirs._client.close()

    result = asyncio.run(run())
    loop.flush()
    return result, loop.store.trace(result.trace_id)


# ---------------------------------------------------------------------- what the wire says


def sent(body):
    """The messages of a request, whichever API it is of."""
    if "messages" in body:
        return body["messages"]
    said: list[Any] = []
    if body.get("instructions"):
        said.append({"role": "system", "content": body["instructions"]})
    given = body["input"]
    open_turn: Any = None
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "reasoning":
            continue
        if kind == "function_call":
            if open_turn is None:
                open_turn = {"role": "assistant", "content": None}
                said.append(open_turn)
            open_turn.setdefault("tool_calls", []).append(tool_call(item))
            continue
        open_turn = None
        if kind == "function_call_output":
            said.append({"role": "tool", "tool_call_id": item["call_id"],
                         "content": parts(item["output"])})  # fmt: skip
        elif item["role"] == "assistant" and isinstance(item["content"], str):
            said.append({"role": "assistant", "content": item["content"]})
        elif item["role"] == "assistant":
            open_turn = {"role": "assistant"}
            said_in_parts: Any = item["content"]
            for part in said_in_parts:
                if part["type"] == "output_text":
                    open_turn["content"] = part["text"]
                else:
                    open_turn["refusal"] = part["refusal"]
            said.append(open_turn)
        else:
            said.append({"role": item["role"], "content": parts(item["content"])})
    return said


def parts(content):
    if isinstance(content, str):
        return content
    names = {"input_text": "text", "output_text": "text"}
    made = []
    for part in content:
        if part["type"] in names:
            made.append({"type": "text", "text": part["text"]})
        elif part["type"] == "input_image":
            image = {"url": part["image_url"], "detail": part.get("detail", "auto")}
            made.append({"type": "image_url", "image_url": image})
        elif part["type"] == "input_file":
            file = {k: v for k, v in part.items() if k in ("file_data", "filename", "file_id")}
            made.append({"type": "file", "file": file})
        elif part["type"] == "input_audio":
            made.append(part)
    return made


def tool_call(item):
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def offered(body):
    """The tools of a request in the form of Chat Completions."""
    made = []
    for tool in body.get("tools") or []:
        if "function" in tool:
            made.append(tool)
        else:
            function = {k: v for k, v in tool.items() if k != "type"}
            hosted = tool["type"] != "function"
            made.append(tool if hosted else {"type": "function", "function": function})
    return made


def wanted(body):
    """The response format of a request in the form of Chat Completions."""
    if "response_format" in body:
        return body["response_format"]
    form = (body.get("text") or {}).get("format")
    if form is None or form["type"] == "text":
        return None
    schema = {k: v for k, v in form.items() if k != "type"}
    return {"type": form["type"], "json_schema": schema}


def answered(turn):
    """What a turn of the script says, as a message."""
    said: dict[str, Any] = {"role": "assistant"}
    if turn.get("text") is not None:
        said["content"] = turn["text"]
    elif "calls" in turn:
        said["content"] = None
    if turn.get("refusal"):
        said["refusal"] = turn["refusal"]
    if "calls" in turn:
        said["tool_calls"] = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments, id in turn["calls"]
        ]
    return said


def the_same(call, body, turn):
    """Whether a stored call is what came over the wire, field by field."""
    assert [message.to_dict() for message in call.context] == sent(body)
    assert list(call.tools) == offered(body)
    assert call.response_format == wanted(body)
    assert call.model == body["model"]
    if turn is not None:
        assert call.output.to_dict() == answered(turn)
    for name, value in settings_of(body).items():
        assert call.settings.get(name) == value, name
    return True


SAID_ELSEWHERE = {
    *("model", "messages", "input", "instructions", "tools", "response_format", "stream"),
    *("stream_options", "include", "previous_response_id", "conversation", "logprobs"),
    *("text", "reasoning_effort", "max_output_tokens", "prompt_cache_key"),
}
"""What of a request is no setting, or has another name among them."""


def settings_of(body):
    """The settings of a request, under the names that the SDK has for them."""
    found = {k: v for k, v in body.items() if k not in SAID_ELSEWHERE}
    if "max_output_tokens" in body:
        found["max_tokens"] = body["max_output_tokens"]
    if "reasoning_effort" in body:
        found["reasoning"] = {"effort": body["reasoning_effort"]}
    if "verbosity" in body.get("text", {}):
        found["verbosity"] = body["text"]["verbosity"]
    if isinstance(choice := found.get("tool_choice"), dict):
        found["tool_choice"] = choice.get("name") or choice["function"]["name"]
    return found
