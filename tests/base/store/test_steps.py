"""Spans are kept together, in few bytes, and come back as they went in, whatever the order."""

import pytest
from sqlalchemy import select, type_coerce
from sqlalchemy.types import NullType

from agentloop.base.store import Store, steps
from agentloop.base.store import tables as t
from tests.makers import a_span, a_trace, asks, at, returns, says, system, user

RESULT = "what a tool returned, in its own words; " * 30
TALK = (system(), user(), asks(id="c1"), returns(RESULT, id="c1"), says())


def tool(n=1, **fields):
    data = {"first": 1, "output": RESULT, "last": None, **fields}
    return a_span("t1", f"s{n}", started_at=at(n), data=data)


def kept(store):
    """Bytes that the spans of the store take."""
    body = type_coerce(t.step.c.body, NullType())
    with store._database.read() as connection:
        return sum(map(len, connection.scalars(select(body))))


@pytest.mark.parametrize("together", [True, False])
def test_what_a_message_says_is_not_kept_a_second_time(store, together):
    trace = a_trace(*TALK, id="t1")
    alone = a_trace(id="t1", calls=())
    if together:
        store.put(trace, tool())
    else:  # as it happens: a tool is done before a model is told what it returned
        store.put(alone)
        store.put(tool())
        assert store.trace("t1").spans == (tool(),)
        before = kept(store)
        store.put(*trace.calls)
        store.put(a_span("t1", "s2", started_at=at(2)))
        store.put(alone)
        assert kept(store) < before + 80
    with store._database.read() as connection:
        (body,) = connection.scalars(select(t.step.c.body))
    assert RESULT not in body
    spans = store.trace("t1").spans
    assert spans[0] == tool()
    assert list(spans[0].data) == ["first", "output", "last"], "in the order it had"
    assert list(store.verify()) == []


def test_another_traces_messages_are_not_leaned_on(store):
    store.put(a_trace(*TALK, id="other"))
    store.put(a_trace(id="t1", calls=()), tool())
    with store._database.read() as connection:
        assert RESULT in connection.scalar(select(t.step.c.body))
    assert store.trace("t1").spans == (tool(),)


def test_a_span_that_comes_again_takes_its_own_place(store, monkeypatch):
    monkeypatch.setattr(steps, "IN_A_PART", 4)
    spans = [a_span("t1", f"s{n}", started_at=at(n)) for n in range(10)]
    store.put(a_trace(id="t1", calls=()))
    for span in (*spans[5:], *spans):
        store.put(span)
    later = spans[7].model_copy(update={"name": "later"})
    store.put(later)
    assert store.trace("t1").spans == (*spans[:7], later, *spans[8:])
    with store._database.read() as connection:
        assert list(connection.scalars(select(t.step.c.part).order_by(t.step.c.part))) == [0, 1, 2]


def test_spans_of_one_trace_from_two_writers_are_all_there(url):
    with Store(url) as one, Store(url) as other:
        one.put(a_trace(id="t1", calls=()))
        for n in range(6):
            (one, other)[n % 2].put(a_span("t1", f"s{n}", started_at=at(n)))
        assert [span.id for span in one.trace("t1").spans] == [f"s{n}" for n in range(6)]


def test_a_long_conversation_keeps_each_id_once(store):
    talk = [m for n in range(100) for m in (asks(id=f"call-{n}"), returns(f"{n}", id=f"call-{n}"))]
    trace = a_trace(user(), *talk, id="t1")
    store.put(a_trace(id="t1", calls=()))
    for call in trace.calls:
        store.put(call)
    store.put(trace)
    assert store.trace("t1") == trace
    with store._database.read() as connection:
        bodies = list(connection.scalars(select(t.call.c.body)))
        rows = list(connection.scalars(select(t.numbering.c.body)))
    assert max(map(len, bodies)) < 500
    assert sum(body.count("call-") for body in rows) == 96


def test_one_and_true_are_two_messages(store):
    one, true = (user([{"type": "text", "text": "x", "n": n}]) for n in (1, True))
    assert one == true, "to Python, they are one"
    trace = a_trace(id="t1", calls=())
    store.put(trace)
    for index, said in enumerate((one, true)):
        (call,) = a_trace(said, says(), id="t1").calls
        store.put(call.model_copy(update={"id": f"t1/{index}", "index": index}))
    back = [call.context[0].to_dict()["content"][0]["n"] for call in store.trace("t1").calls]
    assert [type(n) for n in back] == [int, bool]


def test_of_the_spans_those_that_failed_can_be_read_alone(store):
    told = returns("it said kaput, and more than a hundred characters of it " * 3)
    trace = a_trace(system(), user(), asks(), told, says(), id="t1")
    odd = a_span("t1", "s1", data={"output": '{"error": "x"}', "error": "none, it is data"})
    data = {"input": '{"id": 1}', "output": told.content}
    bad = a_span("t1", "s2", data=data, error={"message": "kaput"})
    store.put(trace.model_copy(update={"spans": (odd, bad)}))
    (one,) = store.all_judged(spans="failed")
    assert one.trace.spans == (bad,)
    (one,) = store.all_judged(spans=False)
    assert one.trace.spans == ()
