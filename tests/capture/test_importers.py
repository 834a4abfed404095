"""The format `chat`: what comes in goes out again, and a bad line is named and stops nothing."""

import json
import re
import subprocess
import sys
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentloop.base.errors import ConfigError, EmptyHarvest, RecordError
from agentloop.base.records import Call, Message, Source
from agentloop.base.records.message import verbatim
from agentloop.base.store import Store
from agentloop.capture.importers import Imported, Problem, export_file, import_file
from agentloop.capture.importers.chat import to_chat
from tests.base.records.test_message import conversations
from tests.base.texts import json_values, texts
from tests.capture import taubench
from tests.makers import (
    TOOL,
    a_call,
    a_correction,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    at,
    real,
    returns,
    says,
    system,
    user,
)


@pytest.fixture
def file(tmp_path):
    """Writes a file of these lines: objects, or texts as they are."""

    def write(*lines, name="runs.jsonl"):
        path = tmp_path / name
        text = b"\n".join(
            line.encode() if isinstance(line, str) else line if isinstance(line, bytes)
            else verbatim(line) for line in lines
        )  # fmt: skip
        path.write_bytes(text)
        return path

    return write


def line(*said, **more):
    said = said or (user(), says())
    return {"messages": [message.to_dict() for message in said], **more}


def imported(path, store, **options):
    return list(import_file(path, store, **options))


FULL = line(
    *(system(), user(), asks(), returns(), says(), user("thanks")),
    id="mine",
    agent="support",
    tools=[TOOL],
    parallel_tool_calls=False,
    task_id="k",
    user="u",
    session="s",
    model="gpt-4o",
    started_at="2026-01-02T03:04:05.678901+02:00",
    outcome={"resolved": True, "reward": 0.5, "label": "x", "later": None},
    reference={"actions": []},
    feedback=[
        {"by": "ann", "thumbs": "up"},
        {"by": "bob", "score": 0.25, "comment": "slow", "call": 0},
        {"by": "eve", "correction": "Shipped.", "at": "2026-02-01T00:00:00Z"},
        {"by": "gpt", "score": 1.0, "source": "judge"},
    ],
    metadata={"a": None, "b": [1]},
    tags={"test": True, "n": 1},
)


def test_everything_that_a_line_says_is_kept(file, store):
    (item,) = imported(file(FULL), store)
    assert isinstance(item, Imported)
    judged = store.judged("mine")
    trace = judged.trace
    assert [m.to_dict() for m in trace.conversation] == FULL["messages"]
    assert (trace.agent, trace.user, trace.session, trace.task_id) == ("support", "u", "s", "k")
    assert trace.started_at.isoformat() == "2026-01-02T01:04:05.678901+00:00"
    assert (trace.metadata, trace.tags) == (FULL["metadata"], FULL["tags"])
    assert trace.source == "chat"
    assert [m.role for m in trace.tail] == ["user"]
    first, second = trace.calls
    assert (first.output, second.output) == (asks(), says())
    assert second.context == (*first.path, returns())
    assert (first.tools, first.model, first.settings) == (
        (TOOL,),
        "gpt-4o",
        {"parallel_tool_calls": False},
    )
    assert {o.name: o.value for o in judged.outcomes} == FULL["outcome"]
    assert {json.dumps(o.reference) for o in judged.outcomes} == {'{"actions": []}'}
    said = {o.author: o for o in judged.opinions}
    assert (said["ann"].score, said["ann"].call_id) == (1.0, None)
    assert (said["bob"].score, said["bob"].call_id) == (0.25, "mine/0")
    assert (said["eve"].correction, said["eve"].call_id) == (says("Shipped."), "mine/1")
    assert said["gpt"].source is Source.JUDGE


def test_importing_traces_loads_no_sdk():
    code = "import sys, agentloop.capture.importers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"agents", "openai"} & set(done.stdout.split())


def test_importing_twice_adds_nothing(file, store, url):
    path = file(FULL, line(), line(user("a")))
    imported(path, store)
    before = [judged.trace.to_line() for judged in store.all_judged()]
    again = imported(path, store)
    assert [type(item) for item in again] == [Imported] * 3
    assert [judged.trace.to_line() for judged in store.all_judged()] == before
    assert len(store.judged("mine").opinions) == 4


def test_a_line_may_say_nothing_but_what_was_said(file, store):
    (item,) = imported(file(line(), name="helpdesk.jsonl"), store)
    trace = store.trace(item.trace.id)
    assert trace.agent == "helpdesk"
    assert trace.id.startswith("import_")
    (item,) = imported(file(line(user("x"))), store, agent="named")
    assert item.trace.agent == "named"


