"""Records in, the same records out, in both databases."""

import json
import threading
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentloop.base.errors import NotFound, RecordError, StoreError
from agentloop.base.records import Judged, Message, Trace
from agentloop.base.store import Store, memory
from agentloop.base.store import store as module
from agentloop.base.store import tables as t
from tests.base.records.test_message import conversations
from tests.base.texts import json_values, naughty, texts
from tests.makers import (
    TOOL,
    a_call,
    a_correction,
    a_span,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    at,
    calls,
    message,
    returns,
    says,
    system,
    user,
)

RUN = a_trace(
    *(system(), user(), calls(("find", "{ }", "x"), ("find", "{}", "y"))),
    *(returns(id="y"), returns(id="x"), says(None), user("bye")),
    id="t1",
    user="u",
    session="s",
    task_id="k",
    tags={"n": 1, "x": 1.5, "b": True, "t": "1"},
    metadata={"a": None, "b": [None, 10**30]},
    ended_at=at(9.000001),
    error="E: why",
    version="v1",
    trial="trial-1",
    arm="control",
    held_out=True,
    source="chat",
    workflow="w",
    spans=(a_span("t1", "s2"), a_span("t1", "s1", started_at=at(1), data={"input": None})),
)


def test_a_trace_comes_back_equal(store):
    store.put(RUN)
    back = store.trace("t1")
    assert back == RUN
    assert back.to_line() == RUN.to_line()
    assert [m.to_dict() for m in back.conversation] == [m.to_dict() for m in RUN.conversation]


def test_a_call_comes_back_equal_with_all_that_it_can_say(store):
    call = a_call(
        *(system(), user(), says()),
        response_format={"type": "json_schema", "json_schema": {"schema": {"b": 1, "a": None}}},
        settings={"temperature": 0.2, "stop": None},
        tools=(
            TOOL,
            {"type": "function", "function": {"name": "b", "parameters": {"z": 1, "a": 2}}},
        ),
        served_model="m-1",
        version="v1",
        api="chat",
        streamed=True,
        usage={"input_tokens": 3, "cached_tokens": 1, "output_tokens": 2, "reasoning_tokens": 1},
        finish_reason="stop",
        response_id="r1",
        incomplete="why",
        started_at=at(1),
        ended_at=at(2),
    )
    store.put(a_trace(id="t1", calls=(call,)))
    (back,) = store.trace("t1").calls
    assert back == call
    assert json.dumps(back.tools) == json.dumps(call.tools), "the order of keys is kept too"


counted = count(1)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(conversations, st.lists(texts, min_size=4, max_size=4), json_values, st.booleans())
def test_any_conversation_and_any_text_comes_back_byte_for_byte(store, said, words, value, failed):
    id, agent, name, error = words
    trace = a_trace(
        *said,
        id=f"t{next(counted)} {id}",
        agent=agent,
        user=name,
        session=error,
        task_id=id,
        error=error,
        metadata={name: value},
        tags={name: error},
        version=name,
    )
    if failed and trace.calls:
        last = trace.calls[-1].model_copy(update={"output": None, "error": error})
        trace = trace.model_copy(update={"calls": (*trace.calls[:-1], last)})
    store.put(trace)
    back = store.trace(trace.id)
    assert back.to_line() == trace.to_line()
    assert back.calls == trace.calls


def test_naughty_strings_survive_in_every_place(store):
    given = {}
    for n, text in enumerate(naughty()):
        trace = a_trace(
            *(system(text), user([{"type": "text", "text": text}]), asks(text, text, text)),
            *(returns(text, text), says(text)),
            id=f"{n} {text}",
            agent=text,
            user=text,
            error=text,
        )
        given[trace.id] = (
            trace,
            an_opinion(trace.id, comment=text, author=text, id=f"{n} {text}", given_at=at(0)),
            an_opinion(trace.id, None, correction=says(text), id=f"c{n} {text}", given_at=at(1)),
            an_outcome(trace.id, text, text, reference={text: text}),
        )
    store.put(*(record for records in given.values() for record in records))
    assert store.count() == len(given)
    for back in store.all_judged():
        trace, *opinions, outcome = given[back.trace.id]
        assert back.trace.to_line() == trace.to_line()
        assert [o.to_line() for o in back.opinions] == [o.to_line() for o in opinions]
        assert [o.to_line() for o in back.outcomes] == [outcome.to_line()]


def test_a_correction_comes_back_as_it_was_given(store):
    trace = a_trace(system(), user(), says(), id="t1")
    wanted = asks("find", '{"id":  2}', "mine")
    store.put(trace, a_correction(trace.calls[0], wanted, id="o"))
    (back,) = store.judged("t1").opinions
    assert back.correction.to_dict() == wanted.to_dict()


