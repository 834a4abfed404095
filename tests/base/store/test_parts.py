"""Parts are stored one after the other, each made ready while the one before is written."""

import threading

import pytest

from agentloop.base.errors import StoreError
from agentloop.base.store import recovery
from agentloop.base.store.recovery import put
from agentloop.base.store.soon import Soon
from tests.makers import a_call, a_span, a_trace, asks, at, returns, says, system, user

RESULT = "what a tool returned, in its own words; " * 5


def turns(number):
    said = [system(), user("go on")]
    for k in range(number):
        said += [asks(id=f"c{k}"), returns(f"{RESULT} {k}", id=f"c{k}")]
    return said


def calls(number):
    """A conversation that grows from call to call, with more ids than a row of them holds."""
    said = turns(number)
    return [
        a_call(*said[: 2 + 2 * k], asks(id=f"c{k}"), trace="t1", index=k) for k in range(number)
    ]


def test_parts_go_on_with_what_the_part_before_them_says(store):
    whole = [a_trace(id="t1", calls=()), *calls(40)]
    whole += [
        a_span("t1", f"s{k}", started_at=at(k), data={"output": f"{RESULT} {k}"}) for k in range(40)
    ]
    parts = [whole[n : n + 7] for n in range(0, len(whole), 7)]
    assert list(store.put_each(parts)) == [None] * len(parts)
    trace = store.trace("t1")
    assert trace.calls == tuple(calls(40))
    assert [span.data["output"] for span in trace.spans] == [f"{RESULT} {k}" for k in range(40)]
    assert list(store.verify()) == []


def test_a_part_that_is_refused_takes_no_other_along(store):
    made = calls(6)
    bad = a_call(user(), says(), trace="nobody", id="bad")
    parts = [[a_trace(id="t1", calls=()), *made[:2]], [*made[2:4], bad], made[4:]]
    said = list(store.put_each(parts))
    assert [error is None for error in said] == [True, False, True]
    assert "there is no trace 'nobody'" in str(said[1])
    assert store.trace("t1").calls == (*made[:2], *made[4:])
    assert list(store.verify()) == [], "what the third part leans on was not taken for granted"


def test_only_the_bad_record_of_many_is_refused(store, monkeypatch):
    monkeypatch.setattr(recovery, "PART", 4)
    made = calls(10)
    bad = a_call(user(), says(), trace="nobody", id="bad")
    refused = put(store, [a_trace(id="t1", calls=()), *made[:5], bad, *made[5:]])
    assert [record for record, _ in refused] == [bad]
    assert store.trace("t1").calls == tuple(made)
    assert list(store.verify()) == []


def test_a_store_that_fails_ends_it(store, monkeypatch):
    monkeypatch.setattr(recovery, "PART", 2)
    made = [a_trace(id=f"t{n}", calls=()) for n in range(6)]
    commit, so_far = store._commit, []

    def once(batch):
        if so_far:
            raise StoreError("gone")
        so_far.append(batch)
        commit(batch)

    monkeypatch.setattr(store, "_commit", once)
    with pytest.raises(StoreError, match="gone"):
        put(store, made)
    assert store.count() == 2


def test_the_next_is_made_ready_while_one_is_written(store, monkeypatch):
    """The write of the first part waits for the second to be ready."""
    ready = threading.Event()
    gathered, commit = store._gathered, store._commit

    def then_say(records, batch):
        made = gathered(records, batch)
        if records[0].id == "b":
            ready.set()
        return made

    def wait(batch):
        assert ready.wait(10)
        commit(batch)

    monkeypatch.setattr(store, "_gathered", then_say)
    monkeypatch.setattr(store, "_commit", wait)
    parts = [[a_trace(id=id, calls=())] for id in "abc"]
    assert list(store.put_each(parts)) == [None] * 3
    assert store.count() == 3


def test_a_process_that_ends_has_no_new_threads_and_stores_all_the_same(store, monkeypatch):
    def never(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", never)
    parts = [[a_trace(id=id, calls=())] for id in "abc"]
    assert list(store.put_each(parts)) == [None] * 3
    assert store.count() == 3


def test_what_a_thread_finds_wrong_is_raised_where_it_is_waited_for():
    with pytest.raises(ZeroDivisionError):
        Soon(lambda: 1 / 0).result()
    assert Soon(lambda: 1).result() == 1


@pytest.mark.parametrize("number", [31, 32, 545])
def test_any_number_of_rows_is_stored(store, number):
    made = [a_trace(user(f"{n}"), says(f"{n}"), id=f"t{n}") for n in range(number)]
    store.put(*made)
    store.put(*made)
    assert store.count() == number
    assert store.trace(f"t{number - 1}").answer == f"{number - 1}"
    assert len(list(store.all_judged())) == number
    assert list(store.verify()) == []


def test_it_remembers_no_batch_once_it_is_written(store):
    """What comes after a batch knows its names, and does not hold all that came before it."""
    first = store._ready([a_trace(user(), says(), id="t1")])
    second = store._ready([a_trace(user(), says(), id="t2")], first)
    assert first not in vars(second).values()
    assert not second.messages, "the same words, and they will be stored by then"
