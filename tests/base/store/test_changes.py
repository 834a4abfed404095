"""Marks: what came after a harvest is newer than its dataset, and what says nothing new is not."""

import pytest

from agentloop.base.errors import StoreBusy
from agentloop.base.records import Dataset, Reason
from agentloop.base.store import Store
from tests.makers import (
    a_call,
    a_correction,
    a_row,
    a_trace,
    a_version,
    an_opinion,
    an_outcome,
    at,
    says,
    user,
)


def a_dataset(*traces, **fields):
    """A dataset with a row of each trace."""
    rows = tuple(a_row(user(id), says(), traces=(id,)) for id in traces)
    given = {"method": "sft", "agents": ("support",), "recipe": {"good": 0.8}, "rows": rows}
    return Dataset(**(given | fields))


def judged(id, **fields):
    """A run and what it was worth."""
    return a_trace(user(id), says(), id=id, **fields), an_outcome(id)


@pytest.fixture
def harvested(store):
    """A store with three judged runs, and a dataset of them."""
    for id in ("t1", "t2", "t3"):
        store.put(*judged(id))
    store.put(an_opinion("t1", 0.5, id="o1"))
    made = a_dataset("t1", "t2", "t3")
    store.ledger.put_dataset(made)
    store.dataset = made.id
    return store


def marks(store):
    return {mark.reason: mark.rows for mark in store.ledger.marks().get(store.dataset, ())}


def test_what_a_harvest_has_seen_marks_nothing(harvested):
    assert harvested.ledger.marks() == {}


@pytest.mark.parametrize(
    "said",
    [
        an_opinion("t2", 0.0),
        an_opinion("t1", 0.0, id="o1"),
        an_outcome("t2", value=False, recorded_at=at(1)),
        an_outcome("t2", "liked"),
        an_opinion("t2", 0.0, given_at=at(-9e8)),
        a_correction(a_call(trace="t2")),
    ],
    ids=["opinion", "replaced", "outcome", "another outcome", "of years ago", "correction"],
)
def test_feedback_that_comes_later_marks_the_rows_whatever_its_clock_says(harvested, said):
    harvested.put(said)
    assert marks(harvested) == {Reason.FEEDBACK: 1}


@pytest.mark.parametrize(
    "said",
    [
        [an_opinion("t1", 0.5, id="o1")],
        [an_outcome("t2", recorded_at=at(60))],
        [*judged("t3")],
        [*judged("t4"), an_opinion("t4", 0.0)],
        [a_trace(user("t5"), says(), id="t5"), an_opinion("t5")],
    ],
    ids=["opinion again", "outcome again", "run again", "a new run", "a new opinion on it"],
)
def test_what_says_again_what_is_stored_or_is_of_another_run_marks_nothing(harvested, said):
    harvested.put(*said)
    assert marks(harvested) == {}


def test_a_sentence_says_how_many_rows_and_why(harvested):
    harvested.put(an_opinion("t1", 0.0), an_opinion("t3", 0.0))
    (mark,) = harvested.ledger.marks()[harvested.dataset]
    assert mark.sentence == "2 of 3 rows rest on feedback that has changed since"


@pytest.mark.parametrize(
    "again",
    [
        a_trace(user("t2"), says("something else"), id="t2"),
        a_trace(user("t2"), says(), user("more"), says(), id="t2"),
        a_trace(user("t2"), says(), id="t2", consent=False),
        a_trace(user("t2"), says(), id="t2", error="it broke"),
        a_call(user("t2"), says(), says("more"), trace="t2", index=1),
    ],
    ids=["another answer", "goes on", "no consent", "an error", "a call alone"],
)
def test_a_run_that_is_stored_anew_marks_the_rows_that_were_made_from_it(harvested, again):
    harvested.put(again)
    assert marks(harvested) == {Reason.RUN: 1}


def test_feedback_that_comes_while_a_harvest_goes_on_marks_its_dataset(harvested):
    began = harvested.ledger.point()
    harvested.put(an_opinion("t2", 0.0))
    made = a_dataset("t2", recipe={"good": 0.1})
    harvested.ledger.put_dataset(made, as_of=began)
    (mark,) = harvested.ledger.marks()[made.id]
    assert (mark.reason, mark.rows) == (Reason.FEEDBACK, 1)


def test_a_later_harvest_that_gives_the_same_rows_takes_the_marks_away(harvested):
    harvested.put(an_opinion("t2", 0.0))
    assert marks(harvested)
    harvested.ledger.put_dataset(a_dataset("t1", "t2", "t3"))
    assert marks(harvested) == {}
    harvested.put(an_opinion("t2", 0.0))
    assert marks(harvested) == {Reason.FEEDBACK: 1}


def test_a_harvest_of_earlier_does_not_bring_marks_back(harvested):
    early = harvested.ledger.point()
    harvested.put(an_opinion("t2", 0.0))
    harvested.ledger.put_dataset(a_dataset("t1", "t2", "t3"))
    harvested.ledger.put_dataset(a_dataset("t1", "t2", "t3"), as_of=early)
    assert marks(harvested) == {}


def test_a_row_of_two_runs_that_changed_both_is_counted_once(store):
    store.put(*judged("t1"), *judged("t2"))
    made = a_dataset("t1", rows=(a_row(traces=("t1", "t2")), a_row(user("x"), traces=("t1",))))
    store.ledger.put_dataset(made)
    store.dataset = made.id
    store.put(an_opinion("t1"), an_opinion("t2"))
    assert marks(store) == {Reason.FEEDBACK: 2}


def test_a_version_is_marked_with_what_it_and_those_before_it_learned_from(harvested):
    ledger = harvested.ledger
    later = a_dataset("t3", recipe={"good": 0.9})
    ledger.put_dataset(later)
    ledger.put_version(a_version("v1", dataset=harvested.dataset))
    ledger.put_version(a_version("v2", dataset=later.id, parent="v1", created_at=at(1)))
    ledger.put_version(a_version("v3", created_at=at(2)))
    harvested.put(an_opinion("t1", 0.0))
    told = ledger.version_marks()
    assert {version: [*of] for version, of in told.items()} == {
        "v1": [harvested.dataset],
        "v2": [harvested.dataset],
    }
    assert ledger.learners() == {harvested.dataset: ("v1", "v2"), later.id: ("v2",)}


def test_on_a_server_a_harvest_waits_for_feedback_that_has_its_number_already(postgres_url):
    """Numbers are given before they are committed: a later one may be seen first."""
    with Store(postgres_url, busy_seconds=0.05) as store:
        store.put(*judged("t1"))
        with store._database.write() as connection:
            connection.exec_driver_sql(
                "INSERT INTO change (trace_id, what, at) VALUES ('t1', 'feedback', now())"
            )
            with pytest.raises(StoreBusy):
                store.ledger.point()
        assert store.ledger.point().change == 1
