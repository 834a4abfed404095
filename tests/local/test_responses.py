"""`/v1/responses`, through OpenAI's own client."""

import json
from typing import Any

import httpx2
import jsonschema
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from agentloop.local.api.responses import Memory
from agentloop.local.api.responses_body import messages
from agentloop.local.api.responses_items import Items
from agentloop.local.inference.reading import Called, Said, Thought
from tests.local.parrot import KNOWN, SYSTEM, TOOLS
from tests.local.test_held import ORDER_SCHEMA

TOOLED: list[Any] = TOOLS
FLAT = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLED]
FORM = {"format": {"type": "json_schema", "name": "o", "schema": ORDER_SCHEMA, "strict": True}}
COUNTED = KNOWN[5][-1]["content"]


def ask(client, input, **options):
    chosen = {
        "model": "parrot",
        "instructions": SYSTEM["content"],
        "tools": FLAT,
        "temperature": 0,
        **options,
    }
    return client.responses.create(input=input, **chosen)


def refusal(client, input="hi", **options):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, input, **options)
    body: Any = caught.value.body
    assert set(body) == {"message", "type", "param", "code"}
    return body


def output(call, text="shipped"):
    return {"type": "function_call_output", "call_id": call.call_id, "output": text}


def test_a_model_answers_with_text_and_usage(client):
    answer = ask(client, "hi", metadata={"a": "b"})
    assert answer.output_text == "Hello! How can I help?"
    assert (answer.status, answer.model, answer.metadata) == ("completed", "parrot", {"a": "b"})
    usage = answer.usage
    assert usage.input_tokens > 10
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_items_say_what_messages_say(client):
    spoken = [
        {"role": "user", "content": [{"type": "input_text", "text": "order 7"}]},
        {"type": "function_call", "call_id": "c", "name": "get_order", "arguments": '{"id": "7"}'},
        {"type": "function_call_output", "call_id": "c", "output": "shipped"},
    ]
    assert ask(client, spoken).output_text == "It is shipped."


def test_a_call_is_answered_by_going_on_from_its_response(client):
    first = ask(client, "order 7")
    (call,) = first.output
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "get_order",
        {"id": "7"},
    )
    second = ask(client, [output(call)], previous_response_id=first.id)
    assert second.output_text == "It is shipped."
    assert second.previous_response_id == first.id


def test_usage_says_how_much_of_the_prompt_was_known(client):
    asked = "once more, and at some length, so that it is worth keeping " * 3
    options = {"max_output_tokens": 2}
    first, second = (ask(client, asked, **options).usage for _ in range(2))
    assert first.input_tokens == second.input_tokens
    assert first.input_tokens_details.cached_tokens < first.input_tokens / 2
    assert second.input_tokens_details.cached_tokens == second.input_tokens - 1


def test_instructions_are_not_carried_on(client):
    first = ask(client, "hi")
    again = ask(client, "hi", previous_response_id=first.id, instructions=None)
    assert again.usage.input_tokens > first.usage.input_tokens
    assert again.instructions is None


def test_the_events_of_a_text_come_in_their_order(client):
    events = list(ask(client, "count", stream=True))
    names = [event.type.removeprefix("response.") for event in events]
    deltas = [name for name in names if name == "output_text.delta"]
    assert len(deltas) > 5
    assert names == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *deltas,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert said == events[-1].response.output_text == COUNTED
    assert events[-1].response.usage.total_tokens == ask(client, "count").usage.total_tokens


def test_the_events_of_two_calls_come_in_their_order(client):
    events = list(ask(client, "both", stream=True))
    one = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        *one,
        *one,
        "completed",
    ]
    ended = events[-1].response.output
    assert [json.loads(call.arguments)["id"] for call in ended] == ["1", "2"]
    done = [e.arguments for e in events if e.type == "response.function_call_arguments.done"]
    assert done == [call.arguments for call in ended]


def test_events_and_objects_are_of_the_clients_types(client, server):
    body = {"model": "parrot", "input": "order 7", "tools": FLAT, "temperature": 0}
    url = f"{server.url}/v1/responses"
    lines = httpx2.post(url, json={**body, "stream": True}, timeout=60).text.splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert [one["type"] for one in told] == names
    for one in told:
        TypeAdapter(ResponseStreamEvent).validate_python(one)
    Response.model_validate(httpx2.post(url, json=body, timeout=60).json(), strict=True)


def test_text_is_held_to_its_schema_and_parsed(client):
    answer = ask(client, "hi", text=FORM, tools=[])
    jsonschema.validate(json.loads(answer.output_text), ORDER_SCHEMA)

    class Verdict(BaseModel):
        good: bool

    parsed = client.responses.parse(model="parrot", input="hi", text_format=Verdict, temperature=0)
    assert isinstance(parsed.output_parsed, Verdict)


