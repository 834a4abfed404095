"""Cleaning in the harvest: each knob alone and together, through stages and through the loop."""

import json

import pytest

from agentloop import AgentLoop
from agentloop.base.errors import ConfigError, EmptyHarvest
from agentloop.base.records import Method
from agentloop.harvest import Branch, check, rft, sft, write
from agentloop.harvest.splits import split
from tests.harvest.makers import (
    TOOL,
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

LONG = " ".join(f"word{n}" for n in range(300))
TRAINS = [u for u in map(str, range(100)) if split(u, share=0.3) == "train"]
VALIDATES = [u for u in map(str, range(100)) if split(u, share=0.3) == "valid"]


REFUND = {"type": "function", "function": {"name": "refund", "parameters": {"type": "object"}}}


def talk(n, text=None, *, answer=None, tool=None, **fields):
    """A conversation about something of its own, unless another text is said."""
    called = [calls(tool, f'{{"id": {n}}}'), returns(f"found {n}")] if tool else []
    said = (system(), user(text or f"find {n}"), *called, says(answer or f"It is {n}."))
    fields = {"user": f"u{n}", "tools": (TOOL, REFUND), **fields}
    return a_trace(*said, id=f"t{n}", **fields)


def harvested(*talks, **knobs):
    found = sft([judged(trace, 1.0) for trace in talks], agents=["support"])
    return dataset(Method.SFT, found, **{"valid_share": 0.0, **knobs})


def codes(made):
    return {code.value: n for code, n in made.reasons().items()}


def kept(made):
    return [row.traces[0] for row in (*made.rows, *made.valid)]


# ---------------------------------------------------------------------- near duplicates and leaks


def test_what_is_nearly_said_before_is_left_out_and_names_what_it_is_like():
    made = harvested(talk(1, LONG, answer="Yes."), talk(2, f"{LONG} please", answer="Yes."))
    assert (kept(made), codes(made)) == (["t1"], {"near_duplicate": 1})
    assert made.refused[0].detail == "nearly the same as in trace t1"


def test_another_answer_to_nearly_the_same_is_kept():
    made = harvested(talk(1, LONG, answer="Yes."), talk(2, f"{LONG} please", answer="No."))
    assert kept(made) == ["t1", "t2"]


def test_near_zero_leaves_out_equal_rows_alone():
    same = {"answer": "Yes."}
    talks = [talk(1, LONG, **same), talk(2, f"{LONG} please", **same), talk(3, LONG, **same)]
    made = harvested(*talks, near=0.0)
    assert (kept(made), codes(made)) == (["t1", "t2"], {"duplicate": 1})


@pytest.mark.parametrize("order", [1, -1])
def test_nothing_trains_that_is_nearly_what_validates_in_whatever_order_they_come(order):
    across = [
        talk(1, LONG, answer="Yes.", user=TRAINS[0]),
        talk(2, f"{LONG} please", answer="Yes.", user=VALIDATES[0]),
        talk(3, user=TRAINS[1]),
    ]
    made = harvested(*across[::order], valid_share=0.3)
    assert [row.traces for row in made.rows] == [("t3",)]
    assert [row.traces for row in made.valid] == [("t2",)]
    (refused,) = made.refused
    assert (refused.code.value, refused.traces) == ("leak", ("t1",))
    assert "trace t2, which validates" in refused.detail


def test_two_users_that_differ_in_their_address_alone_say_one_thing():
    """Pseudonyms are alike, so what is compared is what would be learned."""
    texts = [f"{LONG} write to {name}@{name}.org" for name in ("ann", "bob")]
    made = harvested(*(talk(n, text, answer="ok") for n, text in enumerate(texts)), redactor=True)
    assert codes(made) == {"duplicate": 1}


def test_when_nothing_is_left_to_train_on_the_error_says_why():
    leaking = [
        talk(1, LONG, answer="Yes.", user=TRAINS[0]),
        talk(2, f"{LONG} please", answer="Yes.", user=VALIDATES[0]),
    ]
    with pytest.raises(EmptyHarvest, match=r"no row to train on, and 1 to validate with,.*leak\."):
        harvested(*leaking, valid_share=0.3)


def contexts(*texts):
    for n, text in enumerate(texts):
        fork = []
        for value in (True, False):
            trace = a_trace(system(), user(text), says(str(value)), id=f"{n}{value}")
            one = judged(trace, resolved=value, reference="label")
            fork.append(Branch(one.trace.calls[0], one))
        yield fork


def test_a_unit_that_is_moved_to_validate_leaves_nothing_alike_to_train_on():
    texts = [LONG, f"{LONG} please", "something else", "and else again"]
    options = {"valid_share": 0.0, "near": 0.95}
    made = dataset(Method.RFT, rft(contexts(*texts)), **options)
    assert len(made.valid) == 1
    said = [row.body["messages"][-1]["content"].split()[0] for row in (*made.rows, *made.valid)]
    assert sorted(said) == ["and", "something", "word0"]


# ---------------------------------------------------------------------- test set, split, length


def test_what_is_in_the_test_set_is_not_learned(tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"messages": [{"role": "user", "content": "Find 2!"}]}))
    made = harvested(talk(1), talk(2), talk(3), against=test)
    assert (kept(made), codes(made)) == (["t1", "t3"], {"contaminated": 1})
    assert made.refused[0].detail == "its users ask what those of test.jsonl:1 ask"


