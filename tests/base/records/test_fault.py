"""Faults of rows: one for each rule, none on good rows, and none that the schemas would find."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.base.records import Method, faults
from agentloop.base.records import fault as module
from tests.base.texts import json_values
from tests.makers import TOOL, asks, calls, real, returns, says, system, user

IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}


def row(*said, **more):
    return {"messages": [one if isinstance(one, dict) else one.to_dict() for one in said], **more}


def pair(*said, better=None, worse=None, **more):
    return {
        "input": row(*said, **more),
        "preferred_output": [(better or says("a")).to_dict()],
        "non_preferred_output": [(worse or says("b")).to_dict()],
    }


def raw(role, **fields):
    return {"role": role, **fields}


def asked(**changes):
    """An assistant message whose one tool call has been changed."""
    body = asks().to_dict()
    call = body["tool_calls"][0]
    function = {**call["function"], **changes.pop("function", {})}
    body["tool_calls"] = [{**call, "function": function, **changes}]
    return body


def judged(*said, answer=None, label=True, **more):
    """A row for KTO: arguments are objects there."""
    written = [one if isinstance(one, dict) else one.to_dict() for one in (*said, answer or says())]
    for one in written:
        for call in one.get("tool_calls") or ():
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return {"prompt": written[:-1], "completion": written[-1:], "label": label, **more}


GOOD = [
    (Method.SFT, row(user(), says())),
    (Method.SFT, row(system(), user(), asks(), returns(), says(), tools=[TOOL])),
    (Method.SFT, row(user(), asks(), tools=[TOOL], parallel_tool_calls=False)),
    (Method.SFT, row(user(), calls(("f", "{}", "a"), ("f", "{}", "b")), returns(id="b"),
                     returns(id="a"), says())),
    (Method.SFT, row(user(), calls(("f", "{}", "a"), ("f", "{}", "a")), returns(id="a"),
                     returns(id="a"), says())),
    (Method.SFT, row(user([{"type": "text", "text": "a"}, IMAGE]), says([{"type": "text",
                     "text": "b"}]))),
    (Method.SFT, row(user(), raw("assistant", content="x", weight=0), user(), says())),
    (Method.SFT, row(user(), raw("assistant", content="x", name="ann", refusal=None, audio=None))),
    (Method.SFT, row(user(), raw("assistant", content=None,
                     function_call={"name": "f", "arguments": "{}"}),
                     raw("function", name="f", content="x"), says(), functions=[{"name": "f"}])),
    (Method.DPO, pair(system(), user(), tools=[TOOL])),
    (Method.DPO, pair(user(), asks(), returns(), better=asks("g"))),
    (Method.RFT, row(raw("developer", content="d"), user(), tools=[TOOL], reference_answer=[1])),
    (Method.RFT, row(user(), asks(), returns(), user())),
    (Method.KTO, judged(user())),
    (Method.KTO, judged(system(), user(), asks(), returns(), label=False, tools=[TOOL])),
    (Method.KTO, judged(user(), answer=asks(), tools=[TOOL])),
]  # fmt: skip

BAD = [
    (Method.SFT, "not_an_object", []),
    (Method.SFT, "extra_key", row(user(), says(), trace_id="t")),
    (Method.DPO, "extra_key", {**pair(user()), "margin": 1}),
    (Method.DPO, "extra_key", pair(user(), functions=[{"name": "f"}])),
    (Method.SFT, "missing_key", {}),
    (Method.DPO, "missing_key", {"input": row(user())}),
    (Method.RFT, "missing_key", {"reference_answer": "x"}),
    (Method.DPO, "bad_input", {**pair(user()), "input": "hi"}),
    (Method.SFT, "bad_messages", {"messages": []}),
    (Method.SFT, "bad_messages", {"messages": "hi"}),
    (Method.DPO, "bad_messages", {**pair(user()), "input": {}}),
    (Method.SFT, "bad_message", row(user(), says()) | {"messages": ["hi"]}),
    (Method.SFT, "bad_role", row({"content": "x"}, says())),
    (Method.SFT, "bad_role", row(raw("developer", content="x"), says())),
    (Method.SFT, "bad_role", row(raw(["user"], content="x"), says())),
    (Method.RFT, "bad_role", row(system(), user())),
    (Method.SFT, "missing_content", row(raw("user"), says())),
    (Method.SFT, "missing_content", row(user(), raw("assistant", content=None))),
    (Method.SFT, "bad_content", row(raw("user", content=7), says())),
    (Method.SFT, "bad_content", row(raw("user", content=[]), says())),
    (Method.SFT, "bad_content", row(raw("user", content=[{"text": "x"}]), says())),
    (Method.SFT, "bad_content", row(raw("user", content=[{"type": "text"}]), says())),
    (Method.SFT, "bad_content", row(raw("system", content=[IMAGE]), says())),
    (Method.SFT, "bad_content", row(user(), raw("assistant", content=[IMAGE]))),
    (Method.SFT, "bad_content", row(raw("user", content=[{"type": "image_url",
                                                         "image_url": "https://x"}]), says())),
    (Method.SFT, "bad_content", row(user(), raw("assistant", content="x", refusal=7))),
    (Method.SFT, "bad_content", row(user(), raw("assistant", content="x", audio={}))),
    (Method.SFT, "bad_weight", row(raw("user", content="x", weight=1), says())),
    (Method.SFT, "bad_weight", row(user(), raw("assistant", content="x", weight=0.5))),
    (Method.SFT, "bad_weight", row(user(), raw("assistant", content="x", weight=True))),
    (Method.SFT, "bad_weight", row(user(), raw("assistant", content="x", weight=None))),
    (Method.SFT, "bad_name", row(raw("user", content="x", name=None), says())),
    (Method.SFT, "bad_name", row(user(), raw("function", content="x"), says())),
    (Method.SFT, "missing_tool_call_id", row(user(), asks(), raw("tool", content="x"), says())),
    (Method.SFT, "tool_without_call", row(user(), returns(), says())),
    (Method.SFT, "tool_without_call", row(user(), asks(), returns(), returns(), says())),
    (Method.SFT, "unanswered_tool_call", row(user(), asks(), says())),
    (Method.SFT, "unanswered_tool_call",
     row(user(), calls(("f", "{}", "a"), ("f", "{}", "b")), returns(id="a"))),
    (Method.DPO, "unanswered_tool_call", pair(user(), asks())),
    (Method.SFT, "bad_tool_calls", row(raw("user", content="x", tool_calls=[]), says())),
    (Method.SFT, "bad_tool_calls", row(user(), raw("assistant", content="x", tool_calls=[]))),
    (Method.SFT, "bad_tool_calls", row(user(), raw("assistant", content="x", tool_calls=None))),
    (Method.SFT, "bad_tool_calls", row(user(), asked(id=None))),
    (Method.SFT, "bad_tool_calls", row(user(), asked(type="custom"))),
    (Method.SFT, "bad_tool_calls", row(user(), asked(function={"name": None}))),
    (Method.SFT, "bad_arguments", row(user(), asked(function={"arguments": {"id": 1}}))),
    (Method.SFT, "bad_arguments", row(user(), asked(function={"arguments": "{"}))),
    (Method.SFT, "bad_arguments", row(user(), asked(function={"arguments": "[" * 100_000}))),
    (Method.SFT, "bad_tools", row(user(), says(), tools="find")),
    (Method.SFT, "bad_tools", row(user(), says(), tools=None)),
    (Method.SFT, "bad_tools", row(user(), says(), tools=[{"function": {"name": "f"}}])),
    (Method.SFT, "bad_tools", row(user(), says(), tools=[{"type": "function", "function": {}}])),
    (Method.SFT, "bad_tools", row(user(), says(), tools=[{"type": "function", "function": {
        "name": "f", "parameters": "x"}}])),
    (Method.SFT, "bad_tools", row(user(), says(), parallel_tool_calls="yes")),
    (Method.SFT, "bad_tools", row(user(), says(), functions=[])),
    (Method.SFT, "ends_without_assistant", row(user(), says(), user())),
    (Method.SFT, "nothing_to_learn", row(user(), raw("assistant", content="x", weight=0))),
    (Method.RFT, "ends_without_user", row(user(), says())),
    (Method.DPO, "bad_output", {**pair(user()), "preferred_output": []}),
    (Method.DPO, "bad_output", {**pair(user()), "preferred_output": says().to_dict()}),
    (Method.DPO, "bad_role", {**pair(user()), "preferred_output": [user().to_dict()]}),
    (Method.KTO, "extra_key", judged(user(), parallel_tool_calls=True)),
    (Method.KTO, "missing_key", {"prompt": [user().to_dict()]}),
    (Method.KTO, "bad_label", judged(user(), label=1)),
    (Method.KTO, "bad_output", judged(user()) | {"completion": []}),
    (Method.KTO, "bad_role", judged(user()) | {"completion": [user().to_dict()]}),
    (Method.KTO, "bad_messages", judged(user()) | {"prompt": "hi"}),
    (Method.KTO, "bad_arguments", judged(user()) | {"completion": [asks().to_dict()]}),
    (Method.KTO, "bad_arguments", judged(user()) | {"completion": [
        asks(arguments="half {").to_dict()]}),
    (Method.KTO, "bad_tool_calls", judged(user()) | {"completion": [
        raw("assistant", tool_calls=[7])]}),
    (Method.KTO, "unanswered_tool_call", judged(user(), asks(), user())),
    (Method.KTO, "bad_tools", judged(user(), tools="find")),
    (Method.DPO, "equal_outputs", pair(user(), better=says(), worse=says())),
]  # fmt: skip


def codes(body, method):
    return [fault.code for fault in faults(body, method)]


@pytest.mark.parametrize(("method", "body"), GOOD)
def test_a_good_row_has_no_fault(method, body):
    assert faults(body, method) == []


@pytest.mark.parametrize(("method", "code", "body"), BAD)
def test_a_bad_row_has_the_fault_it_has_and_no_other(method, code, body):
    assert set(codes(body, method)) == {code}


def test_every_code_has_a_test():
    written = set(re.findall(r'Fault\(\s*"(\w+)"', Path(module.__file__).read_text()))
    assert written == {code for _, code, _ in BAD}


def test_a_message_says_where_what_and_what_would_be_right():
    (fault,) = faults(row(user(), says(), user()), Method.SFT)
    assert fault.message == (
        "the last message is of role 'user'; trim the row after the last assistant message"
    )
    (fault,) = faults(pair(raw("robot", content="x")), Method.DPO)
    assert fault.message == (
        "input.messages[0] has the role 'robot'; one of: assistant, function, system, tool, user"
    )


SAMPLES, DEMOS = "foundry-fine-tuning/Sample_Datasets", "foundry-fine-tuning/Demos"
STOCKS = f"{SAMPLES}/Supervised_Fine_Tuning/Tool-Calling"
ORCA = f"{SAMPLES}/Direct_Preference_Optimization/orca_dpo_pairs"
TOOLS = f"{DEMOS}/Agentic_RFT_PrivatePreview/RFT_ToolCall/data"
COUNTDOWN = f"{DEMOS}/RFT_Countdown/data"

FILES = [
    (Method.SFT, "openai-cookbook/drone_training.jsonl", 103),
    (Method.SFT, "openai-cookbook/toy_chat_fine_tuning.jsonl", 5),
    (Method.SFT, "tau2-bench/sierra-sft/test_sft-v1-small.jsonl", 24),
    (Method.SFT, f"{STOCKS}/stock_toolcall_training.jsonl", 86),
    (Method.SFT, f"{STOCKS}/stock_toolcall_validation.jsonl", 10),
    (Method.DPO, f"{ORCA}/validation.jsonl", 284),
    (Method.RFT, f"{TOOLS}/train_tool.jsonl", 10),
    (Method.RFT, f"{TOOLS}/valid_tool.jsonl", 10),
    (Method.RFT, f"{COUNTDOWN}/countdown_train_100.jsonl", 100),
    (Method.RFT, f"{COUNTDOWN}/countdown_valid_50.jsonl", 50),
    (Method.RFT, f"{DEMOS}/ZavaRetailAgent/data/rft_train.jsonl", 10),
]


@pytest.mark.parametrize(("method", "name", "rows"), FILES, ids=[name for _, name, _ in FILES])
def test_no_fault_is_found_in_the_training_files_of_others(method, name, rows):
    lines = real(*name.split("/")).read_text().splitlines()
    assert len(lines) == rows
    for line in lines:
        assert faults(json.loads(line), method) == []


SCHEMAS = {
    Method.SFT: "FineTuneChatRequestInput",
    Method.DPO: "FineTunePreferenceRequestInput",
    Method.RFT: "FineTuneReinforcementRequestInput",
}


@pytest.fixture(scope="module")
def published():
    """Method -> the published schema of its rows."""
    file = real("openai-openapi", "finetune_request_inputs.f7f4b05.schema.json")
    whole = json.loads(file.read_text())
    return {
        method: jsonschema.Draft202012Validator({**whole, "$ref": f"#/$defs/{name}"})
        for method, name in SCHEMAS.items()
    }


@pytest.mark.parametrize(("method", "body"), [one for one in GOOD if one[0] in SCHEMAS])
def test_good_rows_fit_the_published_schemas(published, method, body):
    published[method].validate(body)


def places(value, path=()):
    """The path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


@st.composite
def damaged(draw):
    """A good row, with a few of its parts replaced, dropped or added to."""
    method, body = draw(st.sampled_from(GOOD))
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(sorted(places(body), key=str)))
        parent = body
        for key in path:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "drop", "add", "swap"])):
            case "replace":
                parent[last] = draw(json_values)
            case "drop":
                del parent[last]
            case "add" if isinstance(parent, dict):
                known = ["name", "weight", "tool_calls", "refusal", "audio", "strict", "content"]
                parent[draw(st.sampled_from(known))] = draw(json_values)
            case _:
                parent[last] = draw(st.sampled_from(["user", "tool", "text", "file", None, [], {}]))
        if not body:
            break
    return method, body


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_what_has_no_fault_fits_the_published_schemas(published, example):
    method, body = example
    if not faults(body, method) and method in SCHEMAS:
        published[method].validate(body)