def test_a_choice_of_tools_is_kept(client):
    cancel = {
        "type": "function",
        "name": "cancel",
        "parameters": {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
            "additionalProperties": False,
        },
    }
    choice = {"type": "function", "name": "cancel"}
    answer = ask(client, "hi", tools=[*FLAT, cancel], tool_choice=choice, parallel_tool_calls=False)
    (call,) = answer.output
    assert call.name == "cancel"
    assert set(json.loads(call.arguments)) == {"ok"}
    assert answer.tools[-1].strict is True


def test_odds_are_told_where_they_are_included(client):
    answer = ask(client, "hi", include=["message.output_text.logprobs"], top_logprobs=2)
    (part,) = answer.output[0].content
    assert "".join(one.token for one in part.logprobs) == part.text
    assert {len(one.top_logprobs) for one in part.logprobs} == {2}
    assert ask(client, "hi").output[0].content[0].logprobs == []


def test_a_limit_leaves_it_incomplete_and_says_why(client):
    answer = ask(client, "count", max_output_tokens=3)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[0].status == "incomplete"
    assert [*ask(client, "count", max_output_tokens=3, stream=True)][-1].type == (
        "response.incomplete"
    )


class TestMemory:
    def test_a_response_is_retrieved_until_it_is_deleted(self, client):
        answer = ask(client, "hi")
        assert client.responses.retrieve(answer.id) == answer
        client.responses.delete(answer.id)
        for ask_again in (client.responses.retrieve, client.responses.delete):
            with pytest.raises(openai.NotFoundError):
                ask_again(answer.id)

    def test_one_that_is_not_to_be_stored_is_not(self, client):
        answer = ask(client, "hi", store=False)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(answer.id)
        error = refusal(client, previous_response_id=answer.id)
        assert (error["param"], error["code"]) == (
            "previous_response_id",
            "previous_response_not_found",
        )

    def test_those_made_longest_ago_go_first(self):
        memory = Memory(250)
        for n in range(5):
            memory.put({"id": f"resp_{n}", "text": "x" * 80}, [], [])
        kept = [n for n in range(5) if memory.get(f"resp_{n}") is not None]
        assert kept == [3, 4]

    def test_the_newest_is_kept_whatever_its_size(self):
        memory = Memory(10)
        memory.put({"id": "resp_1", "text": "x" * 80}, [], [])
        assert memory.get("resp_1")


class TestItems:
    def test_thoughts_text_and_calls_are_items_of_their_own(self):
        items = Items()
        told = list(items.take([Thought("hm"), Said("At "), Said("once."), Called("f", "{}")]))
        assert [item["type"] for item in items.done] == ["reasoning", "message", "function_call"]
        assert items.done[1]["content"][0]["text"] == "At once."
        assert all(item["status"] == "completed" for item in items.done)
        assert {one.get("output_index") for one in told} == {0, 1, 2}
        for number, one in enumerate(told):
            TypeAdapter(ResponseStreamEvent).validate_python({**one, "sequence_number": number})

    def test_what_was_said_comes_back_as_one_message(self):
        items = Items()
        list(items.take([Thought("hm"), Said("At once."), Called("f", "{}")]))
        (message,) = messages(items.done)
        assert (message["content"], message["reasoning_content"]) == ("At once.", "hm")
        (call,) = message["tool_calls"]
        assert call["id"] == items.done[2]["call_id"]
        assert call["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "invalid_value", "tools[0].type"),
        ({"background": True}, "unsupported_value", "background"),
        ({"conversation": "conv_1"}, "unsupported_value", "conversation"),
        ({"reasoning": {"effort": "high"}}, "unsupported_value", "reasoning"),
        ({"truncation": "auto"}, "unsupported_value", "truncation"),
        ({"tool_choice": {"type": "file_search"}}, "invalid_value", "tool_choice"),
        ({"include": ["file_search_call.results"]}, "invalid_value", "include[0]"),
        ({"input": []}, "invalid_type", "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "invalid_value", "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, None, "input"),
        ({"text": {"format": {"type": "json_schema"}}}, None, "text.format"),
        ({"extra_body": {"surprise": 1}}, "unknown_parameter", "surprise"),
    ],
)
def test_what_is_not_there_is_refused_by_name(client, options, code, param):
    error = refusal(client, options.pop("input", "hi"), **options)
    assert error["param"].startswith(param)
    assert code in (None, error["code"])


def test_a_schema_that_cannot_be_kept_is_refused(client):
    form = {"type": "json_schema", "name": "x", "strict": True, "schema": {"uniqueItems": True}}
    assert refusal(client, text={"format": form})["param"] == "text.format.schema"
