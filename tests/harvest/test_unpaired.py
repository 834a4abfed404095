"""KTO: single verdicts, and nothing that a pair would teach better."""

import json

import pytest

from agentloop.base.records import KTOExample, Refusal, jsonl
from agentloop.harvest import Branch, kto
from tests.harvest.makers import (
    TOOL,
    a_trace,
    an_opinion,
    calls,
    dataset,
    judged,
    returns,
    says,
    system,
    user,
)

CONTEXT = (system(), user("hi"))


def answered(said, *scores, id="t1", resolved=None, **fields):
    output = says(said) if isinstance(said, str) else said
    one = judged(a_trace(*CONTEXT, output, id=id, **fields), *scores, resolved=resolved)
    return Branch(one.trace.calls[-1], one)


def single(*context, **knobs):
    """What one context gives."""
    return list(kto([list(context)], **knobs))


def codes(found):
    return [item.code for item in found if not isinstance(item, KTOExample)]


def test_a_thumb_up_and_a_thumb_down_of_two_contexts_are_two_rows():
    found = list(kto([[answered("good", 1.0, id="a")], [answered("bad", 0.0, id="b")]]))
    assert [(e.answer, e.label, e.traces) for e in found] == [
        (says("good"), True, ("a",)),
        (says("bad"), False, ("b",)),
    ]
    assert found[0].context == CONTEXT
    assert found[0].producers == ("m",)


def test_two_answers_that_make_a_pair_are_left_to_dpo():
    found = single(answered("good", 1.0, id="a"), answered("bad", 0.0, id="b"))
    assert codes(found) == [Refusal.PAIRED] * 2


def test_an_answer_that_would_be_in_one_pair_too_many_is_left_to_dpo_as_well():
    fork = [answered(f"good {n}", 1.0, id=f"g{n}") for n in range(5)]
    assert codes(single(*fork, answered("bad", 0.0, id="b"))) == [Refusal.PAIRED] * 6


def test_a_corrected_answer_makes_a_pair_with_its_correction():
    trace = a_trace(*CONTEXT, says("bad"))
    said = an_opinion(trace, correction="good", call="t1/0")
    assert codes(single(Branch(trace.calls[0], judged(trace, said, 0.0)))) == [Refusal.PAIRED]


def test_two_good_answers_to_one_context_are_two_rows_and_no_pair():
    found = single(answered("good", 1.0, id="a"), answered("fine", 1.0, id="b"))
    assert [(e.answer.text, e.label) for e in found] == [("good", True), ("fine", True)]


def test_what_cannot_be_compared_is_no_pair_and_so_two_rows():
    found = single(answered("good", id="a", resolved=True), answered("bad", 0.0, id="b"))
    assert [e.label for e in found] == [True, False], "judged by a rule, and by a person"


def test_of_one_answer_of_several_runs_the_mean_counts():
    runs = [answered("x", score, id=f"t{n}") for n, score in enumerate((1.0, 1.0, 1.0, 0.5))]
    (example,) = single(*runs)
    assert (example.label, example.traces) == (True, ("t0", "t1", "t2", "t3"))
    assert codes(single(*runs, answered("x", 0.0, id="t9"))) == [Refusal.UNDECIDED]


def test_a_score_between_good_and_bad_is_no_row():
    (refused,) = single(answered("x", 0.5))
    assert (refused.code, refused.detail) == (Refusal.NEITHER, "score 0.50")
    assert single(answered("x", 0.5), good=0.5)[0].label is True
    assert single(answered("x", 0.5), bad=0.5)[0].label is False


def test_an_answer_that_nobody_judged_is_refused():
    assert codes(single(answered("x"))) == [Refusal.NOT_JUDGED]


def test_what_was_said_of_the_run_is_said_of_its_final_answer_alone():
    one = judged(a_trace(*CONTEXT, calls(), returns(), says("x")), 0.0)
    first, last = (single(Branch(call, one)) for call in one.trace.calls)
    assert first == []
    assert [e.label for e in last] == [False]


def test_a_turn_that_was_judged_alone_is_a_row():
    trace = a_trace(*CONTEXT, calls(), returns(), says("x"))
    one = judged(trace, an_opinion(trace, score=0.0, call="t1/0"), resolved=True)
    (example,) = single(Branch(trace.calls[0], one))
    assert (example.answer, example.label, example.tools) == (calls(), False, (TOOL,))


def test_a_run_without_consent_and_a_call_that_is_not_whole_are_refused():
    assert codes(single(answered("x", 1.0, consent=False))) == [Refusal.NO_CONSENT]
    branch = answered("x", 1.0)
    cut = branch._replace(call=branch.call.model_copy(update={"incomplete": "cut off"}))
    assert codes(single(cut)) == [Refusal.INCOMPLETE]


def test_a_good_call_of_a_tool_that_the_agent_does_not_have_is_refused():
    assert codes(single(answered(calls("nope"), 1.0))) == [Refusal.UNKNOWN_TOOL]
    assert single(answered(calls("nope"), 0.0))[0].label is False


def test_the_answers_of_one_context_stay_together_though_several_users_gave_them():
    found = single(
        answered("a", 1.0, id="a", user="u2"),
        answered("b", 1.0, id="b", user="u1"),
    )
    assert [e.unit for e in found] == ["u1", "u1"]


def test_a_row_is_trls_with_arguments_as_objects():
    found = single(answered(calls(arguments='{"id": 1, "a": [2]}'), 1.0))
    (row,) = dataset("kto", found).rows
    (asked,) = row.body["completion"][0].pop("tool_calls")
    assert asked["function"] == {"name": "find", "arguments": {"id": 1, "a": [2]}}
    assert row.body == {
        "prompt": [m.to_dict() for m in CONTEXT],
        "completion": [{"role": "assistant", "content": None}],
        "label": True,
        "tools": [TOOL],
    }


def test_rows_with_and_without_tools_have_the_same_keys_in_one_file():
    found = [*single(answered("x", 1.0)), *single(answered("y", 0.0, tools=()))]
    rows = [json.loads(row.line) for row in dataset("kto", found).rows]
    assert [list(row) for row in rows] == [["prompt", "completion", "label", "tools"]] * 2
    assert rows[1]["tools"] == []


def test_arguments_that_are_no_json_are_refused_and_not_guessed():
    found = single(answered(calls(arguments="{half"), 0.0), answered("fine", 1.0, tools=(), id="b"))
    made = dataset("kto", found)
    assert [r.code for r in made.refused] == [Refusal.BAD_ROW]


def test_the_same_answer_to_the_same_question_with_another_label_is_no_duplicate():
    found = [*single(answered("x", 1.0, id="a")), *single(answered("x", 0.0, id="b"))]
    assert len(dataset("kto", found).rows) == 2
    again = [*single(answered("x", 1.0, id="a")), *single(answered("x", 1.0, id="b"))]
    assert [r.code for r in dataset("kto", again).refused] == [Refusal.DUPLICATE]


def test_the_file_is_read_by_the_library_that_reads_it_for_trl(tmp_path):
    datasets = pytest.importorskip("datasets", reason="the extra `local` is not installed")
    found = [
        *single(answered(calls(arguments='{"id": 1}'), 1.0)),
        *single(answered(calls("find", '{"name": "x"}'), 0.0, id="b")),
    ]
    made = dataset("kto", found)
    file = tmp_path / "train.jsonl"
    file.write_bytes(jsonl(made.rows))
    read = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=tmp_path)
    assert list(read) == [row.body for row in made.rows], "no argument of one row is in another"
