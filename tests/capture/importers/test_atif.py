"""Trajectories in the Agent Trajectory Interchange Format."""

import json

import pytest

from agentloop.capture.importers import Imported, Problem
from agentloop.capture.importers.atif import SUMMED_UP
from tests.makers import DATA, real

NAMES = sorted(p.name for p in (DATA / "phoenix-atif").glob("*.json"))


def trajectories(value):
    if "steps" not in value:
        return [t for inner in value.values() for t in trajectories(inner)]
    return [value, *value.get("subagent_trajectories", ())]


@pytest.mark.parametrize("name", NAMES or ["none"])
def test_every_trajectory_comes_in_with_every_word_of_it(import_twice, name):
    path = real("phoenix-atif", name)
    bodies = trajectories(json.loads(path.read_text()))
    items = import_twice(path)
    assert [type(item) for item in items] == [Imported] * len(bodies)
    for body, item in zip(bodies, items, strict=True):
        trace = item.trace
        assert trace.agent == body["agent"]["name"]
        by_model = [
            step
            for step in body["steps"]
            if step["source"] == "agent"
            and not step.get("is_copied_context")
            and step.get("llm_call_count") != 0
        ]
        assert len(trace.calls) == len(by_model)
        for call, step in zip(trace.calls, by_model, strict=True):
            assert call.output.text == step["message"]
            asked = [
                (c.id, c.function.name, json.loads(c.function.arguments)) for c in call.output.calls
            ]
            assert asked == [
                (c["tool_call_id"], c["function_name"], c["arguments"])
                for c in step.get("tool_calls", ())
            ]
            assert call.usage.input_tokens == step["metrics"]["prompt_tokens"]
        said = "".join(m.text for m in trace.conversation)
        for step in body["steps"]:
            assert isinstance(step["message"], list) or step["message"] in said
            for result in (step.get("observation") or {}).get("results", ()):
                assert isinstance(result.get("content"), list) or result.get("content", "") in said


def step(source, message, **more):
    return {"source": source, "message": message, **more}


def trajectory(*steps, **more):
    return {"schema_version": "ATIF-v1.6", "session_id": "s", "agent": {"name": "a"},
            "steps": list(steps), **more}  # fmt: skip


ASKS = {"tool_calls": [{"tool_call_id": "c1", "function_name": "f", "arguments": '{ "x":1 }'}]}


def test_steps_are_calls_that_heard_all_before_them(written, import_twice):
    results = {"observation": {"results": [{"source_call_id": "c1", "content": "1"}]}}
    (item,) = import_twice(
        written(
            trajectory(
                step("system", "help"),
                step("user", "hi"),
                step("agent", "", **ASKS, **results, reasoning_content="hm"),
                step("agent", "done"),
                step("user", "thanks"),
            )
        )
    )
    first, last = item.trace.calls
    assert [m.to_dict() for m in last.path] == [
        {"role": "system", "content": "help"},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{ "x":1 }'},
                }
            ],
        },
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
        {"role": "assistant", "content": "done"},
    ]
    assert [m.text for m in item.trace.tail] == ["thanks"]
    assert first.context == last.context[:2]
    assert item.trace.spans[2].data["thoughts"] == ["hm"]
    assert item.notes == ()


def test_after_a_summary_calls_are_not_whole(written, import_twice):
    (item,) = import_twice(real("phoenix-atif", "harbor_terminus2_summarization.json"))
    assert [call.incomplete for call in item.trace.calls] == [None] * 3 + [SUMMED_UP] * 4


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {"observation": {"results": [{"source_call_id": "c9", "content": "1"}]}},
            "a tool result answers no call (id 'c9')",
        ),
        (
            {
                "tool_calls": [*ASKS["tool_calls"], *ASKS["tool_calls"]],
                "observation": {"results": [{"content": "1"}]},
            },
            "a result does not say which of several calls it answers",
        ),
    ],
)
def test_a_result_that_fits_no_call_is_told(written, import_twice, more, why):
    body = trajectory(step("user", "hi"), step("agent", "", **{**ASKS, **more}), step("agent", "x"))
    (item,) = import_twice(written(body))
    assert item.trace.calls[0].incomplete is None
    assert why in item.trace.calls[1].incomplete


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "no JSON"),
        (7, "no trajectory"),
        ({"a": {}}, "no trajectory"),
        (trajectory(session_id="t"), "no step of a model"),
        (trajectory(7, session_id="t"), "step 1 is no object"),
        (trajectory(step("agent", "x", tool_calls=[7]), session_id="t"), "not of the shape"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_imported(written, import_twice, value, why):
    good = trajectory(step("user", "hi"), step("agent", "x"))
    first, problem = import_twice(written(good, value))
    assert isinstance(first, Imported)
    assert isinstance(problem, Problem)
    assert problem.line == 2
    assert why in problem.why
