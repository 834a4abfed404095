"""The `--where` of a harvest: what it selects, and how it says what is wrong."""

import pytest

from agentloop.base.errors import ExpressionError
from agentloop.harvest import where
from tests.harvest.makers import a_trace, judged, says, system, user

ONE = judged(
    a_trace(
        system(),
        user("hi"),
        says("hello"),
        user="u7",
        tags={"test": True, "lang": "de"},
        task_id="9",
    ),
    1.0,
    resolved=False,
)


@pytest.mark.parametrize(
    "text",
    [
        "score >= 0.8",
        "thumbs == 'up'",
        "outcome.resolved == false",
        "not outcome.resolved",
        "outcome.resolved == 0",
        "tag.test and tag.lang == 'de'",
        "tag.lang in ['de', 'at']",
        "agent == 'support' and user == 'u7' and task_id == '9'",
        "model == 'm' or version == 'v'",
        "version == null",
        "started_at > '2020-01-01'",
        "0 < score <= 1",
        "not (score < 0.5)",
        "-1 < score",
        "not tag.unheard_of",
    ],
)
def test_selects(text):
    assert where(text)(ONE)


def test_an_outcome_of_1_is_as_good_as_true_whatever_stands_beside_it():
    one = judged(a_trace(user("hi"), says("hello")), resolved=1.0)
    assert where("outcome.resolved")(one)
    assert where("outcome.resolved and not tag.test")(one)
    assert not where("outcome.resolved")(judged(a_trace(user("hi"), says("ho")), resolved=0.0))


@pytest.mark.parametrize(
    "text",
    [
        "score < 0.8",
        "outcome.unknown >= 1",
        "outcome.unknown < 1",
        "not outcome.unknown",
        "not (outcome.unknown >= 1)",
        "version == 'v'",
        "score == 'high'",
        "score > 'high'",
        "score in 'high'",
    ],
)
def test_does_not_select_what_is_false_or_unknown(text):
    assert not where(text)(ONE)


def test_a_wrong_name_is_an_error_that_lists_the_right_ones():
    with pytest.raises(ExpressionError, match=r"'sccore'.*known names: agent, model, outcome.NAME"):
        where("sccore > 1")


def test_an_outcome_that_nobody_recorded_is_an_error_when_the_names_are_known():
    with pytest.raises(ExpressionError, match=r"no outcome 'rewrd'.*known: reward"):
        where("outcome.rewrd >= 1", outcomes=["reward"])


@pytest.mark.parametrize(
    "text",
    ["", "score >", "__import__('os')", "score + 1 > 2", "[x for x in y]", "user.name", "a = 1"],
)
def test_nothing_but_the_grammar_is_read(text):
    with pytest.raises(ExpressionError):
        where(text)