def test_an_unknown_trace_is_not_found(store):
    with pytest.raises(NotFound, match=r"no trace 'nope'; `agentloop traces list`"):
        store.trace("nope")


# ---------------------------------------------------------------------- twice, late, out of order


def test_a_record_that_comes_twice_is_stored_once(store):
    records = (RUN, an_opinion(id="o"), an_outcome())
    store.put(*records)
    before = sizes(store)
    store.put(*records, *records)
    assert sizes(store) == before
    assert store.trace("t1").calls == RUN.calls


def test_of_two_records_with_one_id_the_later_stays(store):
    store.put(RUN)
    changed = RUN.calls[0].model_copy(update={"output": says("other"), "model": "m2"})
    store.put(changed, a_span("t1", "s1", name="other"))
    back = store.trace("t1")
    assert (back.calls[0].output, back.calls[0].model) == (says("other"), "m2")
    assert [s.name for s in back.spans if s.id == "s1"] == ["other"]


@pytest.mark.parametrize("together", [True, False])
def test_the_start_of_a_run_may_come_after_its_end(store, together):
    start = a_trace(id="t1", user="u", calls=())
    end = start.model_copy(update={"ended_at": at(5), "error": "E"})
    if together:
        store.put(end, start)
    else:
        store.put(end)
        store.put(start)
    back = store.trace("t1")
    assert (back.started_at, back.ended_at, back.error) == (at(0), at(5), "E")


@pytest.mark.parametrize("together", [True, False])
def test_a_run_that_goes_on_later_began_when_it_first_began(store, together):
    first = a_trace(id="t1", user="u", ended_at=at(5), calls=())
    again = a_trace(id="t1", started_at=at(60), ended_at=at(70), calls=())
    if together:
        store.put(first, again)
    else:
        store.put(first)
        store.put(again)
    back = store.trace("t1")
    assert (back.started_at, back.ended_at, back.user) == (at(0), at(70), "u")


@pytest.mark.parametrize("together", [True, False])
def test_who_once_said_no_to_being_learned_from_has_said_no(store, together):
    """A record of a resume that knows nothing of it changes nothing."""
    for n, order in enumerate([(False, True), (True, False)]):
        records = [a_trace(id=f"t{n}", consent=consent) for consent in order]
        for some in [records] if together else [[record] for record in records]:
            store.put(*some)
        assert store.trace(f"t{n}").consent is False


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_later_outcome_stays_whatever_the_order_they_came_in(store, together, order):
    given = [an_outcome(value=n, recorded_at=at(n)) for n in order]
    store.put(RUN)
    if together:
        store.put(*given)
    else:
        for one in given:
            store.put(one)
    (back,) = store.judged("t1").outcomes
    assert back.value == 2


def test_calls_and_spans_may_come_in_any_order_and_read_in_theirs(store):
    store.put(RUN.model_copy(update={"calls": (), "spans": ()}))
    for record in (*reversed(RUN.calls), *reversed(RUN.spans)):
        store.put(record)
    assert store.trace("t1").calls == RUN.calls


def test_a_trailing_message_stays_when_the_trace_comes_without_its_calls(store):
    store.put(RUN.model_copy(update={"calls": ()}))
    store.put(*RUN.calls)
    assert store.trace("t1").tail == RUN.tail


def test_nothing_of_a_put_is_stored_when_one_record_names_a_stranger(store):
    for stranger, what in (
        (a_call(trace="nope"), "trace 'nope'"),
        (a_span("nope"), "trace 'nope'"),
        (an_opinion("nope"), "trace 'nope'"),
        (an_outcome("nope"), "trace 'nope'"),
        (an_opinion("t1", call_id="t1/7"), "call 't1/7'"),
    ):
        with pytest.raises(RecordError, match=f"there is no {what}"):
            store.put(RUN, stranger)
        assert store.count() == 0
        assert sizes(store) == dict.fromkeys(sizes(store), 0)
    store.put(RUN)
    assert store.trace("t1").calls == RUN.calls, "what was rolled back is not taken for stored"


def test_an_opinion_is_about_a_call_of_its_own_trace(store):
    store.put(RUN, a_trace(system(), user(), says(), id="other"))
    with pytest.raises(RecordError, match="there is no call 'other/0' in trace 't1'"):
        store.put(an_opinion("t1", call_id="other/0"))


# ---------------------------------------------------------------------- the tree


def sizes(store):
    """Rows by table."""
    with store._database.read() as connection:
        return {
            table.name: connection.exec_driver_sql(f"SELECT count(*) FROM {table.name}").scalar()
            for table in (
                t.message,
                t.node,
                t.toolset,
                t.trace,
                t.call,
                t.step,
                t.numbering,
                t.opinion,
                t.outcome,
            )
        }


