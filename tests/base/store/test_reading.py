"""What is read without a second look is what validation would make of it."""

import gc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentloop.base.errors import RecordError
from agentloop.base.records import Judged, Message, Settled, Source, Trace, Usage
from agentloop.base.records.record import of_json, to_json
from agentloop.base.store import Store
from agentloop.base.store import store as module
from agentloop.base.store.reading import load
from agentloop.capture.importers import import_file
from tests.base.records.test_message import conversations, wild
from tests.base.texts import json_values, texts
from tests.makers import (
    a_call,
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

SHOP = Path(__file__).parents[3] / "traces" / "shop.jsonl"


def taken_apart(value):
    """A value with all that `==` does not look at: types, the order of fields, and which of them
    were given."""
    if isinstance(value, BaseModel):
        fields = [(name, taken_apart(inner)) for name, inner in value.__dict__.items()]
        more = value.__pydantic_extra__
        return type(value), fields, value.model_fields_set, taken_apart(more), value.model_config
    if isinstance(value, dict):
        return dict, [(key, taken_apart(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [taken_apart(inner) for inner in value]
    return type(value), value


def read(store, *ids, **how):
    with store._database.read() as connection:
        return load(connection, ids, **how)


def the_same_as_validated(store, ids):
    """All of these, which are the same read both ways."""
    trusted, validated = read(store, *ids), read(store, *ids, trust=False)
    for id, one in trusted.items():
        assert one == validated[id]
        assert one.to_line() == validated[id].to_line()
        assert taken_apart(one) == taken_apart(validated[id])
        assert Judged.from_line(one.to_line()) == one
        for call in one.trace.calls:
            for said in call.path:
                assert taken_apart(said) == taken_apart(Message.model_validate(said.to_dict()))
    return trusted


def test_every_run_of_the_shop_is_the_same_without_validation(store):
    assert not [one for one in import_file(SHOP, store) if not hasattr(one, "trace")]
    ids = [one.trace.id for one in store.all_judged()]
    assert len(the_same_as_validated(store, ids)) == len(SHOP.read_text().splitlines())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(conversations, conversations, texts, json_values, st.booleans())
def test_any_run_is_the_same_without_validation(store, said, again, text, value, failed):
    trace = a_trace(*said, id="t1", metadata={text: value}, tags={text: 1.0}, error=text)
    other = a_trace(*said, *again, id="t2", agent=text, tools=({"type": "x", text: value},))
    told = [an_outcome("t1", text, reference=value), an_outcome("t2", text, 0.5)]
    if trace.calls:
        fields = {"response_format": {text: value}, "settings": {text: value}, "aside": [{}]}
        last = trace.calls[-1].model_copy(update=fields | {"started_at": at(1.5)})
        if failed:
            last = last.model_copy(update={"output": None, "error": text})
        trace = trace.model_copy(update={"calls": (*trace.calls[:-1], last)})
        told += [a_correction(last, says(text), id="o1"), an_opinion("t1", 0.5, id="o2")]
    store.put(trace, other, *told)
    the_same_as_validated(store, ["t1", "t2"])


@given(conversations, st.one_of(wild, st.just({})))
def test_any_message_is_the_same_without_validation(said, more):
    odd = Message.model_validate({"role": "assistant", "tool_calls": [], **more})
    for message in (*said, odd):
        again = Message.trusted(message.to_dict())
        assert taken_apart(again) == taken_apart(Message.model_validate(message.to_dict()))
        assert again == message


@given(json_values)
def test_any_json_is_read_as_the_standard_library_reads_it(value):
    assert taken_apart(of_json(to_json(value))) == taken_apart(value)


@pytest.mark.parametrize("text", ["", "{", "[1,]", '"\x01"', "nul", '{"a":1}x', "\ufeff{}"])
def test_what_is_no_json_is_an_error(text):
    with pytest.raises(ValueError, match=r"\w"):
        of_json(text)


def test_no_two_records_share_what_can_be_changed():
    fields = {"id": "t", "agent": "a", "started_at": at(0)}
    one, other = Trace.trusted(fields), Trace.trusted(fields)
    one.tags["x"] = 1
    assert (other.tags, Trace(**fields).tags) == ({}, {})
    judged = Judged.trusted({"trace": one})
    judged.calls["c"] = Settled(score=1.0, source=Source.RULE)
    assert Judged.trusted({"trace": one}).calls == {} == Judged(trace=one).calls


def test_a_field_that_a_record_does_not_have_is_an_error_all_the_same():
    with pytest.raises(RecordError, match="colour"):
        Usage.trusted({"colour": 3})


# ---------------------------------------------------------------------- what is shared


def talk(*ids, trace="t1"):
    """A run of one call for each id, and one that answers."""
    said = [system(), user()]
    made = []
    for n, id in enumerate(ids):
        made.append(a_call(*said, asks(id=id), trace=trace, index=n))
        said += [asks(id=id), returns(id=id)]
    made.append(a_call(*said, says(), trace=trace, index=len(ids)))
    return a_trace(id=trace, calls=made)


def test_a_later_call_begins_with_the_objects_of_the_one_before_it(store):
    store.put(talk("a", "b", "c"))
    calls = store.trace("t1").calls
    for before, after in pairwise(calls):
        assert all(a is b for a, b in zip(before.path, after.context, strict=False))
        assert before.tools is after.tools


def test_a_path_with_other_ids_is_another(store):
    one, other = talk("a", "b", trace="t1"), talk("a", "x", trace="t2")
    store.put(one, other)
    found = read(store, "t1", "t2")
    assert found["t1"].trace.calls == one.calls
    assert found["t2"].trace.calls == other.calls


def test_spans_are_left_where_nobody_asks_for_them(store):
    store.put(a_trace(user(), says(), id="t1"), a_span("t1"))
    assert [len(one.trace.spans) for one in store.all_judged()] == [1]
    assert [one.trace.spans for one in store.all_judged(spans=False)] == [()]


# ---------------------------------------------------------------------- page by page


@pytest.fixture
def eight(store, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 3)
    store.put(*(a_trace(user(), says(), id=f"t{n}", started_at=at(n // 2)) for n in range(8)))
    return store


@pytest.mark.parametrize("limit", [None, 0, 1, 3, 5, 8, 9])
def test_pages_go_on_where_the_last_one_ended(eight, limit):
    up = [one.trace.id for one in eight.all_judged(limit=limit)]
    down = [one.trace.id for one in eight.all_judged(limit=limit, newest_first=True)]
    ids = [f"t{n}" for n in range(8)]
    assert up == ids[:limit]
    assert down == ids[::-1][:limit]


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_comes_meanwhile_is_for_who_asks_next(eight, newest_first):
    found = eight.all_judged(newest_first=newest_first)
    first = next(found).trace.id
    eight.put(a_trace(user(), says(), id="t9", started_at=at(9)))
    assert "t9" not in {first, *(one.trace.id for one in found)}
    assert "t9" in {one.trace.id for one in eight.all_judged()}


@pytest.mark.parametrize("on", [True, False])
def test_whether_garbage_is_looked_for_is_as_it_was(on):
    with Store("sqlite://") as store:
        store.put(talk("a"))
        (gc.enable if on else gc.disable)()
        try:
            store.trace("t1")
            assert gc.isenabled() is on
        finally:
            gc.enable()
