"""Rollouts with tools: what is called, what the model sees of it, and what is learned."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from agentloop import graders
from agentloop.base.records import Json
from agentloop.local.inference.dialect import Dialect
from agentloop.local.training.rollouts import Item, Rollouts
from agentloop.local.training.tools import Asked, Tools
from tests.graders.makers import string_check
from tests.local.parrot import ORDER, SYSTEM, TOOLS, result, says, user
from tests.local.serving import events, finished, upload

ROW = {"messages": ORDER[:2], "tools": TOOLS, "label": "It is shipped."}
CALL = {"id": "call_9", "type": "function", "function": {"name": "get_order", "arguments": "{}"}}


@pytest.fixture(scope="module")
def dialect(base):
    return Dialect(base)


@pytest.fixture(scope="module")
def model(base):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@pytest.fixture
def serving(scripted):
    """Tools on a server that answers so."""
    made = []

    def serve(answer, **headers):
        server = scripted(answer)
        one = {"name": "get_order", "server_url": server.url, "headers": headers}
        made.append(Tools([one], pause=lambda _: None))
        return made[-1], server

    yield serve
    for tools in made:
        tools.close()


def said(output, asked):
    return {"type": "function_call_output", "call_id": asked["call_id"], "output": output}


def an_item(dialect, row=ROW):
    return Item(row, dialect.prompt(row["messages"], row["tools"]))


def play(dialect, model, tools, n=1, **options):
    with graders.compile(string_check()) as grader:
        rollouts = Rollouts(dialect, grader, temperature=0.0, longest=200, tools=tools, **options)
        played = rollouts.play(model, [an_item(dialect)] * n, seed="s")
        return played, rollouts.grade(played)


def test_a_call_is_made_and_the_model_goes_on_with_its_result(dialect, model, serving):
    tools, server = serving(lambda asked: said("shipped", asked))
    (one,), (grade,) = play(dialect, model, tools)
    assert [message["role"] for message in one.messages] == ["assistant", "tool", "assistant"]
    assert one.messages[1]["content"] == "shipped"
    assert one.messages[-1]["content"] == "It is shipped."
    assert (one.finish, grade.reward) == ("stop", 1.0)
    (asked,) = server.asked
    assert asked["type"] == "function_call"
    assert (asked["name"], json.loads(asked["arguments"])) == ("get_order", {"id": "7"})
    assert asked["item"] == ROW
    assert asked["trace_id"] == one.trace
    assert asked["call_id"] == one.messages[0]["tool_calls"][0]["id"]


def test_what_is_trained_on_is_what_the_model_would_have_been_asked(dialect, model, serving):
    """Token by token as the whole conversation is rendered; its own tokens alone are learned."""
    tools, _ = serving(lambda asked: said("shipped", asked))
    (one,), _ = play(dialect, model, tools)
    whole = [*ORDER, result("shipped"), says("It is shipped.")]
    (lesson,) = dialect.lessons(whole, TOOLS)
    ids = [*one.item.prompt.ids, *one.ids]
    assert ids == lesson.ids[: len(ids)]
    learned = [label != -100 for label in lesson.labels[: len(ids)]]
    assert learned[len(one.item.prompt.ids) :] == [bool(own) for own in one.own]


def test_graders_see_the_whole_rollout(dialect, model, serving):
    tools, _ = serving(lambda asked: said("shipped", asked))
    (one,), _ = play(dialect, model, tools)
    sample = one.sample
    assert sample["output_text"] == "It is shipped."
    assert [call["function"]["name"] for call in sample["output_tools"]] == ["get_order"]
    assert sample["messages"] == one.messages
    assert sample["trace_id"] == one.trace
    assert sample["choices"][0]["message"] == one.messages[-1]


def test_what_a_server_refuses_is_told_to_the_model(dialect, model, serving):
    tools, _ = serving(lambda _: (404, {"error": "no such order"}))
    (one,), _ = play(dialect, model, tools)
    assert one.messages[1]["content"] == '{"error": "no such order"}'
    assert one.messages[-1]["role"] == "assistant"
    assert one.dropped is None


def test_a_rollout_whose_server_fails_is_dropped_and_not_graded_as_0(dialect, model, serving):
    tools, server = serving(lambda _: (500, {}))
    (one,), (grade,) = play(dialect, model, tools)
    assert one.dropped == "get_order: status 500"
    assert grade is None
    assert len(server.asked) == 4


def test_an_episode_ends_after_so_many_messages(dialect, model, serving):
    tools, server = serving(lambda asked: said("shipped", asked))
    (one,), _ = play(dialect, model, tools, steps=1)
    assert (len(one.messages), one.finish) == (1, "steps")
    assert server.asked == []


def test_a_result_that_leaves_no_room_ends_the_episode(dialect, model, serving):
    tools, _ = serving(lambda asked: said("x" * 2_000, asked))
    (one,), _ = play(dialect, model, tools)
    assert one.finish == "length"
    assert [message["role"] for message in one.messages] == ["assistant"]
    assert len(one.ids) == len(one.own) == sum(one.own)


def test_without_a_server_a_call_ends_the_rollout(dialect, model):
    (one,), _ = play(dialect, model, None)
    assert (len(one.messages), one.finish) == (1, "tool_calls")


def test_many_episodes_take_their_turns_together(dialect, model, serving):
    tools, server = serving(lambda asked: said("shipped", asked))
    played, grades = play(dialect, model, tools, n=5)
    assert [grade.reward for grade in grades] == [1.0] * 5
    assert len({asked["trace_id"] for asked in server.asked}) == 5
    assert len({tuple(one.ids) for one in played}) == 1


@pytest.mark.parametrize(
    ("answer", "output", "failed"),
    [
        ({"output": "a"}, "a", None),
        ({"output": {"n": 1}}, '{"n": 1}', None),
        ({"result": 1}, "", 'its answer is not {"output": …}'),
        ((302, {}), "", 'its answer is not {"output": …}'),
        ({"output": "x" * 1_000_000}, "", "an answer of 1000014 bytes is too large"),
    ],
)
def test_what_a_server_answers_is_taken_or_named(serving, answer, output, failed):
    tools, server = serving(lambda _: answer, **{"X-Key": "k"})
    (found,) = tools.call([Asked(CALL, {}, "trace_1")])
    assert (found.output, found.failed) == (output, failed)
    assert server.headers[0]["x-key"] == "k"


def test_a_job_calls_its_tools_and_hides_their_headers(client, scripted):
    server = scripted(lambda asked: said("shipped", asked))
    tool = {"name": "get_order", "server_url": server.url, "headers": {"X-Key": "secret"}}
    row = {**ROW, "messages": [{**SYSTEM, "role": "developer"}, user("order 7")]}
    numbers = {"n_epochs": 1, "batch_size": 2, "eval_samples": 2}
    section: Json = {"grader": string_check(), "hyperparameters": numbers, "tools": [tool]}
    section["max_episode_steps"] = 3
    file = upload(client, [row] * 2)
    job = client.fine_tuning.jobs.create(
        model="parrot",
        training_file=file,
        validation_file=file,
        method={"type": "reinforcement", "reinforcement": section},
        seed=7,
    )
    job = finished(client, job.id)
    assert job.status == "succeeded", job.error
    assert "secret" not in job.to_json()
    assert job.to_dict()["method"]["reinforcement"]["max_episode_steps"] == 3
    (step, *_) = [e.data for e in events(client, job.id) if e.type == "metrics"]
    assert step["train_episode_steps_mean"] == pytest.approx(2, abs=0.5)
    assert step["train_mean_reward"] > 0.5
    assert {asked["name"] for asked in server.asked} == {"get_order"}


def test_a_tool_that_no_row_offers_is_refused(client, scripted):
    server = scripted(lambda asked: said("shipped", asked))
    row = {"messages": [user("hi")], "label": "x"}
    file = upload(client, [row] * 2)
    tool = {"name": "get_order", "server_url": server.url}
    section = {"grader": string_check(), "tools": [tool]}
    job = client.fine_tuning.jobs.create(
        model="parrot",
        training_file=file,
        validation_file=file,
        method={"type": "reinforcement", "reinforcement": section},
    )
    job = finished(client, job.id)
    assert (job.status, job.error.code) == ("failed", "invalid_training_file")
    assert "no row of the training file has it" in job.error.message


SHAPE = {
    "type": "json_schema",
    "json_schema": {
        "name": "coin",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"side": {"type": "string", "enum": ["heads", "tails"]}},
            "required": ["side"],
            "additionalProperties": False,
        },
    },
}


def test_answers_are_held_to_the_response_format_of_the_job(dialect, model):
    row = {"messages": [SYSTEM, user("flip")]}
    item = Item(row, dialect.prompt(row["messages"], None))
    with graders.compile(string_check()) as grader:
        rollouts = Rollouts(dialect, grader, temperature=1.0, longest=200, response_format=SHAPE)
        played = rollouts.play(model, [item] * 8, seed="s")
    assert {one.sample["output_json"]["side"] for one in played} <= {"heads", "tails"}


def test_a_response_format_that_cannot_be_kept_fails_its_job_with_the_reason(client):
    file = upload(client, [{"messages": [user("hi")], "label": "x"}] * 2)
    shape = {"name": "x", "strict": True, "schema": {"type": "nothing"}}
    section = {
        "grader": string_check(),
        "response_format": {"type": "json_schema", "json_schema": shape},
    }
    job = client.fine_tuning.jobs.create(
        model="parrot",
        training_file=file,
        validation_file=file,
        method={"type": "reinforcement", "reinforcement": section},
    )
    job = finished(client, job.id)
    assert (job.status, job.error.code) == ("failed", "invalid_response_format")
    assert job.error.param == "method.reinforcement.response_format"
