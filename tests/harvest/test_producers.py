"""Whose words are learned, and whose terms are in the way."""

import pytest

from agentloop.base.records import Refusal
from agentloop.base.records.terms import family, is_named, objection
from agentloop.harvest import Branch, dpo, sft
from agentloop.harvest.producers import admitted
from tests.harvest.makers import a_trace, an_opinion, judged, says, system, user


def answered(text, score, *, by, id="t1"):
    trace = a_trace(system(), user("hi"), says(text), id=id)
    call = trace.calls[0].model_copy(update={"served_model": by})
    return judged(trace.model_copy(update={"calls": (call,)}), score)


def rows(*written, **asked):
    found = sft([answered("hello", 1.0, by=model) for model in written], agents=["support"])
    return list(admitted(found, **asked))


def codes(found):
    return [getattr(item, "code", None) for item in found]


def test_without_a_learner_every_producer_is_taken_and_stands_beside_the_row():
    (row,) = rows("gpt-4.1-2025-04-14")
    assert row.producers == ("gpt-4.1-2025-04-14",)


def test_a_closed_model_does_not_teach_one_of_another_family():
    (refused,) = rows("gpt-4.1-2025-04-14", learner="qwen3-8b")
    assert refused.code is Refusal.PRODUCER_TERMS
    assert (
        refused.detail == "'gpt-4.1-2025-04-14' is a closed model of OpenAI, and 'qwen3-8b' is none"
    )
    assert "check yours" in refused.sentence
    assert "--allow-producer" in refused.sentence


def test_a_closed_model_teaches_one_of_its_family():
    assert codes(rows("gpt-4.1-2025-04-14", learner="gpt-4.1-mini-2025-04-14")) == [None]


def test_a_producer_whose_terms_were_checked_is_allowed():
    found = rows("gpt-4.1-2025-04-14", "claude-opus-4", learner="q", allowed=["gpt-4.1"])
    assert codes(found) == [None, Refusal.PRODUCER_TERMS]


def test_a_model_that_nobody_knows_teaches_everybody():
    assert codes(rows("my-own-model", "qwen3-235b", learner="agentloop-tiny")) == [None, None]


def test_the_words_of_one_producer_can_be_asked_for():
    found = rows("gpt-4.1-2025-04-14", "gpt-4.1-mini", producers=["gpt-4.1"])
    assert codes(found) == [None, Refusal.OTHER_PRODUCER]
    assert found[1].detail == "written by gpt-4.1-mini"


def test_what_a_person_wrote_is_not_what_the_model_wrote():
    trace = a_trace(system(), user("hi"), says("ho"))
    said = an_opinion(trace, correction="hello", call="t1/0")
    example = next(sft([judged(trace, said, 0.0)], agents=["support"]))
    assert codes(admitted([example], producers=["m"])) == [Refusal.OTHER_PRODUCER]
    assert codes(admitted([example], producers=["person:*"], learner="q")) == [None]


def test_a_rejected_answer_is_learned_from_too():
    fork = [
        Branch(one.trace.calls[0], one)
        for one in (
            answered("good", 1.0, by="qwen3-8b", id="a"),
            answered("bad", 0.0, by="claude-opus-4", id="b"),
        )
    ]
    assert codes(admitted(dpo([fork]), learner="qwen3-8b")) == [Refusal.PRODUCER_TERMS]
    assert codes(admitted(dpo([fork]), learner="qwen3-8b", allowed=["claude-*"])) == [None]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "OpenAI"),
        ("o4-mini-2025-04-16", "OpenAI"),
        ("o3", "OpenAI"),
        ("ft:gpt-4.1-mini-2025-04-14:acme/shop::x1", "OpenAI"),
        ("azure/gpt-5", "OpenAI"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "Anthropic"),
        ("models/gemini-2.5-pro", "Google"),
        ("gpt-oss-120b", None),
        ("openai/gpt-oss-20b", None),
        ("gpt-2", None),
        ("gpt-j-6b", None),
        ("gpt-neox-20b", None),
        ("o1penhermes", None),
        ("google/gemma-3", None),
        ("qwen3-8b", None),
        ("agentloop-tiny", None),
    ],
)
def test_a_closed_model_is_known_by_how_its_name_begins(model, provider):
    found = family(model)
    assert (found.provider if found else None) == provider


def test_a_name_without_its_date_names_every_snapshot_and_no_other_model():
    assert is_named("gpt-4o-2024-08-06", ["gpt-4o"])
    assert is_named("claude-x-20250514", ["claude-x"])
    assert not is_named("gpt-4o-mini-2024-07-18", ["gpt-4o"])
    assert is_named("gpt-4o-mini", ["claude-*", "gpt-4o*"])
    assert not is_named("gpt-4o", [])


def test_nothing_is_said_against_a_person():
    assert objection("person:ann", "q") is None
