"""The `--where` of a harvest: what it selects, and how it says what is wrong."""

import pytest

from agentloop.base.errors import ExpressionError
from agentloop.harvest import where
from agentloop.harvest.selection import named
from tests.harvest.makers import a_trace, an_opinion, judged, says, system, user

RUN = a_trace(
    system(),
    user("hi"),
    says("hello"),
    user="u7",
    tags={"test": True, "lang": "de"},
    metadata={"shop": {"country": "PT"}, "shop-id": 7, "vip": True},
    task_id="9",
)
ONE = judged(
    RUN,
    an_opinion(RUN, score=1.0, author="ann"),
    an_opinion(RUN, correction="hey", author="bob", call="t1/0"),
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
        "author == 'ann' and author == 'bob'",
        "author in ['eve', 'bob']",
        "'ann' in author",
        "author != 'eve' and author not in ['eve', 'mallory']",
        "not (author == 'eve')",
        "'eve' not in author",
        "started_at == '2026-11-23'",
        "started_at <= '2026-11-23' and started_at >= '2026-11-23'",
        "'2026-11-22' < started_at < '2026-11-24'",
        "started_at in ['2026-11-22', '2026-11-23']",
        "started_at == '2026-11-23T13:00+01:00'",
        "started_at < '2026-11-23T12:00:01'",
        "started_at != '2026-11-22'",
        "metadata.shop.country == 'PT' and metadata.vip",
        "metadata['shop-id'] == 7 and metadata['shop'].country in ['PT']",
        "metadata.unheard_of == null and metadata.shop.unheard_of == null",
        "tag['lang'] == 'de' and outcome['resolved'] == false",
        "score in [0.5, 1]",
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
        "author == 'eve'",
        "author != 'ann'",
        "author not in ['ann', 'eve']",
        "started_at == '2026-11-22'",
        "started_at > '2026-11-23'",
        "started_at < '2026-11-23'",
        "started_at in ['2026-11-24']",
        "started_at > user",
        "metadata.unheard_of == 1",
        "metadata.unheard_of != 1",
        "metadata.shop.country.more == 1",
        "not metadata.unheard_of",
    ],
)
def test_does_not_select_what_is_false_or_unknown(text):
    assert not where(text)(ONE)


def test_a_wrong_name_is_an_error_that_lists_the_right_ones():
    with pytest.raises(
        ExpressionError,
        match=r"'sccore'.*known names: agent, author, metadata.NAME, model, outcome.NAME",
    ):
        where("sccore > 1")


def test_an_outcome_that_nobody_recorded_is_an_error_when_the_names_are_known():
    with pytest.raises(ExpressionError, match=r"no outcome 'rewrd'.*known: reward"):
        where("outcome.rewrd >= 1", outcomes=["reward"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "score >",
        "__import__('os')",
        "score + 1 > 2",
        "[x for x in y]",
        "user.name",
        "a = 1",
        "metadata == 1",
        "metadata[0] == 1",
        "tag.a.b",
        "f().x == 1",
        "outcome[score] == 1",
    ],
)
def test_nothing_but_the_grammar_is_read(text):
    with pytest.raises(ExpressionError):
        where(text)


def test_of_a_run_that_nobody_judged_nobody_is_the_author():
    nobody = judged(a_trace(user("hi"), says("ho")))
    assert not where("author == 'ann'")(nobody)
    assert where("author != 'ann' and not author")(nobody)


@pytest.mark.parametrize("text", ["started_at > 'yesterday'", "'2026-13-01' == started_at"])
def test_what_is_no_date_is_an_error(text):
    with pytest.raises(ExpressionError, match="is no date and no time, such as 2026-11-01"):
        where(text)


def test_a_function_of_pythons_is_told_by_name_and_cannot_be_read_back():
    name = named(test_selects)
    assert name == "python:tests.harvest.test_selection.test_selects"
    with pytest.raises(ExpressionError, match="give it again as where="):
        where(name)
