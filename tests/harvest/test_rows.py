"""From examples to rows and files: formats, splits, five files, and the same bytes again."""

import hashlib
import json

import pytest

from agentloop.base.errors import ConfigError, EmptyHarvest, StoreError
from agentloop.base.records import Message, Method, Row, faults
from agentloop.harvest import Branch, Redactor, check, dpo, pipeline, rft, sft, write
from agentloop.harvest.splits import split
from tests.harvest.makers import (
    a_trace,
    calls,
    dataset,
    gathered,
    judged,
    returns,
    says,
    system,
    user,
)


def talk(n, **fields):
    return a_trace(
        system(), user(f"find {n}"), calls(), returns(), says(f"It is {n}."), id=f"t{n}", **fields
    )


def renamed(path):
    """The same conversation with other ids of tool calls."""
    return [
        Message.model_validate(json.loads(json.dumps(m.to_dict()).replace('"c1"', '"c9"')))
        for m in path
    ]


def made(n=20, **options):
    found = sft([judged(talk(k, user=f"u{k}"), 1.0) for k in range(n)], agents=["support"])
    return dataset(Method.SFT, found, **options)


def test_an_sft_row_is_the_conversation_and_its_tools_and_nothing_else():
    (row,) = made(1, valid_share=0.0).rows
    assert list(row.body) == ["messages", "tools"]
    assert [m["role"] for m in row.body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert faults(row.body, Method.SFT) == []
    assert not any("weight" in message for message in row.body["messages"])


def test_a_masked_turn_has_the_weight_zero():
    trace = talk(1)
    only_last = trace.model_copy(update={"calls": trace.calls[1:]})
    found = sft([judged(only_last, 1.0)], agents=["support"])
    (row,) = dataset(Method.SFT, found, valid_share=0.0).rows
    assert [m.get("weight") for m in row.body["messages"]] == [None, None, 0, None, None]


def test_a_redacted_row_says_who_looked_and_how_much_was_replaced(tmp_path):
    told = a_trace(system(), user("I am ann@work.org"), says("Hi ann@work.org!"), id="told")
    found = list(sft([judged(told, 1.0), judged(talk(1), 1.0)], agents=["support"]))
    options = {"valid_share": 0.0}
    made = dataset(Method.SFT, found, redactor=Redactor(), **options)
    write(made, tmp_path / "d")
    lines = (tmp_path / "d" / "rows.meta.jsonl").read_text().splitlines()
    who = {"detector": "agentloop", "version": "1"}
    assert [json.loads(line)["redactions"] for line in lines] == [
        {**who, "kinds": {"email": 2}},
        {**who, "kinds": {}},
    ]
    assert [m["content"] for m in made.rows[0].body["messages"]][1:] == [
        "I am person1@example.com",
        "Hi person1@example.com!",
    ]
    plain = dataset(Method.SFT, found, **options)
    assert made.rows[1].line == plain.rows[1].line


def test_a_dpo_row_has_openais_three_keys():
    fork = []
    for id, text, score in (("a", "good", 1.0), ("b", "bad", 0.0)):
        one = judged(a_trace(system(), user("hi"), says(text), id=id), score)
        fork.append(Branch(one.trace.calls[0], one))
    made = dataset(Method.DPO, dpo([fork]), valid_share=0.0)
    (row,) = made.rows
    assert list(row.body) == ["input", "preferred_output", "non_preferred_output"]
    assert list(row.body["input"]) == ["messages", "tools"]
    assert row.note == {"margin": 1.0, "source": "regeneration", "teaches": ["(no tool)"]}
    assert faults(row.body, Method.DPO) == []


def contexts(n):
    for k in range(n):
        fork = []
        for value in (True, False):
            trace = a_trace(system(), user(f"cancel {k}"), says(str(value)), id=f"{k}{value}")
            one = judged(trace, resolved=value, reference=f"label {k % 3}")
            fork.append(Branch(one.trace.calls[0], one))
        yield fork


def test_an_rft_row_is_told_by_the_developer_and_carries_its_reference():
    made = dataset(Method.RFT, rft(contexts(1)), valid_share=0.0)
    (row,) = made.rows
    assert [m["role"] for m in row.body["messages"]] == ["developer", "user"]
    assert row.body["reference_answer"] == "label 0"
    assert faults(row.body, Method.RFT) == []
    assert made.grader["type"] == "string_check"


def test_rft_always_has_a_row_to_validate_with():
    made = dataset(Method.RFT, rft(contexts(5)), valid_share=0.0)
    assert (len(made.rows), len(made.valid)) == (4, 1)


def test_a_user_is_on_one_side_of_the_split_only_and_stays_there():
    few, many = made(10, valid_share=0.3), made(40, valid_share=0.3)
    sides = {row.traces[0]: row.split for row in (*many.rows, *many.valid)}
    assert {"train", "valid"} == set(sides.values())
    for row in (*few.rows, *few.valid):
        assert sides[row.traces[0]] == row.split


def test_a_split_takes_about_its_share():
    taken = sum(split(f"u{n}", share=0.1) == "valid" for n in range(5_000))
    assert 400 < taken < 600


def test_the_same_store_and_recipe_give_the_same_bytes(tmp_path):
    write(made(), tmp_path / "one")
    found = sft([judged(talk(k, user=f"u{k}"), 1.0) for k in range(20)], agents=["support"])
    with gathered(Method.SFT, found) as harvest:
        write(harvest, tmp_path / "two")
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_the_five_files_fit_together(tmp_path):
    whole = made(20, valid_share=0.3)
    write(whole, tmp_path / "d")
    names = sorted(p.name for p in (tmp_path / "d").iterdir())
    assert names == [
        "manifest.json",
        "refused.jsonl",
        "rows.meta.jsonl",
        "train.jsonl",
        "valid.jsonl",
    ]
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    for part in ("train", "valid"):
        content = (tmp_path / "d" / f"{part}.jsonl").read_bytes()
        assert hashlib.sha256(content).hexdigest() == manifest["sha256"][part]
        assert content.count(b"\n") == manifest["rows"][part]
    for line in (tmp_path / "d" / "rows.meta.jsonl").read_text().splitlines():
        meta = json.loads(line)
        lines = (tmp_path / "d" / meta["file"]).read_bytes().splitlines()
        assert hashlib.sha256(lines[meta["line"] - 1]).hexdigest() == meta["sha256"]
    assert manifest["dataset"] == whole.id


def test_a_second_harvest_takes_the_place_of_the_first(tmp_path):
    write(made(20), tmp_path / "d")
    write(made(10), tmp_path / "d")
    assert json.loads((tmp_path / "d" / "manifest.json").read_text())["dataset"] == made(10).id
    assert [p.name for p in tmp_path.iterdir()] == ["d"], "no draft is left"


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        write(made(), tmp_path / "d")
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["thesis.tex"]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write(made(), tmp_path / "file" / "d")


def test_no_row_at_all_says_which_reason_was_the_most_frequent():
    found = sft([judged(talk(1), 0.0), judged(talk(2), 0.0), judged(talk(3))], agents=["support"])
    with pytest.raises(EmptyHarvest, match=r"3 candidates of support.*\(2\): not_good\."):
        dataset(Method.SFT, found)


def test_a_row_that_a_provider_would_refuse_is_refused_here_with_its_fault():
    broken = a_trace(system(), user("hi"), calls(arguments="no json"), returns(), says("x"))
    good = judged(talk(1), 1.0)
    found = sft([judged(broken, 1.0), good], agents=["support"])
    made = dataset(Method.SFT, found, valid_share=0.0)
    (refused,) = made.refused
    assert (refused.code.value, len(made.rows)) == ("bad_row", 1)
    assert "messages[2].tool_calls[0].function.arguments" in refused.detail


def test_parallel_tool_calls_switched_off_is_said_in_every_row():
    off = talk(1)
    last = off.calls[-1].model_copy(update={"settings": {"parallel_tool_calls": False}})
    off = off.model_copy(update={"calls": (*off.calls[:-1], last)})
    found = sft([judged(off, 1.0), judged(talk(2), 1.0)], agents=["support"])
    rows = dataset(Method.SFT, found, valid_share=0.0).rows
    assert [row.body["parallel_tool_calls"] for row in rows] == [False, True]


def test_rows_with_tools_and_rows_without_have_the_same_keys(tmp_path):
    bare = a_trace(system(), user("hi"), says("hello"), id="bare", tools=())
    found = sft([judged(bare, 1.0), *(judged(talk(k), 1.0) for k in range(10))], agents=["support"])
    made = dataset(Method.SFT, found, valid_share=0.0)
    assert made.rows[0].body["tools"] == []
    write(made, tmp_path / "d")
    assert check(tmp_path / "d" / "train.jsonl", Method.SFT).fit


def test_the_only_user_there_is_trains_wherever_chance_would_have_put_her():
    lone = next(f"u{n}" for n in range(1_000) if split(f"u{n}", share=0.1) == "valid")
    found = sft([judged(talk(k, user=lone), 1.0) for k in range(3)], agents=["support"])
    made = dataset(Method.SFT, found, valid_share=0.1)
    assert (len(made.rows), len(made.valid)) == (3, 0)


def test_a_trace_with_an_odd_id_is_written_down_too(tmp_path):
    odd = talk(1).model_copy(update={"id": "t\ud800"})
    found = sft([judged(odd, 0.0), judged(talk(2), 1.0)], agents=["support"])
    write(dataset(Method.SFT, found), tmp_path / "d")
    (refused,) = (tmp_path / "d" / "refused.jsonl").read_text().splitlines()
    assert json.loads(refused)["traces"] == ["t\ud800"]


def test_more_rows_than_wanted_are_refused_as_such():
    whole = made(20, limit=5, valid_share=0.0)
    assert (len(whole.rows), whole.manifest["refused"]) == (5, {"too_many": 15})


def test_a_row_that_says_the_same_as_an_earlier_one_is_refused_whatever_its_call_ids():
    again = a_trace(*renamed(talk(1).calls[-1].path), id="again")
    found = sft([judged(talk(1), 1.0), judged(again, 1.0)], agents=["support"])
    (refused,) = dataset(Method.SFT, found, valid_share=0.0).refused
    assert (refused.code.value, refused.traces) == ("duplicate", ("again",))
    assert refused.detail == "the same as in trace t1"


def test_rows_that_differ_in_personal_data_alone_are_one_row():
    told = [
        a_trace(system(), user(f"I am {name}@work.org"), says("Hello!"), id=name)
        for name in ("ann", "bob")
    ]
    options = {"valid_share": 0.0}

    def found():
        return sft([judged(one, 1.0) for one in told], agents=["support"])

    assert len(dataset(Method.SFT, found(), redactor=Redactor(), **options).rows) == 1
    assert len(dataset(Method.SFT, found(), **options).rows) == 2


def test_a_line_and_its_record_say_the_same():
    found = list(sft([judged(talk(k, user=f"u{k}"), 1.0) for k in range(9)], agents=["support"]))
    with gathered(Method.SFT, found, valid_share=0.4) as harvest:
        lines = [line for side in ("train", "valid") for line in harvest.lines(side)]
        assert harvest.dataset().manifest == harvest.manifest
    assert len(lines) == 9
    for line in lines:
        row = Row.from_line(line.record)
        assert (row, row.line, row.line_sha) == (line.row, line.text, line.sha256)


def test_many_rows_are_gathered_in_a_file_and_give_the_same(monkeypatch, tmp_path):
    write(made(20), tmp_path / "one")
    monkeypatch.setattr(pipeline, "IN_MEMORY", 100)
    write(made(20), tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_a_knob_that_there_is_not_names_those_that_there_are():
    with pytest.raises(ConfigError, match=r"no knob 'god'; sft has against, allow_producers, bad"):
        made(god=0.5)
    with pytest.raises(ConfigError, match="'band' is a knob of rft, and says nothing to sft"):
        made(band=(0.1, 0.9))
    with pytest.raises(ConfigError, match=r"harvest sft: .*good"):
        made(good=1.5)
