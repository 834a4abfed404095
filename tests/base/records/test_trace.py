"""A trace as a conversation: what it holds, and where it ends."""

from agentloop.base.records import Message
from tests.makers import a_call, a_trace, asks, returns, says, system, user


def test_a_conversation_is_the_last_call_and_what_came_after_it():
    said = (system(), user(), asks(), returns(), says(), user("bye"))
    assert a_trace(*said).conversation == said
    assert a_trace(user(), user()).conversation == (user(), user())


def test_a_call_that_a_later_one_carries_is_no_leaf():
    trace = a_trace(system(), user(), asks(), returns(), says())
    assert [call.index for call in trace.leaves] == [1]


def test_a_handoff_starts_another_path():
    support = a_call(system("s"), user(), asks("transfer_to_billing"), index=0)
    billing = a_call(
        system("b"),
        user(),
        asks("transfer_to_billing"),
        returns(),
        says(),
        index=1,
        agent="billing",
    )
    trace = a_trace(calls=(support, billing))
    assert trace.leaves == (support, billing)


def test_a_call_that_failed_is_a_leaf_unless_its_context_went_on():
    failed = a_call(system(), user(), index=0, output=False)
    again = a_call(system(), user(), says(), index=1)
    assert a_trace(calls=(failed, again)).leaves == (again,)
    assert a_trace(calls=(failed,)).leaves == (failed,)


def test_the_answer_is_what_was_said_last():
    failed = a_call(system(), user(), index=1, output=False)
    assert a_trace(calls=(a_call(), failed)).answer == "hello"
    assert a_trace(user()).answer is None


def test_a_null_and_an_absent_content_are_different_paths():
    asked = asks()
    bare = Message.model_validate(
        {"role": "assistant", "tool_calls": asked.to_dict()["tool_calls"]}
    )
    assert not a_call(user(), bare, returns(), says()).carries((user(), asked))


def test_a_split_keeps_together_the_user_else_the_session_else_the_task_else_the_run():
    for fields, unit in (
        ({"user": "u", "session": "s", "task_id": "t"}, "u"),
        ({"session": "s", "task_id": "t"}, "s"),
        ({"task_id": "t"}, "t"),
        ({}, "id"),
    ):
        assert a_trace(id="id", **fields).unit == unit


def test_a_trial_assigns_the_user_else_the_session_else_the_run():
    assert a_trace(id="id", task_id="t").assigned_by == "id"
    assert a_trace(id="id", session="s").assigned_by == "s"
    assert a_trace(id="id", session="s", user="u").assigned_by == "u"