def test_runs_that_went_the_same_way_share_their_path(store):
    said = (system(), user())
    one = a_trace(*said, asks(id="a"), returns(id="a"), says(), id="one")
    other = a_trace(*said, asks(id="b"), returns(id="b"), says("other"), id="other")
    store.put(one)
    before = sizes(store)
    store.put(other)
    after = sizes(store)
    assert after["node"] - before["node"] == 1
    assert after["message"] - before["message"] == 1
    assert after["toolset"] == 1
    assert store.trace("other").calls == other.calls, "each has its own ids back"


def long(turns, id):
    """A conversation of so many turns, every message of its own."""
    said = [m for n in range(turns) for m in (user(f"q{n}"), says(f"a{n}"))]
    return a_trace(system(), *said, id=id)


def test_storage_grows_with_the_length_of_a_conversation_and_not_with_its_square(store):
    store.put(long(10, "ten"))
    ten = sizes(store)
    store.put(long(20, "twenty"))
    twenty = {name: n - ten[name] for name, n in sizes(store).items()}
    assert ten["node"] == 21
    assert twenty["node"] == 20, "its first half is there already"
    assert store.trace("twenty").calls == long(20, "twenty").calls


def test_a_conversation_comes_call_by_call_and_sends_only_what_is_new(store):
    store.put(a_trace(id="t1", calls=()))
    for call in long(20, "t1").calls:
        store.put(call)
    assert sizes(store)["node"] == 41
    assert store.trace("t1").calls == long(20, "t1").calls


def test_a_correction_is_a_sibling_of_what_it_corrects(store):
    trace = a_trace(system(), user(), says("bad"), id="t1")
    store.put(trace, a_correction(trace.calls[0], "good"))
    (fork,) = store.forks(agents=["support"])
    assert [call for call, _ in fork.branches] == ["t1/0"]
    assert sizes(store)["node"] == 4


def test_nodes_that_somebody_else_erased_are_sent_again(store, url):
    store.put(a_trace(system(), user(), says(), id="t1"))
    with Store(url) as other, other._database.write() as connection:
        for table in (t.call, t.trace, t.node, t.message):
            connection.execute(table.delete())
    again = a_trace(system(), user(), says(), id="t2")
    store.put(again)
    assert store.trace("t2").calls == again.calls


def test_another_error_of_the_database_is_not_tried_again(store):
    with store._database.write() as connection:
        connection.exec_driver_sql("DROP TABLE step")
    with pytest.raises(StoreError, match="step"):
        store.put(RUN)


def test_what_is_known_to_be_stored_is_bounded(store, monkeypatch):
    monkeypatch.setattr(memory, "REMEMBERED", 5)
    for n in range(4):
        store.put(a_trace(system(), user(f"q{n}"), says(), id=f"t{n}"))
        assert len(store._memory.known) <= 5
    assert store.trace("t0").answer == "hello"


# ---------------------------------------------------------------------- questions


def test_traces_come_oldest_first_or_newest_first(store):
    for n in (2, 0, 1):
        store.put(a_trace(user(), says(), id=f"t{n}", started_at=at(n)))
    assert [j.trace.id for j in store.all_judged()] == ["t0", "t1", "t2"]
    assert [j.trace.id for j in store.all_judged(newest_first=True, limit=2)] == ["t2", "t1"]
    assert [j.trace.id for j in store.all_judged(since=at(1))] == ["t1", "t2"]


def test_traces_that_began_together_come_in_the_order_of_their_ids_by_code_point(store):
    ids = ["t10", "t2", "T3", "ä", "a b", "a_b", "a-b"]
    store.put(*(a_trace(user(), says(), id=id) for id in ids))
    assert [j.trace.id for j in store.all_judged()] == sorted(ids)


def test_more_traces_than_a_page_are_read_page_by_page(store, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 3)
    store.put(*(a_trace(user(str(n)), says(), id=f"t{n}", started_at=at(n)) for n in range(8)))
    assert [j.trace.id for j in store.all_judged()] == [f"t{n}" for n in range(8)]
    assert len(list(store.contexts(agents=["support"]))) == 8


def test_traces_are_asked_for_by_agent_trial_and_whether_they_were_held_out(store):
    store.put(
        a_trace(user(), says(), id="one", trial="trial-1"),
        a_trace(user(), says(), id="two", agent="billing"),
        a_trace(user(), says(), id="three", held_out=True),
        a_trace(user(), id="silent"),
    )

    def found(**asked):
        return {j.trace.id for j in store.all_judged(**asked)}

    assert found(agents=["billing"]) == {"two"}
    assert found(agents=["billing", "support"]) == {"one", "two", "three"}
    assert found(trial="trial-1") == {"one"}
    assert found(held_out=True) == {"three"}
    assert found(held_out=False) == {"one", "two", "silent"}
    assert store.names() == (("billing", "support"), ())
    assert store.count() == 4


