"""Any text, from the SDK's items to the rows that are trained on, byte for byte."""

import json
from itertools import count

import pytest
from agents import Agent, RunConfig, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from hypothesis import HealthCheck, given, settings

from agentloop.base.records import Judged
from agentloop.base.records.message import verbatim
from agentloop.base.store import Store
from agentloop.capture import items
from agentloop.capture.importers import import_file
from agentloop.capture.importers.chat import to_chat
from tests.base.texts import ODD
from tests.capture.test_items import talks
from tests.makers import DATA, a_trace

numbers = count(1)


@pytest.fixture
def other(tmp_path):
    with Store(f"sqlite:///{tmp_path}/other.db") as opened:
        yield opened


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(talks)
def test_items_become_messages_rows_and_the_same_messages_again(other, tmp_path, talk):
    messages = items.messages(talk, "You help.", chat=True).messages
    trace = a_trace(*messages, id=f"t{next(numbers)}")
    said = [message.to_dict() for message in messages]
    (row,) = to_chat(Judged(trace=trace))
    assert row["messages"] == said
    path = tmp_path / "rows.jsonl"
    path.write_bytes(verbatim(row))
    (item,) = import_file(path, other, format="chat")
    back = other.trace(item.trace.id)
    assert [message.to_dict() for message in back.conversation] == said
    (again,) = to_chat(Judged(trace=back))
    assert again["messages"] == said


def listed():
    """The Big List of Naughty Strings, and ours."""
    path = DATA / "blns" / "blns.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return [*dict.fromkeys(filter(None, json.loads(path.read_text(encoding="utf-8"))))]


def survives(texts, loop, other, tmp_path):
    """Each text as what the user says, a tool is given and returns, the model answers, and the
    name of a user: through runs of the SDK, the store, an export and another store."""
    sent = {}

    @function_tool(strict_mode=False)
    def echo(text: str) -> str:
        return text

    for some in chunks(texts, 40):
        given = [json.dumps({"text": text}, ensure_ascii=False) for text in some]
        asked = [function_call("echo", text, call_id=f"c{n}") for n, text in enumerate(given)]
        answer = "".join(some)
        config = RunConfig(model=ScriptedModel([asked, [assistant_message(answer)]]))
        agent = Agent("support", instructions=answer, tools=[echo])
        said = [{"role": "user", "content": text} for text in some]
        about = {"user": some[0], "tags": dict(zip(some, some, strict=True))}
        result = loop.run_sync(agent, said, run_config=config, **about)
        sent[result.trace_id] = (some, given, answer)
    loop.flush()
    path = tmp_path / "out.jsonl"
    assert loop.export_file(path) == len(sent)
    assert len(list(import_file(path, other))) == len(sent)
    assert list(loop.store.verify()) == list(other.verify()) == []
    for store in (loop.store, other):
        for id, (some, given, answer) in sent.items():
            trace = store.trace(id)
            said = [message.to_dict() for message in trace.conversation]
            texts = [one["content"] for one in said if one["role"] != "assistant"]
            assert texts == [answer, *some, *some]
            calling, answered = (one for one in said if one["role"] == "assistant")
            assert [call["function"]["arguments"] for call in calling["tool_calls"]] == given
            assert answered["content"] == answer
            assert (trace.user, trace.tags) == (some[0], dict(zip(some, some, strict=True)))


def chunks(texts, size):
    return [texts[n : n + size] for n in range(0, len(texts), size)]


def test_odd_texts_survive_a_run_the_store_and_an_export(
    loop, other, tmp_path, event_loop_of_its_own
):
    texts = [text for text in ODD if text and not any("\ud800" <= c <= "\udfff" for c in text)]
    survives(texts, loop, other, tmp_path)


def test_every_naughty_string_survives_a_run_the_store_and_an_export(
    loop, other, tmp_path, event_loop_of_its_own
):
    survives(listed(), loop, other, tmp_path)
