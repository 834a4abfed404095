"""Rows, datasets, jobs, versions and methods: what they promise of themselves."""

import json
from hashlib import sha256

import pytest
from hypothesis import given

from agentloop.base.errors import TransitionError
from agentloop.base.records import Dataset, Method, Refusal, Refused, Row, State, jsonl
from agentloop.base.records.dataset import file_sha
from agentloop.base.records.example import SENTENCES
from agentloop.base.records.job import ARROWS
from tests.base.texts import json_values, texts
from tests.makers import a_job, a_row, a_version, says, user


def a_dataset(*rows, **fields):
    given = {"method": "sft", "agents": ("support",), "recipe": {"good": 0.8}, "rows": rows}
    return Dataset(**(given | fields))


@given(texts, json_values)
def test_a_line_of_a_file_is_one_line_of_utf_8_whatever_it_says(text, value):
    row = Row(body={"text": text, text: value})
    assert b"\n" not in row.line.encode()
    assert json.loads(row.line) == row.body
    assert row.line_sha == sha256(row.line.encode()).hexdigest()


def test_a_line_keeps_the_order_of_its_keys_and_its_hash_does_not_look_at_it():
    one, other = Row(body={"b": 1, "a": 2}), Row(body={"a": 2, "b": 1})
    assert one.line == '{"b": 1, "a": 2}'
    assert one.sha == other.sha
    assert one.line_sha != other.line_sha


def test_the_hash_of_a_file_is_that_of_its_bytes():
    rows = [a_row(user("ä"), says()), a_row()]
    assert file_sha(rows) == sha256(jsonl(rows)).hexdigest()
    assert jsonl(rows).count(b"\n") == 2


def test_equal_harvests_are_equal_datasets():
    assert a_dataset(a_row()).id == a_dataset(a_row()).id
    assert a_dataset(a_row()).id.startswith("sft-")


@pytest.mark.parametrize(
    "other",
    [
        a_dataset(),
        a_dataset(a_row(user(), says("other"))),
        a_dataset(a_row(), agents=("billing",)),
        a_dataset(a_row(), recipe={"good": 0.9}),
        a_dataset(a_row(), grader={"type": "python"}),
        a_dataset(rows=(), valid=(a_row(split="valid"),)),
    ],
)
def test_what_differs_has_another_hash(other):
    assert a_dataset(a_row()).sha != other.sha


def test_a_copy_has_a_hash_of_its_own():
    made = a_dataset(a_row())
    assert made.id != made.model_copy(update={"rows": ()}).id


def test_a_manifest_counts_what_was_kept_and_what_was_refused():
    refused = [Refused(code=code, traces=("t",)) for code in (Refusal.NOT_GOOD,) * 2]
    made = a_dataset(a_row(), refused=(*refused, Refused(code=Refusal.BAD_ROW, traces=("t",))))
    assert made.manifest["refused"] == {"not_good": 2, "bad_row": 1}
    assert made.manifest["rows"] == {"train": 1, "valid": 0}
    assert json.loads(json.dumps(made.manifest)) == made.manifest


def test_every_reason_to_refuse_has_its_sentence():
    assert SENTENCES.keys() == set(Refusal)
    assert all(code.sentence.endswith(".") for code in Refusal)


def test_a_method_is_found_by_its_name_on_the_wire():
    theirs = [Method.SFT, Method.DPO, Method.RFT]
    assert [m.wire for m in theirs] == ["supervised", "dpo", "reinforcement"]
    assert [Method.of_wire(m.wire) for m in theirs] == theirs
    with pytest.raises(ValueError, match="magic"):
        Method.of_wire("magic")
    with pytest.raises(ValueError, match="kto is no method of OpenAI's API"):
        Method.KTO.wire  # noqa: B018


@pytest.mark.parametrize("state", State)
def test_a_job_goes_where_an_arrow_leads_and_nowhere_else(state):
    job = a_job(state=state)
    for to in State:
        if to is state:
            assert job.advance(to) is job
        elif to in ARROWS[state]:
            assert job.advance(to).state is to
        else:
            with pytest.raises(TransitionError, match=f"{state.value!r} and cannot become"):
                job.advance(to)


def test_a_state_without_arrows_is_final():
    assert {s for s in State if a_job(state=s).done} == {
        State.SUCCEEDED,
        State.FAILED,
        State.CANCELLED,
    }


def test_a_version_names_the_variable_of_its_key_and_never_holds_the_key():
    assert a_version(provider="openai").key_variable == "OPENAI_API_KEY"
    assert a_version(provider="my-host").key_variable == "MY_HOST_API_KEY"
    assert a_version(provider="local").key_variable == "AGENTLOOP_LOCAL_KEY"