def test_a_fork_is_a_context_that_was_answered_in_more_than_one_way(store):
    same = (system(), user())
    store.put(
        a_trace(*same, says("a"), id="t1", started_at=at(1)),
        a_trace(*same, says("b"), id="t0", started_at=at(2)),
        a_trace(*same, says("b"), id="t2", started_at=at(3), held_out=True),
        a_trace(*same, says("c"), id="t3", started_at=at(4), agent="billing"),
        a_trace(system(), user("alone"), says("x"), id="t4"),
        a_trace(system(), user("alone"), says("x"), id="t5"),
    )
    (fork,) = store.forks(agents=["support"])
    assert [call for call, _ in fork.branches] == ["t1/0", "t0/0"]
    assert [judged.trace.id for _, judged in fork.branches] == ["t1", "t0"]
    assert all(isinstance(judged, Judged) for _, judged in fork.branches)


def test_contexts_that_end_with_the_user_come_with_all_their_rollouts(store):
    store.put(
        a_trace(user("x"), asks(), returns(), says(), id="t1", started_at=at(2)),
        a_trace(user("x"), says(), id="t2", started_at=at(3)),
        a_trace(user("y"), says(), id="t3", started_at=at(1)),
    )
    assert [[call for call, _ in fork.branches] for fork in store.contexts(agents=["support"])] == [
        ["t3/0"],
        ["t1/0", "t2/0"],
    ]


def test_a_context_that_thousands_answered_is_read_whole(store):
    """More parameters than SQLite takes in a statement."""
    bare = [Trace(id=f"t{n:05}", agent="a", started_at=at(n)) for n in range(3_000)]
    store.put(*bare, *(a_call(user(), says(), trace=b.id, agent="a") for b in bare))
    (fork,) = store.contexts(agents=["a"])
    assert len(fork.branches) == 3_000


# ---------------------------------------------------------------------- several at once


def test_threads_may_store_and_read_at_once(store):
    errors = []

    def work(k):
        try:
            for n in range(10):
                store.put(a_trace(system(), user(f"q{n}"), says(f"{k}"), id=f"t{k}-{n}"))
                store.trace(f"t{k}-{n}")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.count() == 40


def test_a_store_in_memory_is_one_for_all_threads():
    with Store("sqlite://") as store:
        test_threads_may_store_and_read_at_once(store)


def test_a_message_that_is_read_is_not_shared_with_who_changes_its_parts(store):
    store.put(a_trace(user([{"type": "text", "text": "a"}]), says(), id="t1"))
    body = store.trace("t1").calls[0].context[0].to_dict()
    body["content"][0]["text"] = "b"
    assert store.trace("t1").calls[0].context[0].text == "a"


def test_names_in_columns_are_readable_by_whoever_opens_the_database(store):
    store.put(a_trace(says(), id="t1", agent="support"))
    with store._database.read() as connection:
        query = "SELECT trace.agent, message.body FROM trace, message ORDER BY message.body"
        agent, body = connection.exec_driver_sql(query).one()
        assert agent == "support"
        kept = body if isinstance(body, str) else bytes(body).decode()
        assert kept == '{"role":"assistant","content":"hello"}', "what is short is not compressed"


def test_a_message_may_have_a_key_that_nobody_knows(store):
    odd = Message.model_validate({"role": "user", "content": None, "x": {"y": [None]}})
    store.put(a_trace(odd, message("assistant", [], refusal=None), id="t1"))
    assert store.trace("t1").conversation[0].to_dict() == odd.to_dict()


def test_traces_between_two_places_are_those_that_began_between_them(store):
    for n in range(7):
        store.put(
            a_trace(system(), user(f"q{n}"), says(f"a{n}"), id=f"p{n}", started_at=at(n // 2))
        )
    places = list(store.places(agents=["support"]))
    assert [place.id for place in places] == [f"p{n}" for n in range(7)]
    stretches = [None, places[2], places[4], None]
    read = [
        [one.trace.id for one in store.all_judged(agents=["support"], after=first, upto=last)]
        for first, last in pairwise(stretches)
    ]
    assert read == [["p0", "p1", "p2"], ["p3", "p4"], ["p5", "p6"]]


def test_the_traces_of_some_tasks_are_found_by_them(store):
    talk = (system(), user(), says())
    for n, task in enumerate(["b", "a", "b", None]):
        store.put(a_trace(*talk, id=f"t{n}", started_at=at(n), task_id=task))
    store.put(a_trace(*talk, id="theirs", agent="billing", task_id="b"))
    assert store.tasks(agents=["support"]) == ["a", "b"]
    found = store.all_judged(agents=["support"], tasks=["b"])
    assert [one.trace.id for one in found] == ["t0", "t2"]
