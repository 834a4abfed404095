"""`/v1/chat/completions`, through OpenAI's own client."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest

from tests.local.parrot import KNOWN, ORDER, SYSTEM, TOOLS, calls, result, user
from tests.local.serving import until

HI = [SYSTEM, user("hi")]
COUNT = [SYSTEM, user("count")]
FLIP = [SYSTEM, user("flip")]


def ask(client, messages, **options):
    chosen = {"model": "parrot", "tools": TOOLS, "temperature": 0, **options}
    return client.chat.completions.create(messages=messages, **chosen)


def text(client, messages, **options):
    return ask(client, messages, **options).choices[0].message.content


def refusal(kind, client, messages=HI, **options):
    with pytest.raises(kind) as caught:
        ask(client, messages, **options)
    body = caught.value.body
    assert set(body) == {"message", "type", "param", "code"}
    return body


def test_a_model_answers_with_text_usage_and_a_reason(client):
    answer = ask(client, HI)
    assert answer.choices[0].message.content == "Hello! How can I help?"
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens > 10
    assert usage.completion_tokens > 3
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_model_calls_a_tool_and_reads_its_result(client):
    choice = ask(client, ORDER[:2]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_order", {"id": "7"})
    history = [*ORDER[:2], choice.message.model_dump(exclude_none=True)]
    history.append({"role": "tool", "tool_call_id": call.id, "content": "shipped"})
    assert text(client, history) == "It is shipped."


def test_parallel_tool_calls_have_ids_of_their_own(client):
    both = ask(client, [SYSTEM, user("both")]).choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["id"] for call in both] == ["1", "2"]
    assert len({call.id for call in both}) == 2


def test_one_call_is_taken_where_parallel_ones_are_not_wanted(client):
    message = ask(client, [SYSTEM, user("both")], parallel_tool_calls=False).choices[0].message
    assert [json.loads(call.function.arguments)["id"] for call in message.tool_calls] == ["1"]


def test_parallel_calls_in_the_history_are_understood(client):
    history = [SYSTEM, user("both"), KNOWN[3][-1], result("lost", 1), result("shipped", 2)]
    assert ask(client, history).choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_malformed_tool_call_is_text(client):
    message = ask(client, [SYSTEM, user("broken")]).choices[0].message
    assert message.content == '<tool_call>{"name": "get_order", "argu</tool_call>'
    assert message.tool_calls is None


def test_without_tools_or_with_none_of_them_a_call_is_text(client):
    for options in ({"tools": None}, {"tool_choice": "none"}):
        message = ask(client, ORDER[:2], max_tokens=60, **options).choices[0].message
        assert message.tool_calls is None


def test_a_stream_says_what_the_whole_answer_says(client):
    for talk in KNOWN:
        whole = ask(client, talk[:-1]).choices[0]
        content, asked, reason = "", {}, None
        for chunk in ask(client, talk[:-1], stream=True):
            (choice,) = chunk.choices
            content += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                assert call.index not in asked
                asked[call.index] = (call.function.name, call.function.arguments)
        called = [(c.function.name, c.function.arguments) for c in whole.message.tool_calls or ()]
        assert (content or None) == (whole.message.content or None)
        assert [asked[n] for n in sorted(asked)] == called
        assert reason == whole.finish_reason


def test_a_stream_ends_with_the_usage_if_it_is_asked_for(client):
    chunks = list(ask(client, HI, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage == ask(client, HI).usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_text_comes_while_it_is_written(client):
    pieces = [
        chunk.choices[0].delta.content
        for chunk in ask(client, COUNT, stream=True)
        if chunk.choices[0].delta.content
    ]
    assert len(pieces) > 5


def test_a_stop_is_where_the_text_ends(client):
    for options in ({"stop": " four"}, {"stop": ["nine", " four"]}):
        choice = ask(client, COUNT, **options).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("one two three", "stop")
        streamed = "".join(
            chunk.choices[0].delta.content or ""
            for chunk in ask(client, COUNT, stream=True, **options)
        )
        assert streamed == "one two three"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens_is_kept_and_said(client, name):
    answer = ask(client, COUNT, **{name: 3})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_the_same_seed_gives_the_same_answer_and_others_differ(client):
    def flips(seed):
        return [c.message.content for c in ask(client, FLIP, temperature=1, seed=seed, n=8).choices]

    assert flips(1) == flips(1)
    assert len({*flips(1), *flips(2), *flips(3)}) > 1


def test_n_choices_are_numbered_whole_and_streamed(client):
    answer = ask(client, FLIP, temperature=1, seed=5, n=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    streamed = dict.fromkeys(range(4), "")
    for chunk in ask(client, FLIP, temperature=1, seed=5, n=4, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(streamed.values()) == [choice.message.content for choice in answer.choices]


def test_a_small_nucleus_takes_the_likeliest(client):
    answers = ask(client, HI, temperature=1, top_p=0.01, n=4).choices
    assert {choice.message.content for choice in answers} == {"Hello! How can I help?"}


def test_answers_are_the_same_alone_and_in_a_crowd(client):
    alone = [ask(client, talk[:-1]).choices[0].message for talk in KNOWN]
    with ThreadPoolExecutor(24) as crowd:
        asked = [crowd.submit(ask, client, KNOWN[n % len(KNOWN)][:-1]) for n in range(48)]
        answers = [one.result().choices[0].message for one in asked]
    for n, answer in enumerate(answers):
        expected = alone[n % len(KNOWN)]
        assert answer.content == expected.content
        assert [c.function for c in answer.tool_calls or ()] == [
            c.function for c in expected.tool_calls or ()
        ]


def test_the_async_client_gets_its_answers_too(server):
    async def both():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            stream = await ask(client, COUNT, stream=True)
            said = "".join([c.choices[0].delta.content or "" async for c in stream])
            whole, flips = await asyncio.gather(ask(client, HI), ask(client, FLIP, n=2))
            return said, whole.choices[0].message.content, len(flips.choices)

    assert asyncio.run(both()) == (KNOWN[5][-1]["content"], "Hello! How can I help?", 2)


def test_developer_messages_and_text_parts_are_read(client):
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    system = {"role": "developer", "content": SYSTEM["content"]}
    assert text(client, [system, {"role": "user", "content": parts}]) == "Hello! How can I help?"


def test_a_client_that_leaves_makes_room(client, server):
    def leave():
        with httpx2.Client() as raw:
            body = {"model": "parrot", "messages": FLIP, "stream": True, "temperature": 2, "n": 16}
            with raw.stream("POST", f"{server.url}/v1/chat/completions", json=body) as stream:
                next(stream.iter_lines())

    leaving = [threading.Thread(target=leave) for _ in range(4)]
    for one in leaving:
        one.start()
    for one in leaving:
        one.join()
    # 64 long generations for 32 rows: had they stayed, this answer would come after all of them.
    assert until(lambda: text(client, HI), "an answer", seconds=20)


class TestRefusals:
    def test_a_model_that_is_not_there(self, client):
        error = refusal(openai.NotFoundError, client, model="gpt-5")
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "parrot" in error["message"]

    @pytest.mark.parametrize(
        ("options", "param"),
        [
            ({"frequency_penalty": 0.5}, "frequency_penalty"),
            ({"logit_bias": {"1": 5}}, "logit_bias"),
            ({"reasoning_effort": "low"}, "reasoning_effort"),
            ({"store": True}, "store"),
            ({"modalities": ["audio"]}, "modalities"),
        ],
    )
    def test_what_is_not_there_is_refused_by_name(self, client, options, param):
        error = refusal(openai.BadRequestError, client, **options)
        assert (error["code"], error["param"]) == ("unsupported_value", param)

    def test_what_changes_nothing_is_taken(self, client):
        options = {"store": False, "user": "u", "metadata": {"a": "b"}, "frequency_penalty": 0}
        assert text(client, HI, response_format={"type": "text"}, **options)

    @pytest.mark.parametrize(
        ("options", "code", "param"),
        [
            ({"temperature": 3}, "invalid_value", "temperature"),
            ({"temperature": "hot"}, "invalid_type", "temperature"),
            ({"n": 0}, "invalid_value", "n"),
            ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
            ({"extra_body": {"surprise": 1}}, "unknown_parameter", "surprise"),
            ({"messages": []}, "invalid_value", "messages"),
            ({"messages": [{"role": "owl", "content": "hu"}]}, "invalid_value", "messages[0].role"),
            ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0]"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
                "invalid_value",
                "messages[0].content",
            ),
            ({"tool_choice": "required", "tools": None}, "invalid_value", "tool_choice"),
            ({"tool_choice": {"type": "custom"}}, "invalid_value", "tool_choice"),
            (
                {"tool_choice": {"type": "function", "function": {"name": "f"}}},
                "invalid_value",
                "tool_choice",
            ),
            ({"top_logprobs": 3}, "invalid_value", "top_logprobs"),
            ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
            (
                {"response_format": {"type": "json_schema"}},
                "missing_required_parameter",
                "response_format",
            ),
            ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
        ],
    )
    def test_a_bad_parameter_is_named(self, client, options, code, param):
        messages = options.pop("messages", HI)
        error = refusal(openai.BadRequestError, client, messages, **options)
        assert (error["code"], error["param"]) == (code, param)

    def test_a_prompt_longer_than_the_context(self, client):
        error = refusal(openai.BadRequestError, client, [user("x y z " * 600)])
        assert error["code"] == "context_length_exceeded"
        assert "1024" in error["message"]

    @pytest.mark.parametrize(
        ("method", "path", "content", "status", "part"),
        [
            ("GET", "/v1/nothing", None, 404, "Invalid URL (GET /v1/nothing)"),
            ("GET", "/v1/chat/completions", None, 405, "Not allowed"),
            ("POST", "/v1/chat/completions", "{", 400, "parse the JSON body"),
            ("POST", "/v1/chat/completions", "[]", 400, "JSON"),
            ("POST", "/v1/chat/completions", "{}", 400, "'model'"),
        ],
    )
    def test_what_no_client_sends(self, server, method, path, content, status, part):
        headers = {"content-type": "application/json"}
        answer = httpx2.request(method, server.url + path, content=content, headers=headers)
        assert answer.status_code == status
        assert part in answer.json()["error"]["message"]
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    def test_a_call_with_broken_arguments_in_the_history_is_no_error(self, client):
        history = [*ORDER[:2], calls(("get_order", "{oops")), result("shipped")]
        assert ask(client, history, max_tokens=5).choices
