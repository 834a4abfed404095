"""What it was worth, as records."""

import math

import pytest

from agentloop.base.errors import RecordError
from agentloop.base.records import Judged, Opinion, Settled, Source
from tests.makers import START, a_correction, a_trace, an_opinion, an_outcome, at, says, user

TRACE = a_trace(user(), says(), id="t1")


def heard(*opinions):
    return Judged(trace=TRACE, opinions=opinions)


def test_sources_outrank_each_other_in_the_order_they_are_listed():
    assert [source.rank for source in (Source.RULE, Source.JUDGE, Source.PERSON)] == [0, 1, 2]


def test_an_opinion_says_something():
    with pytest.raises(RecordError, match="score, a comment or a correction"):
        Opinion.of({"id": "o", "trace_id": "t", "author": "a", "given_at": START})


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_a_score_lies_between_0_and_1(score):
    with pytest.raises(RecordError, match="score"):
        Opinion.of(an_opinion().model_dump() | {"score": score})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_an_outcome_that_is_no_number_is_unknown_and_never_0(value):
    outcome = an_outcome(value=value)
    assert (outcome.value, outcome.score) == (None, None)


@pytest.mark.parametrize(
    ("value", "score"), [(True, 1.0), (False, 0.0), (1, 1.0), (0.3, 0.3), (7, None), ("yes", None)]
)
def test_what_an_outcome_is_worth(value, score):
    assert an_outcome(value=value).score == score


def test_true_and_1_stay_two_things():
    assert an_outcome(value=True).value is True
    assert an_outcome(value=1).value == 1.0
    assert an_outcome(value="true").value == "true"


@pytest.mark.parametrize(
    ("given", "thumbs"),
    [
        ([], None),
        ([("ann", 1.0, 1)], "up"),
        ([("ann", 0.0, 1), ("bob", 1.0, 2)], "up"),
        ([("ann", 0.0, 1), ("bob", 1.0, 2), ("ann", 0.0, 3)], "down"),
        ([("ann", 1.0, 1), ("ann", 0.5, 2)], None),
        ([("ann", 1.0, 2), ("ann", 0.0, 1)], "up"),
        ([("ann", None, 1)], None),
    ],
)
def test_thumbs_are_what_a_person_said_last(given, thumbs):
    opinions = [an_opinion("t1", s, author=a, comment="c", given_at=at(t)) for a, s, t in given]
    assert heard(*opinions).facts()["thumbs"] == thumbs


def test_rules_and_judges_have_no_thumbs():
    assert heard(an_opinion(source="rule"), an_opinion(source="judge")).facts()["thumbs"] is None


def test_the_latest_correction_counts_whatever_the_order_it_came_in():
    call = TRACE.calls[0]
    late, early = (
        a_correction(call, text, given_at=at(t)) for text, t in (("late", 2), ("early", 1))
    )
    assert heard(late, early).correction(call.id) == late
    assert heard(late, early).correction("other") is None


def test_a_call_is_worth_what_was_said_of_it_else_what_was_said_of_the_trace():
    whole, part = {"score": 1.0, "source": "rule"}, {"score": 0.0, "source": "person"}
    judged = Judged(trace=TRACE, settled=whole, calls={"t1/0": part})
    assert judged.verdict("t1/0") == Settled.of(part)
    assert judged.verdict("t1/1") == Settled.of(whole)


def test_of_the_final_answer_the_higher_judge_decides_wherever_it_was_said():
    person, rule = {"score": 0.0, "source": "person"}, {"score": 1.0, "source": "rule"}
    judged = Judged(trace=TRACE, settled=person, calls={"t1/0": rule, "t1/1": rule})
    assert judged.answer_call == "t1/0"
    assert judged.verdict("t1/0") == Settled.of(person)
    assert judged.verdict("t1/1") == Settled.of(rule)


def test_a_metric_is_an_outcome_or_the_score():
    judged = Judged(
        trace=TRACE,
        outcomes=[an_outcome(name="reward", value=0.25), an_outcome(name="label", value="x")],
        settled={"score": 0.5, "source": "person"},
    )
    assert [judged.measure(m) for m in ("score", "reward", "label", "none")] == [
        0.5,
        0.25,
        None,
        None,
    ]
