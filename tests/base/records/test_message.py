"""Messages come back as they went in; tool-call ids say nothing, and are not lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.records import Message
from agentloop.base.records.message import canonical, digest, node_id, renumber, restore, verbatim
from tests.base.texts import ODD, json_values, texts
from tests.makers import asks, calls, returns, says, system, user

ids = st.sampled_from(["a", "b", "call_1", "call_2", "call_10", ""])
arguments = st.sampled_from(["{}", '{"id": 1}', '{ "id":1 }', "not json"])
made = st.one_of(
    st.builds(user, texts),
    st.builds(says, texts),
    st.builds(returns, texts, ids),
    st.lists(st.tuples(st.just("f"), arguments, ids), min_size=1, max_size=3).map(
        lambda asked: calls(*asked)
    ),
)
conversations = st.lists(made, max_size=8)
keys = st.sampled_from(["content", "name", "refusal", "tool_calls", "x", "weight"])
wild = st.dictionaries(keys.filter(lambda k: k not in ("content", "tool_calls")), json_values)


def said(messages):
    return [message.to_dict() for message in messages]


@given(conversations)
def test_restore_gives_back_what_renumber_took(conversation):
    renamed, kept = renumber(conversation)
    assert verbatim(said(restore(said(renamed), kept))) == verbatim(said(conversation))


@given(conversations)
def test_ids_are_numbered_in_the_order_they_appear(conversation):
    renamed, kept = renumber(conversation)
    seen = [c.id for m in renamed for c in m.calls] + [
        m.tool_call_id for m in renamed if m.tool_call_id is not None
    ]
    assert set(seen) == {f"call_{n}" for n in range(1, len(kept) + 1)}


@given(conversations)
def test_renumbering_twice_changes_nothing(conversation):
    renamed, _ = renumber(conversation)
    assert renumber(renamed).messages == renamed


@given(conversations, st.integers(0, 8))
def test_a_prefix_is_numbered_as_in_the_whole(conversation, length):
    whole, _ = renumber(conversation)
    part, _ = renumber(conversation[:length])
    assert part == whole[:length]


def test_two_runs_that_differ_in_ids_alone_are_the_same_path():
    one = renumber([user(), asks(id="x9"), returns(id="x9")])
    other = renumber([user(), asks(id="toolu_1"), returns(id="toolu_1")])
    assert one.messages == other.messages
    assert (one.ids, other.ids) == (("x9",), ("toolu_1",))


def test_an_id_that_is_used_again_names_a_new_call():
    renamed, kept = renumber([asks(id="a"), returns(id="a"), asks(id="a"), returns(id="a")])
    assert [m.tool_call_id or m.calls[0].id for m in renamed] == ["call_1"] * 2 + ["call_2"] * 2
    assert kept == ("a", "a")


def test_an_answer_without_a_call_keeps_its_id():
    renamed, kept = renumber([user(), returns(id="nobody")])
    assert renamed[1].tool_call_id == "call_1"
    assert [*restore(said(renamed), kept)][1].tool_call_id == "nobody"


@given(wild, st.sampled_from(["absent", None, "", "hi"]))
def test_absent_stays_absent_and_null_stays_null(more, content):
    body = {"role": "assistant", **({} if content == "absent" else {"content": content}), **more}
    message = Message.model_validate(body)
    assert message.to_dict() == body
    assert message.model_dump(exclude_none=True) == body
    assert Message.of_json(verbatim(body).decode()) == message


def test_a_null_and_an_absent_key_are_two_things():
    null, absent = Message(role="assistant", content=None), Message(role="assistant")
    assert null != absent
    assert digest(canonical(null.to_dict())) != digest(canonical(absent.to_dict()))


def test_unknown_keys_of_tool_calls_come_back_too():
    body = asks().to_dict()
    body["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": None}}
    body["tool_calls"][0]["index"] = 0
    del body["tool_calls"][0]["type"]
    assert Message.model_validate(body).to_dict() == body


def test_what_to_dict_gives_can_be_changed_without_changing_the_message():
    message = user([{"type": "text", "text": "a"}])
    message.to_dict()["content"][0]["text"] = "b"
    assert message.text == "a"


@pytest.mark.parametrize(
    ("content", "text"),
    [("a", "a"), (None, ""), ([{"type": "text", "text": "a"}, {"type": "x"}], "a")],
)
def test_the_text_of_a_message(content, text):
    assert user(content).text == text


@given(json_values)
def test_equal_values_have_equal_canonical_bytes(value):
    def shuffled(value):
        if isinstance(value, dict):
            return {k: shuffled(v) for k, v in reversed(value.items())}
        return [shuffled(v) for v in value] if isinstance(value, list) else value

    assert canonical(value) == canonical(shuffled(value))
    assert json.loads(verbatim(value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize("text", ODD)
def test_a_hash_takes_any_text(text):
    assert len(digest(canonical(says(text).to_dict()))) == 32


def test_a_digest_tells_its_parts_apart():
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


def test_a_node_is_where_a_message_stands_and_what_it_says():
    hello = digest(canonical(system().to_dict()))
    assert node_id("", hello) != node_id(node_id("", hello), hello)
