"""Answers that people judged: which there are, and what graders see of them."""

import pytest

from agentloop.base.records import Judged, Source
from agentloop.feedback import settle
from agentloop.harvest import answers
from tests.makers import (
    TOOL,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    returns,
    says,
    system,
    user,
)


def found(*judged, **said):
    return list(answers(settle(judged), agents=["support"], **said))


def a_run(*said, opinions=(), outcomes=(), **fields):
    said = said or (system(), user("Where is 1?"), says("Here."))
    trace = a_trace(*said, **fields)
    return Judged(
        trace=trace,
        opinions=tuple(an_opinion(trace.id, **told) for told in opinions),
        outcomes=tuple(an_outcome(trace.id, **told) for told in outcomes),
    )


LIKED = {"score": 1.0}


def test_an_answer_is_what_was_said_last_and_its_row_what_was_asked():
    run = a_run(
        system(),
        user("Where is 1?"),
        asks(),
        returns(),
        says("Here."),
        opinions=[LIKED],
        outcomes=[{"name": "resolved", "value": True, "reference": {"reference_city": "Bern"}}],
    )
    (one,) = found(run)
    assert (one.trace, one.score) == (run.trace.id, 1.0)
    assert one.sample["output_text"] == "Here."
    assert one.item == {
        "messages": [
            {"role": "developer", "content": "You help."},
            {"role": "user", "content": "Where is 1?"},
        ],
        "tools": [TOOL],
        "reference_answer": {"reference_city": "Bern"},
        "reference_city": "Bern",
    }


def test_only_people_are_heard():
    judge = {"score": 1.0, "source": Source.JUDGE, "author": "m"}
    assert found(a_run(opinions=[judge])) == []
    assert found(a_run(outcomes=[{"name": "resolved", "value": True}])) == []
    (one,) = found(a_run(opinions=[judge, {"score": 0.0}]))
    assert one.score == 0.0


@pytest.mark.parametrize("fields", [{"agent": "sales"}, {"consent": False}])
def test_answers_of_others_and_without_consent_are_left_out(fields):
    assert found(a_run(opinions=[LIKED], **fields)) == []


def test_the_reference_is_that_of_the_outcome_that_is_asked_for():
    outcomes = [
        {"name": "resolved", "value": True, "reference": "yes"},
        {"name": "city", "value": 0.5, "reference": "Bern"},
    ]
    run = a_run(opinions=[LIKED], outcomes=outcomes)
    assert found(run)[0].item["reference_answer"] == "yes"
    assert found(run, outcome="city")[0].item["reference_answer"] == "Bern"


def test_where_no_reference_is_known_the_row_has_none():
    (one,) = found(a_run(opinions=[LIKED]))
    assert one.item.keys() == {"messages", "tools"}