def test_a_recipe_names_the_test_set_by_what_it_says_and_not_by_where_it_lies(tmp_path):
    recipes = []
    for name in ("a", "b"):
        (tmp_path / name).write_text('"What is it?"\n')
        recipes.append(harvested(talk(1), against=tmp_path / name).recipe["against"])
    assert recipes[0] == recipes[1]
    assert recipes[0]["rows"] == 1
    with pytest.raises(ConfigError, match="name its file"):
        harvested(talk(1), against=recipes[0])


def test_a_split_by_conversation_tears_users_apart_and_no_conversation():
    talks = [talk(n, user="one user", session=f"s{n // 2}") for n in range(40)]
    made = harvested(*talks, valid_share=0.3, split_by="conversation")
    assert made.rows
    assert made.valid
    sides = {}
    for row in (*made.rows, *made.valid):
        session = int(row.traces[0][1:]) // 2
        assert sides.setdefault(session, row.split) == row.split
    assert not harvested(*talks, valid_share=0.3).valid, "all are of one user"


def words(body):
    return sum(len((m["content"] or "").split()) for m in body["messages"])


def test_a_row_that_is_too_long_is_refused_and_every_other_says_its_tokens():
    made = harvested(talk(1), talk(2, LONG), tokenizer=words, max_tokens=100)
    assert (kept(made), codes(made)) == (["t1"], {"too_long": 1})
    assert made.refused[0].detail == "305 tokens, and 100 are read"
    assert made.rows[0].note["tokens"] == 7
    assert made.manifest["tokens"] == {"train": 7}
    assert made.recipe["tokenizer"] == "given"


def test_with_a_window_it_begins_at_a_later_turn_and_says_so():
    trace = a_trace(system(), user(LONG), says("yes"), user("and now?"), says("no"), id="t1")
    made = harvested(trace, tokenizer=words, max_tokens=100, window=True)
    (row,) = made.rows
    assert [m["content"] for m in row.body["messages"]] == ["You help.", "and now?", "no"]
    assert row.note["tokens"] == 5
    assert row.note["dropped"] == {"exchanges": 1, "messages": 2}


def test_what_no_window_can_shorten_is_refused():
    trace = a_trace(system(), user("hi"), says("yes"), user(LONG), says("no"), id="t1")
    with pytest.raises(EmptyHarvest, match="too_long"):
        harvested(trace, tokenizer=words, max_tokens=100, window=True)


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        ({"max_tokens": 5}, "need a tokenizer"),
        ({"window": True}, "need a tokenizer"),
        ({"window": True, "tokenizer": words}, "window needs max_tokens"),
        ({"balance": "often"}, "balance"),
        ({"balance": 0}, "balance"),
        ({"near": 1.5}, "near"),
        ({"split_by": "day"}, "split_by"),
    ],
)
def test_knobs_that_make_no_sense_are_refused(knobs, why):
    with pytest.raises(ConfigError, match=why):
        harvested(talk(1), **knobs)


# ---------------------------------------------------------------------- balance and limit


