"""Where opinions differ: who outranks whom, and what counts as an opinion."""

from math import inf, nan

import pytest

from agentloop.base.errors import RecordError
from agentloop.base.records import Outcome, Source, now
from agentloop.feedback import Line, correction, opinion, outcome
from tests.harvest.makers import a_trace, an_opinion, judged, says, system, user

TRACE = a_trace(system(), user("hi"), says("hello"))


def test_a_person_outranks_a_judge_and_a_judge_outranks_a_rule():
    rule, judge, person = (
        an_opinion(TRACE, score=score, author=source, source=source)
        for score, source in ((0.0, "rule"), (0.5, "judge"), (1.0, "person"))
    )
    assert judged(TRACE, rule, judge, person).score == 1.0
    assert judged(TRACE, rule, judge).score == 0.5
    assert judged(TRACE, rule).score == 0.0


def test_among_people_the_mean_counts():
    assert judged(TRACE, 1.0, 0.0, 0.5).score == 0.5


def test_a_later_opinion_of_one_author_replaces_the_earlier():
    first = an_opinion(TRACE, score=0.0)
    second = an_opinion(TRACE, score=1.0).model_copy(update={"id": "second"})
    assert judged(TRACE, first, second).score == 1.0


@pytest.mark.parametrize(("value", "score"), [(True, 1.0), (False, 0.0), (0.3, 0.3)])
def test_a_true_or_false_outcome_or_a_number_in_0_1_is_a_rules_opinion(value, score):
    settled = judged(TRACE, resolved=value).settled
    assert (settled.score, settled.source) == (score, Source.RULE)


@pytest.mark.parametrize("value", [None, nan, inf, 7.0, "a label"])
def test_an_unknown_outcome_is_no_opinion_and_never_a_zero(value):
    assert judged(TRACE, resolved=value).score is None


def test_a_non_finite_outcome_is_stored_as_unknown():
    assert Outcome(trace_id="t", name="n", value=nan, recorded_at=now()).value is None


def test_a_person_outranks_an_outcome():
    assert judged(TRACE, 0.0, resolved=True).score == 0.0


def test_a_call_that_was_judged_alone_has_a_score_of_its_own():
    about_call = an_opinion(TRACE, score=0.0, call="t1/0")
    one = judged(TRACE, about_call, resolved=True)
    assert (one.score, one.verdict("t1/0").score, one.verdict("other").score) == (1.0, 0.0, 1.0)


def test_a_comment_or_a_correction_alone_settles_nothing():
    said = an_opinion(TRACE, correction="So.", call="t1/0")
    assert judged(TRACE, said).score is None
    assert judged(TRACE, said).verdict("t1/0") is None


def test_up_and_down_are_one_and_zero():
    assert (opinion("t", "up", by="a").score, opinion("t", "down", by="a").score) == (1.0, 0.0)


@pytest.mark.parametrize("verdict", ["great", 1.5, -0.1, nan])
def test_what_is_no_verdict_is_refused_by_name(verdict):
    with pytest.raises(RecordError, match=str(verdict)):
        opinion("t", verdict, by="a")


def test_a_correction_says_something_as_the_assistant():
    with pytest.raises(RecordError, match="empty"):
        correction("t", "t/0", " ".strip(), by="a")
    with pytest.raises(RecordError, match="'user'"):
        correction("t", "t/0", {"role": "user", "content": "x"}, by="a")
    assert correction("t", "t/0", "So.", by="a").correction == says("So.")


def test_an_outcome_has_a_name_that_an_expression_can_ask_for():
    with pytest.raises(RecordError, match="'my outcome'"):
        outcome("t", "my outcome", True)
    with pytest.raises(RecordError, match="dict"):
        outcome("t", "x", {"a": 1})
    assert outcome("t", "x", 3).value == 3.0


def test_a_line_of_feedback_may_say_several_things():
    line = Line.from_line(
        '{"trace": "t", "by": "a", "thumbs": "down", "correction": "So.", '
        '"outcome": {"resolved": false}, "reference": {"x": 1}}'
    )
    said = list(line.said(answer="t/3"))
    assert [type(one).__name__ for one in said] == ["Opinion", "Opinion", "Outcome"]
    assert (said[0].score, said[1].call_id, said[2].reference) == (0.0, "t/3", {"x": 1})


def test_a_line_of_feedback_may_be_a_comment_alone():
    (said,) = Line(trace="t", by="ann", comment="too long").said(answer=None)
    assert (said.score, said.comment, said.author) == (None, "too long", "ann")


@pytest.mark.parametrize("said", [{"content": 5}, {"tool_calls": [{"function": {}}]}])
def test_a_correction_that_is_no_message_is_refused_by_its_fault(said):
    with pytest.raises(RecordError, match=r"content|tool_calls"):
        correction("t", "t/0", {"role": "assistant", **said}, by="ann")


def test_a_line_of_feedback_that_says_nothing_is_refused():
    with pytest.raises(RecordError, match="thumbs, score, comment, correction or outcome"):
        list(Line(trace="t").said(answer=None))
