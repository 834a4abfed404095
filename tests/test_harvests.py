"""Harvests of a store: each knob of a recipe, through the loop and through the command line."""

import json

import pytest
from typer.testing import CliRunner

from agentloop.base.errors import ConfigError, EmptyHarvest, ExpressionError, ProviderRefused
from agentloop.loop import AgentLoop
from agentloop.ui.cli import app
from tests.makers import (
    a_correction,
    a_span,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    at,
    returns,
    says,
    system,
    user,
)


@pytest.fixture
def loop(tmp_path):
    with AgentLoop(f"sqlite:///{tmp_path}/loop.db") as opened:
        yield opened


@pytest.fixture
def run(loop, tmp_path, monkeypatch):
    """`agentloop harvest …` over that store; the rows that it wrote."""
    monkeypatch.chdir(tmp_path)

    def harvested(method, *words, status=0):
        line = ["harvest", method, "support", "--out", "d", "--store", loop.database_url, *words]
        result = CliRunner().invoke(app, line)
        assert result.exit_code == status, result.output
        if status:
            return result.stderr
        lines = (tmp_path / "d" / "train.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return harvested


TALK = (system(), user("where is 1?"), asks(), returns(), says("Here."))


def told(loop, *said, id="t1", score=1.0, by="ann", **fields):
    """A run in the store, and what somebody thought of it; by one model unless said."""
    model = fields.pop("served", "m")
    trace = a_trace(*said, id=id, **fields)
    served = [c.model_copy(update={"served_model": model}) for c in trace.calls]
    trace = trace.model_copy(update={"calls": served})
    loop.store.put(trace)
    if score is not None:
        loop.store.put(an_opinion(id, score, id=f"o-{id}-{by}", author=by))
    return trace


def weights(row):
    return [m.get("weight", 1) for m in row["messages"] if m["role"] == "assistant"]


def test_turns_say_what_of_a_path_is_learned(loop, run):
    told(loop, *TALK)
    told(loop, *TALK[:3], id="t2")
    everything = loop.harvest("sft", agent="support", valid_share=0)
    assert [weights(row.body) for row in everything.rows] == [[1, 1], [1]]
    assert [weights(row) for row in run("sft", "--turns", "last", "--valid", "0")] == [[0, 1], [1]]
    (row,) = run("sft", "--turns", "final", "--valid", "0")
    assert weights(row) == [0, 1]
    final = loop.harvest("sft", agent="support", turns="final", valid_share=0)
    assert [r.code.value for r in final.refused] == ["not_final"]
    assert final.recipe["turns"] == "final"
    with pytest.raises(ConfigError, match="turns"):
        loop.harvest("sft", agent="support", turns="some")


def test_a_failed_call_is_masked_whose_failure_only_its_step_tells(loop):
    data = {"input": '{"id": 1}', "output": "it said kaput"}
    failed = a_span(name="find", data=data, error={"message": "kaput"})
    told(loop, *TALK[:3], returns("it said kaput"), says("Sorry."), spans=[failed])
    (row,) = loop.harvest("sft", agent="support", valid_share=0).rows
    assert weights(row.body) == [0, 1]


def test_who_judged_selects(loop, run):
    told(loop, *TALK, id="t1", by="ann")
    told(loop, system(), user("b"), says("B"), id="t2", by="bob")
    (row,) = run("sft", "--where", "author == 'bob'", "--valid", "0")
    assert row["messages"][-1]["content"] == "B"


def test_metadata_and_days_select(loop, run):
    told(loop, *TALK, id="t1", metadata={"shop": {"country": "PT"}}, started_at=at(0))
    told(loop, system(), user("b"), says("B"), id="t2", started_at=at(86_400))
    (row,) = run("sft", "--where", "metadata.shop.country == 'PT'", "--valid", "0")
    assert row["messages"][-1]["content"] == "Here."
    (row,) = run("sft", "--where", "started_at > '2026-11-23'", "--valid", "0")
    assert row["messages"][-1]["content"] == "B"
    assert "is no date" in run("sft", "--where", "started_at > 'soon'", status=1)


def only_b(judged):
    return "B" in judged.trace.answer


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_a_function_of_pythons_selects_too_and_the_recipe_keeps_its_name(loop, method):
    told(loop, system(), user("b"), says("A"), id="t1", score=1.0)
    told(loop, system(), user("b"), says("B good"), id="t2", score=1.0)
    told(loop, system(), user("b"), says("B bad"), id="t3", score=0.0)
    if method == "kto":
        told(loop, system(), user("c"), says("B"), id="t4", score=1.0)
    made = loop.harvest(method, agent="support", valid_share=0, where=only_b)
    assert {id for row in made.rows for id in row.traces} <= {"t2", "t3", "t4"}
    assert made.recipe["where"] == "python:tests.test_harvests.only_b"
    with pytest.raises(ExpressionError, match="give it again as where="):
        loop.harvest(method, agent="support", where=made.recipe["where"])


def test_a_producer_stands_beside_each_row_and_can_be_asked_for(loop, run):
    told(loop, *TALK, id="t1", served="gpt-4.1-2025-04-14")
    told(loop, system(), user("b"), says("B"), id="t2", served="tiny")
    both = loop.harvest("sft", agent="support", valid_share=0)
    assert [row.producers for row in both.rows] == [("gpt-4.1-2025-04-14",), ("tiny",)]
    (row,) = run("sft", "--producer", "gpt-4.1", "--valid", "0")
    assert row["messages"][-1]["content"] == "Here."


def test_a_closed_model_teaches_another_only_when_its_terms_were_checked(loop, run, tmp_path):
    told(loop, *TALK, id="t1", served="gpt-4.1-2025-04-14")
    told(loop, system(), user("b"), says("B"), id="t2", served="tiny")
    (row,) = run("sft", "--learner", "qwen3-8b", "--valid", "0")
    assert row["messages"][-1]["content"] == "B"
    (refused,) = map(json.loads, (tmp_path / "d" / "refused.jsonl").read_text().splitlines())
    assert (refused["code"], refused["traces"]) == ("producer_terms", ["t1"])
    asked = ["--learner", "qwen3-8b", "--allow-producer", "gpt-4.1", "--valid", "0"]
    assert len(run("sft", *asked)) == 2
    assert len(run("sft", "--learner", "gpt-4.1-mini", "--valid", "0")) == 2


def test_a_plan_to_train_a_model_on_what_a_closed_one_wrote_is_refused(loop):
    for n in range(10):
        told(loop, system(), user(f"{n}?"), says(f"{n}."), id=f"t{n}", served="claude-opus-4")
    rows = loop.harvest("sft", agent="support", valid_share=0)
    (refusal,) = loop.plan(rows, provider="local", base="qwen3-8b").refusals
    assert refusal.startswith("10 rows: 'claude-opus-4' is a closed model of Anthropic")
    assert "allow_producers" in refusal
    allowed = loop.harvest("sft", agent="support", valid_share=0, allow_producers=["claude-*"])
    assert loop.plan(allowed, provider="local", base="qwen3-8b").refusals == ()


def forked(loop, better="good", worse="bad"):
    better, worse = (says(said) if isinstance(said, str) else said for said in (better, worse))
    told(loop, system(), user("hi"), better, id="a", score=1.0, user="u")
    told(loop, system(), user("hi"), worse, id="b", score=0.0, user="u")


def test_pairs_of_one_context_are_as_many_as_asked_for(loop, run):
    for n in range(3):
        told(loop, system(), user("hi"), says(f"good {n}"), id=f"g{n}", score=1.0)
        told(loop, system(), user("hi"), says(f"bad {n}"), id=f"b{n}", score=0.0)
    assert len(run("dpo", "--valid", "0")) == 2
    assert len(run("dpo", "--pairs", "1", "--valid", "0")) == 1
    made = loop.harvest("dpo", agent="support", pairs=3, valid_share=0)
    assert [(row.note["margin"], row.note["source"]) for row in made.rows] == [
        (1.0, "regeneration")
    ] * 3


def test_pairs_of_very_different_length_are_refused_on_request(loop, run):
    forked(loop, "g" * 40, "b" * 10)
    assert len(run("dpo", "--length-ratio", "4", "--valid", "0")) == 1
    assert "length_differs" in run("dpo", "--length-ratio", "3.9", status=1)


def test_pairs_of_tool_calls_are_kept_refused_or_as_the_provider_has_it(loop, run):
    forked(loop, asks(arguments='{"id": 1}'), asks(arguments='{"id": 2}'))
    assert len(run("dpo", "--valid", "0")) == 1
    assert len(run("dpo", "--provider", "local", "--valid", "0")) == 1
    for words in (["--no-tool-pairs"], ["--provider", "openai"]):
        assert "tool_pair" in run("dpo", *words, status=1)


def test_what_a_provider_does_not_take_is_refused_at_harvest(loop, run):
    told(loop, system(), user("hi"), says("a"), says("b"), id="t1")
    assert len(run("sft", "--valid", "0")) == 1
    assert "bad_row" in run("sft", "--provider", "together", status=1)
    assert "nebius does not offer dpo; it offers sft" in run(
        "dpo", "--provider", "nebius", status=1
    )
    assert "not 'acme'" in run("dpo", "--provider", "acme", status=1)


def test_single_thumbs_are_rows_for_kto_and_pairs_are_not(loop, run):
    forked(loop)
    told(loop, system(), user("x"), says("X"), id="t1", score=1.0)
    told(loop, *TALK, id="t2", score=0.0)
    told(loop, system(), user("z"), says("Z"), id="t3", score=None)
    rows = run("kto", "--valid", "0")
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [
        ("X", True),
        ("Here.", False),
    ]
    assert rows[1]["prompt"][2]["tool_calls"][0]["function"]["arguments"] == {"id": 1}
    made = loop.harvest("kto", agent="support", valid_share=0)
    assert {code.value: n for code, n in made.reasons().items()} == {"paired": 2, "not_judged": 1}


def test_a_store_without_single_thumbs_gives_no_row_for_kto(loop):
    forked(loop)
    with pytest.raises(EmptyHarvest, match=r"paired\. It is an answer of a pair"):
        loop.harvest("kto", agent="support")


def test_no_provider_trains_on_rows_for_kto_and_the_plan_says_who_does(loop):
    for n in range(12):
        told(loop, system(), user(f"{n}?"), says(f"{n}."), id=f"t{n}", score=float(n % 2))
    made = loop.harvest("kto", agent="support", valid_share=0)
    plan = loop.plan(made, provider="local", base="tiny")
    (refusal,) = plan.refusals
    assert refusal == (
        "local does not offer kto; it offers sft, dpo, rft; train on its train.jsonl with TRL's "
        "KTOTrainer"
    )
    with pytest.raises(ProviderRefused, match="does not offer kto"):
        loop.tune(plan)


def test_a_correction_that_calls_a_tool_that_there_is_not_is_refused(loop):
    trace = told(loop, *TALK, score=0.0)
    loop.store.put(a_correction(trace.calls[-1], asks("nope")))
    with pytest.raises(EmptyHarvest, match="unknown_tool"):
        loop.harvest("sft", agent="support")


def test_outcomes_are_fields_of_the_items_to_grade(loop, run):
    for n, good in enumerate((True, False)):
        told(loop, system(), user("cancel 7"), says(f"{n}"), id=f"t{n}", score=None)
        loop.store.put(an_outcome(f"t{n}", "resolved", good, reference="cancel"))
        loop.store.put(an_outcome(f"t{n}", "intent", "cancellation"))
    (row,) = run("rft", "--outcome", "resolved", "--valid", "0")
    assert (row["reference_answer"], row["intent"]) == ("cancel", "cancellation")


def test_what_a_tool_says_of_an_error_masks_on_request(loop, run):
    told(loop, *TALK[:3], returns("Error: there is no order 1"), says("There is none."))
    assert [weights(row) for row in run("sft", "--valid", "0")] == [[1, 1]]
    assert [weights(row) for row in run("sft", "--mask-errors", "--valid", "0")] == [[0, 1]]
