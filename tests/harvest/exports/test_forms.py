"""Rows in OpenAI's form become rows of TRL's; what they say stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.records import Method
from agentloop.harvest.exports.forms import Form, Left, Unfit, is_masked, read, reshaped, written
from tests.harvest.checks.makers import a_dpo, an_rft, an_sft, changed, said
from tests.harvest.exports.makers import masked
from tests.makers import asks, calls, message, returns, says, system, user

CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": {"id": 1}}}


def shaped(row, form=Form.LANGUAGE_MODELING, **more):
    return list(reshaped(row, form, **more))


def test_a_conversation_stays_one_with_arguments_as_objects_and_no_null():
    (row,) = shaped(an_sft(7, parallel_tool_calls=True))
    assert row == {
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": "where is 7?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "find", "tool_call_id": "c1", "content": "shelf 7"},
            {"role": "assistant", "content": "On 7."},
        ],
        "tools": an_sft()["tools"],
    }


def test_the_order_of_arguments_is_that_in_which_the_model_wrote_them():
    told = said(an_sft(), user(), asks(arguments='{"z": 1, "a": {"y": 2, "b": 3}}'))
    (row,) = shaped(told)
    arguments = row["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.dumps(arguments) == '{"z": 1, "a": {"y": 2, "b": 3}}'


def test_a_masked_turn_is_context_and_never_learned():
    assert is_masked(masked())
    assert not is_masked(an_sft())
    (row,) = shaped(masked(7), Form.PROMPT_COMPLETION)
    assert row["completion"] == [{"role": "assistant", "content": "On 7."}]
    assert [m["role"] for m in row["prompt"]] == ["system", "user", "assistant", "tool"]
    assert "weight" not in json.dumps(row)
    assert row["tools"] == an_sft()["tools"]


def test_each_learned_turn_is_a_completion_of_what_was_said_before_it():
    rows = shaped(an_sft(7), Form.PROMPT_COMPLETION)
    (whole,) = shaped(an_sft(7))
    assert [row["prompt"] + row["completion"] for row in rows] == [
        whole["messages"][:3],
        whole["messages"],
    ]


def test_what_an_assistant_says_first_has_no_prompt_and_the_rest_of_its_row_stays():
    told = said(an_sft(), says("Welcome!"), user(), says("Here."))
    rows = reshaped(told, Form.PROMPT_COMPLETION)
    assert next(rows)["completion"] == [{"role": "assistant", "content": "Here."}]
    with pytest.raises(Unfit) as caught:
        next(rows)
    assert caught.value.reason is Left.FIRST_WORD


def test_a_pair_is_a_preference_and_each_side_a_verdict():
    row = a_dpo(7, preferred_output=[asks().to_dict()])
    (pair,) = shaped(row, Form.PREFERENCE)
    assert pair["chosen"] == [{"role": "assistant", "content": "", "tool_calls": [CALL]}]
    assert pair["rejected"] == [{"role": "assistant", "content": "No idea about 7."}]
    assert "tools" not in pair
    good, bad = shaped(row, Form.UNPAIRED)
    assert (good["completion"], good["label"]) == (pair["chosen"], True)
    assert (bad["completion"], bad["label"]) == (pair["rejected"], False)
    assert good["prompt"] == bad["prompt"] == pair["prompt"]


def test_a_verdict_in_trls_form_stays_one():
    row = {
        "prompt": [user().to_dict(), {**asks().to_dict(), "tool_calls": [CALL]}, returns()],
        "completion": [says("Here.").to_dict()],
        "label": False,
        "tools": [],
    }
    row["prompt"][2] = returns().to_dict()
    (new,) = shaped(row, Form.UNPAIRED)
    assert new["prompt"][1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert new["prompt"][2]["name"] == "find"
    assert (new["completion"], new["label"]) == ([{"role": "assistant", "content": "Here."}], False)
    assert new["tools"] is None


def test_a_task_keeps_its_fields_and_its_developer_is_a_system():
    (row,) = shaped(an_rft(7, wanted={"shelf": 7}), Form.PROMPT_ONLY)
    assert [m["role"] for m in row["prompt"]] == ["system", "user"]
    assert row["reference"] == "shelf 7"
    assert row["wanted"] == {"shelf": 7}
    (row,) = shaped(an_rft(7, wanted={"shelf": 7}), Form.PROMPT_ONLY, as_json={"wanted"})
    assert row["wanted"] == '{"shelf": 7}'


def test_parts_of_text_are_one_text_and_a_refusal_is_what_was_said():
    parts = [{"type": "text", "text": "where "}, {"type": "text", "text": "is it?"}]
    (row,) = shaped(
        said(an_sft(), message("user", parts), message("assistant", None, refusal="No"))
    )
    assert [m["content"] for m in row["messages"]] == ["where is it?", "No"]
    assert "refusal" not in row["messages"][1]


def test_no_tools_are_null_for_templates_introduce_an_empty_list():
    (row,) = shaped(an_sft(tools=[]))
    assert row["tools"] is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            said(
                an_sft(),
                message("user", [{"type": "image_url", "image_url": {"url": "data:image/png,"}}]),
                says(),
            ),
            Left.MEDIA,
        ),
        (said(an_sft(), user(), says().to_dict() | {"audio": {"id": "a"}}), Left.MEDIA),
        (
            said(
                an_sft(),
                user(),
                {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            ),
            Left.OLDER_FORM,
        ),
        (an_sft(functions=[{"name": "f"}]), Left.OLDER_FORM),
        (said(an_sft(), user(), asks(arguments='{"n": 9223372036854775808}')), Left.NUMBER),
        (said(an_sft(), user(), asks(arguments='{"n": 1e999}')), Left.NUMBER),
        (said(an_sft(), user(), asks(arguments='{"n": NaN}')), Left.NUMBER),
        (said(an_sft(), user(), asks(arguments='{"n": %s}' % ("9" * 5000))), Left.NUMBER),
        (said(an_sft(), user("half a \ud83d"), says()), Left.UNICODE),
    ],
)
def test_what_a_form_cannot_hold_is_left_out_with_a_reason(row, reason):
    with pytest.raises(Unfit) as caught:
        [written(new) for new in shaped(row)]
    assert caught.value.reason is reason
    assert reason.sentence.endswith(".")


def test_the_largest_numbers_that_others_take_are_taken():
    assert read("[9223372036854775807, -9223372036854775808, 1e308]") == [
        9223372036854775807,
        -9223372036854775808,
        1e308,
    ]


def test_every_method_has_a_form():
    assert {method.value: Form.of(method).value for method in Method} == {
        "sft": "language-modeling",
        "dpo": "preference",
        "rft": "prompt-only",
        "kto": "unpaired-preference",
    }
    assert Form.of(Method.SFT, masked=True) is Form.PROMPT_COMPLETION


# ---------------------------------------------------------------------- whatever is said

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@st.composite
def conversations(draw):
    """What a user and an assistant say, with tool calls, some of it masked."""
    talk = [system(draw(TEXTS)).to_dict()] if draw(st.booleans()) else []
    for n in range(draw(st.integers(1, 3))):
        talk.append(user(draw(TEXTS)).to_dict())
        for arguments in draw(st.lists(ARGUMENTS, max_size=2)):
            text = json.dumps(arguments, indent=draw(st.sampled_from([None, 2])))
            talk += [asks(arguments=text, id=f"c{n}").to_dict(), returns(id=f"c{n}").to_dict()]
        talk.append(says(draw(TEXTS)).to_dict())
    for turn in talk:
        if turn["role"] == "assistant" and draw(st.booleans()):
            turn["weight"] = draw(st.sampled_from([0, 1]))
    return an_sft(messages=talk)


def arguments_of(messages):
    """The arguments of all calls, as values."""
    said = [c["function"]["arguments"] for m in messages for c in m.get("tool_calls") or ()]
    return [json.loads(one) if isinstance(one, str) else one for one in said]


@given(conversations())
def test_arguments_are_the_same_values_and_texts_the_same_texts(row):
    (new,) = [read(written(one)) for one in reshaped(row, Form.LANGUAGE_MODELING)]
    assert arguments_of(new["messages"]) == arguments_of(row["messages"])
    assert [m["content"] for m in new["messages"]] == [m["content"] or "" for m in row["messages"]]
    assert [m["role"] for m in new["messages"]] == [m["role"] for m in row["messages"]]


@given(conversations())
def test_completions_are_the_learned_turns_and_no_others(row):
    (whole,) = reshaped(row, Form.LANGUAGE_MODELING)
    learned = [
        n
        for n, m in enumerate(row["messages"])
        if m["role"] == "assistant" and m.get("weight", 1) == 1
    ]
    rows = list(reshaped(row, Form.PROMPT_COMPLETION))
    assert [len(one["prompt"]) for one in rows] == learned
    for one in rows:
        end = len(one["prompt"]) + 1
        assert one["prompt"] + one["completion"] == whole["messages"][:end]


@given(ARGUMENTS, ARGUMENTS)
def test_a_row_is_not_changed_by_being_exported(a, b):
    row = a_dpo(preferred_output=[calls(("find", json.dumps(a), "x")).to_dict()])
    row = changed(row, "non_preferred_output", to=[asks(arguments=json.dumps(b)).to_dict()])
    before = json.dumps(row)
    shaped(row, Form.PREFERENCE)
    shaped(row, Form.UNPAIRED)
    assert json.dumps(row) == before