def shop():
    return [talk(n, tool="refund" if n in (3, 7) else "find") for n in range(10)]


def test_a_dataset_says_how_many_rows_teach_what():
    assert harvested(*shop(), talk(11)).manifest["teaches"] == {
        "find": 8,
        "refund": 2,
        "(no tool)": 1,
    }


def test_of_a_class_no_more_rows_train_than_were_asked_for():
    made = harvested(*shop(), balance=2)
    assert kept(made) == ["t0", "t1", "t3", "t7"]
    assert codes(made) == {"too_common": 6}
    assert {refused.detail for refused in made.refused} == {"find"}
    assert made.manifest["teaches"] == {"find": 2, "refund": 2}
    assert kept(harvested(*shop(), balance="1x")) == kept(made)


def test_balance_leaves_what_validates_as_it_is():
    talks = [
        talk(n, tool="find", user=user) for n, user in enumerate([*TRAINS[:5], *VALIDATES[:5]])
    ]
    made = harvested(*talks, balance=1, valid_share=0.3)
    assert (len(made.rows), len(made.valid)) == (1, 5)


def test_the_limit_counts_what_is_left_when_all_else_is_decided():
    talks = [talk(20, LONG, answer="x"), talk(21, f"{LONG} y", answer="x"), *shop()]
    made = harvested(*talks, balance=2, limit=3)
    assert kept(made) == ["t20", "t0", "t1"]
    assert codes(made) == {"near_duplicate": 1, "too_common": 6, "too_many": 2}
    funnel = made.funnel
    assert funnel.considered == funnel.kept + len(made.refused)


def test_rows_that_are_left_out_after_all_lend_their_keys_to_none():
    bare = [talk(n, tools=()) for n in range(3)]
    made = harvested(*bare, talk(9, tool="find"), limit=3)
    assert all(list(row.body) == ["messages"] for row in made.rows)


def test_all_together_fit_the_files_that_are_written(tmp_path):
    talks = [talk(20, LONG, answer="x"), talk(21, f"{LONG} y", answer="x"), *shop()]
    found = [*sft([judged(trace, 1.0) for trace in talks], agents=["support"])]
    options = {"balance": 3, "limit": 5, "tokenizer": words, "max_tokens": 400}
    with gathered(Method.SFT, found, valid_share=0.3, **options) as made:
        write(made, tmp_path / "d")
        assert made.dataset().manifest == made.manifest
    refused = (tmp_path / "d" / "refused.jsonl").read_text().splitlines()
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert len(refused) == sum(manifest["refused"].values())
    assert sum(manifest["rows"].values()) + len(refused) == manifest["funnel"]["considered"]
    report = check(tmp_path / "d" / "train.jsonl", Method.SFT)
    assert [finding.code for finding in report.findings] == ["invalid_n_examples"], (
        "few, and else all right"
    )


# ---------------------------------------------------------------------- through the loop


@pytest.fixture
def loop(tmp_path):
    texts = {"t1": LONG, "t2": f"{LONG} please", "t3": "Where is 3?", "t4": "Where is 4?"}
    lines = [
        {
            "id": id,
            "agent": "support",
            "user": f"user of {id}",
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": "It ships."},
            ],
            "outcome": {"resolved": True},
        }
        for id, text in texts.items()
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db") as opened:
        list(opened.import_file(tmp_path / "talks.jsonl"))
        yield opened


def test_the_loop_cleans_by_default(loop):
    made = loop.harvest("sft", agent="support", valid_share=0.0)
    assert (sorted(kept(made)), codes(made)) == (["t1", "t3", "t4"], {"near_duplicate": 1})
    assert made.recipe["near"] == 0.9


def test_the_loop_takes_a_test_set_and_a_tokenizer(loop, tmp_path):
    (tmp_path / "test.jsonl").write_text('"Where is 3?"\n')
    options = {"against": tmp_path / "test.jsonl", "tokenizer": words, "max_tokens": 50}
    made = loop.harvest("sft", agent="support", valid_share=0.0, **options)
    assert kept(made) == ["t4"]
    assert codes(made) == {"too_long": 2, "contaminated": 1}
    again = loop.ledger.dataset(made.id)
    assert again.manifest == made.manifest