def test_nulls_are_as_good_as_nothing(file, store):
    bare = dict.fromkeys((k for k in FULL if k != "messages"), None)
    (item,) = imported(file({**bare, **line()}), store)
    assert isinstance(item, Imported)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{", "no JSON"),
        (b'{"messages": "\xff"}', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"messages": [], "metadata": {"deep": ' + "[" * 600 + "]" * 600 + "}}", "no JSON"),
        ("7", "a line is a JSON object with 'messages'"),
        ("[]", "a line is a JSON object with 'messages'"),
        ("{}", "messages: Field required"),
        ({"messages": []}, "messages is empty"),
        ({"messages": ["hi"]}, r"messages\.0: "),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"messages\.0\.role"),
        ({"messages": [{"content": "x"}]}, r"messages\.0\.role: Field required"),
        (line(asks()) | {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool_calls"),
        (line(colour="red"), "colour: Extra inputs"),
        (line(started_at="yesterday"), "started_at"),
        (line(started_at="2026-01-01T00:00:00"), "started_at: .*timezone"),
        (line(outcome={"a": [1]}), "outcome.a"),
        (line(tags={"a": {}}), "tags.a"),
        (line(feedback=[{"by": "x"}]), "feedback: .*a score, a comment or a correction"),
        (line(feedback=[{"thumbs": "sideways"}]), r"feedback\.0\.thumbs"),
        (line(feedback=[{"score": 7}]), r"feedback\.0\.score"),
        (line(feedback=[{"score": 1, "call": 3}]), "feedback: 0.call: there are 1 messages"),
        (line(feedback=[{"correction": {"role": 7}}]), "feedback: role"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_imported(file, store, bad, why):
    path = file(line(user("before")), "", bad, "  ", line(user("after")))
    first, problem, last = imported(path, store, format="chat")
    assert isinstance(problem, Problem)
    assert problem.line == 3
    assert re.search(why, problem.why), problem.why
    assert "\n" not in problem.why
    assert (first.line, last.line) == (1, 5)
    assert store.count() == 2


def test_two_talks_of_one_id_are_not_taken_for_one(file, store):
    first, again = line(user("one")) | {"id": "x"}, line(user("two")) | {"id": "x"}
    kept, same, problem = imported(file(first, first, again), store)
    assert (kept.trace, same.trace) == (store.trace("x"), store.trace("x"))
    assert (problem.line, problem.why) == (
        3,
        "line 1 has the id 'x' too, and says something else",
    )


def test_a_file_may_begin_with_a_mark_and_end_without_a_newline(file, store):
    path = file(b"\xef\xbb\xbf" + verbatim(line()))
    assert isinstance(imported(path, store)[0], Imported)


def test_what_the_user_said_last_is_kept_and_so_is_a_talk_without_an_answer(file, store):
    asked, alone = imported(file(line(user(), asks(), returns()), line(user("hello?"))), store)
    assert store.trace(asked.trace.id).tail == (returns(),)
    assert store.trace(alone.trace.id).conversation == (user("hello?"),)


def test_a_reference_without_an_outcome_is_kept(file, store):
    (item,) = imported(file(line(reference=[1])), store)
    (outcome,) = store.judged(item.trace.id).outcomes
    assert (outcome.value, outcome.reference, outcome.score) == (None, [1], None)


def test_a_trace_that_was_captured_here_is_not_overwritten(file, store):
    store.put(a_trace(user("real"), says(), id="mine"))
    problem, other = imported(file(FULL, line()), store)
    assert problem == Problem(1, "trace 'mine' is here already, from 'sdk'")
    assert isinstance(other, Imported)
    assert store.trace("mine").calls[0].context == (user("real"),)


def test_many_lines_come_through_in_their_order(file, store):
    path = file(*(line(user(str(n)), id=f"t{n}") for n in range(250)))
    assert [item.line for item in import_file(path, store)] == list(range(1, 251))
    assert store.count() == 250


def test_what_was_yielded_is_stored(file, store):
    path = file(*(line(user(str(n)), id=f"t{n}") for n in range(250)))
    first: Any = next(import_file(path, store))
    assert store.trace(first.trace.id)


@pytest.mark.parametrize("first", ["", "{", '{"spans": []}', "7", "[" * 100_000])
def test_a_file_whose_format_cannot_be_told_is_an_error(file, store, first):
    with pytest.raises(RecordError, match=r"cannot tell the format; name it with --format"):
        imported(file(first), store)


def test_a_format_that_does_not_exist_is_an_error_that_lists_those_that_do(file, store):
    with pytest.raises(ConfigError, match=r"no format 'xml'; known: auto, .*chat.*openai-trace"):
        imported(file(line()), store, format="xml")


@pytest.mark.parametrize("format", ["auto", "chat"])
def test_a_file_that_is_not_there_is_an_error(tmp_path, store, format):
    with pytest.raises(RecordError, match=r"cannot read .*No such file"):
        imported(tmp_path / "none.jsonl", store, format=format)


# ---------------------------------------------------------------------- out, and in again


def there_and_back(store, other, tmp_path):
    """What is in `store`, exported and imported into `other`."""
    path = tmp_path / "out.jsonl"
    export_file(path, store.all_judged())
    items = imported(path, other, format="chat")
    assert all(isinstance(item, Imported) for item in items), items
    return path


def test_what_is_exported_imports_into_another_store_as_it_was(file, store, tmp_path):
    imported(file(FULL), store)
    with Store(f"sqlite:///{tmp_path}/other.db") as other:
        path = there_and_back(store, other, tmp_path)
        one, two = store.judged("mine"), other.judged("mine")
        assert two.trace == one.trace
        assert two.opinions == one.opinions
        assert two.outcomes == one.outcomes
        export_file(again := tmp_path / "again.jsonl", other.all_judged())
        assert again.read_bytes() == path.read_bytes()


def test_consent_and_the_way_of_capture_go_there_and_back(store, tmp_path):
    said = a_trace(user(), says(), id="no", consent=False)
    facts = Call(id="few/0", trace_id="few", index=0, agent="support", context=())
    few = a_trace(id="few", capture="metadata", user="u").model_copy(update={"calls": (facts,)})
    store.put(said, few, an_outcome("few"))
    with Store(f"sqlite:///{tmp_path}/other.db") as other:
        path = there_and_back(store, other, tmp_path)
        lines = {body["id"]: body for body in map(json.loads, path.read_text().splitlines())}
        assert lines["no"]["consent"] is False
        assert "capture" not in lines["no"]
        assert (lines["few"]["capture"], lines["few"]["messages"]) == ("metadata", [])
        assert (other.trace("no").consent, other.trace("no").capture) == (False, "full")
        back = other.judged("few")
        assert (back.trace.capture, back.trace.consent, back.trace.user) == ("metadata", True, "u")
        assert back.outcomes == store.judged("few").outcomes


counted = count(1)


@pytest.fixture
def two_stores(tmp_path):
    with Store(f"sqlite:///{tmp_path}/a.db") as one, Store(f"sqlite:///{tmp_path}/b.db") as two:
        yield one, two


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(conversations.filter(bool), texts, json_values)
def test_any_conversation_goes_there_and_back(two_stores, tmp_path, said, text, value):
    one, two = two_stores
    about = {"user": text, "agent": text, "metadata": {text: value}, "tags": {text: text}}
    chat = line(*said, id=f"t{next(counted)} {text}", **about)
    path = tmp_path / "in.jsonl"
    path.write_bytes(verbatim(chat))
    (item,) = imported(path, one, format="chat")
    assert isinstance(item, Imported), item
    export_file(path, [one.judged(chat["id"])])
    imported(path, two, format="chat")
    first, second = one.trace(chat["id"]), two.trace(chat["id"])
    assert second.to_line() == first.to_line()
    assert [m.to_dict() for m in second.conversation] == chat["messages"]


@given(st.sampled_from(["assistant", "user"]), json_values)
def test_null_and_absent_keys_of_messages_go_there_and_back(role, value):
    body = {"role": role, "content": None, "x": value}
    trace = a_trace(user(), Message.model_validate(body), says())
    from agentloop.base.records import Judged

    (exported,) = to_chat(Judged(trace=trace))
    assert exported["messages"][1] == body


def test_a_handoff_is_exported_as_two_paths(store, tmp_path):
    first = a_call(system("s"), user(), asks("transfer"), trace="t1", index=0)
    second = a_call(
        system("b"),
        user(),
        asks("transfer"),
        returns(),
        says(),
        trace="t1",
        index=1,
        agent="billing",
    )
    trace = a_trace(id="t1", calls=(first, second))
    store.put(trace, an_opinion("t1", 1.0, id="o"), an_opinion("t1", 0.0, call_id="t1/0", id="p"))
    with Store(f"sqlite:///{tmp_path}/other.db") as other:
        there_and_back(store, other, tmp_path)
        assert {j.trace.id: j.trace.agent for j in other.all_judged()} == {
            "t1": "billing",
            "t1/0": "support",
        }
        assert [o.score for o in other.judged("t1").opinions] == [1.0]
        assert {o.score for o in other.judged("t1/0").opinions} == {0.0, 1.0}
    (only,) = to_chat(store.judged("t1"), agents=["billing"])
    assert only["agent"] == "billing"


def test_opinions_on_turns_are_exported_with_the_turn_that_they_are_about(store, tmp_path):
    trace = a_trace(system(), user(), says("a"), user(), asks(), returns(), says("b"), id="t1")
    store.put(
        trace,
        an_opinion("t1", 0.0, call_id="t1/0", id="o0"),
        an_opinion("t1", 0.5, call_id="t1/1", id="o1", source="rule"),
        a_correction(trace.calls[2], "better", id="o2", given_at=at(9)),
        an_outcome("t1", "reward", 0.5),
    )
    with Store(f"sqlite:///{tmp_path}/other.db") as other:
        there_and_back(store, other, tmp_path)
        assert other.judged("t1").opinions == store.judged("t1").opinions


def test_a_file_that_cannot_be_written_leaves_the_earlier_one_as_it_was(tmp_path, store):
    path = tmp_path / "out.jsonl"
    path.write_text("earlier")

    def failing():
        yield next(store.all_judged())
        raise OSError(28, "No space left on device")

    store.put(a_trace(user(), says()))
    with pytest.raises(RecordError, match=r"cannot write .*No space left"):
        export_file(path, failing())
    assert path.read_text() == "earlier"
    assert list(tmp_path.glob(".out*")) == []
    with pytest.raises(RecordError, match="cannot write"):
        export_file(tmp_path / "out.jsonl" / "x.jsonl", [])


# ---------------------------------------------------------------------- real conversations


@pytest.fixture
def airline(loop, tmp_path):
    """40 real conversations, imported."""
    results = real("tau-bench", "gpt-4o-airline.tasks0-9.json")
    path = tmp_path / "airline.jsonl"
    assert taubench.convert(results, real("tau-bench", "tools_airline.json"), path) == 40
    items = list(loop.import_file(path))
    assert [type(item) for item in items] == [Imported] * 40
    return json.loads(results.read_text())


def test_40_conversations_come_in_and_every_row_is_its_conversation(loop, airline):
    """Less the trailing messages that no assistant said; arguments byte for byte; all tools."""
    tools = json.loads(real("tau-bench", "tools_airline.json").read_text())
    dataset = loop.harvest("sft", agent="airline", good=0.0, bad=0.0, redact=False)
    rows = [*dataset.rows, *dataset.valid]
    by_trace = {row.traces[0]: row for row in rows}
    assert len(rows) + len(dataset.refused) == 40
    assert len(by_trace) == len(rows)
    for run in airline:
        said = list(run["traj"])
        while said[-1]["role"] != "assistant":
            said.pop()
        row = by_trace[f"tau-{run['task_id']}-{run['trial']}"]
        assert row.body["messages"] == said
        assert json.dumps(row.body["tools"]) == json.dumps(tools)
        arguments = [
            call["function"]["arguments"] for m in said for call in m.get("tool_calls") or ()
        ]
        kept = [
            call["function"]["arguments"]
            for m in json.loads(row.line)["messages"]
            for call in m.get("tool_calls") or ()
        ]
        assert kept == arguments
    assert len(rows) == 40


def test_conversations_that_part_at_a_user_message_make_no_pair(loop, airline):
    with pytest.raises(EmptyHarvest):
        loop.harvest("dpo", agent="airline")


def test_importing_them_again_adds_nothing(loop, airline, tmp_path):
    before = [judged.trace.to_line() for judged in loop.store.all_judged()]
    list(loop.import_file(tmp_path / "airline.jsonl"))
    assert [judged.trace.to_line() for judged in loop.store.all_judged()] == before


def test_they_go_out_and_come_in_again_as_they_were(loop, airline, tmp_path):
    path = tmp_path / "out.jsonl"
    assert loop.export_file(path) == 40
    with Store(f"sqlite:///{tmp_path}/other.db") as other:
        list(import_file(path, other))
        for judged in loop.store.all_judged():
            assert other.judged(judged.trace.id).trace == judged.trace
