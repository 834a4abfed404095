"""SFT: which paths are imitated, what of them is masked, and why others are refused."""

import pytest

from agentloop.base.records import Message, Refusal, SFTExample, SpanKind, Turns
from agentloop.harvest import sft
from tests.harvest.makers import (
    TOOL,
    a_trace,
    an_opinion,
    calls,
    judged,
    returns,
    says,
    system,
    user,
)
from tests.makers import a_span, message

HANDOFF = {"type": "function", "function": {"name": "transfer_to_billing", "parameters": {}}}
TALK = (system(), user("where is 1?"), calls(), returns(), says("Here."))


def harvest(*traces, agents=("support",), **knobs):
    return list(sft(traces, agents=agents, **knobs))


def codes(found):
    return [item.code for item in found if not isinstance(item, SFTExample)]


def test_a_good_path_is_one_example_from_the_root_to_the_last_answer():
    (example,) = harvest(judged(a_trace(*TALK), 1.0))
    assert (*example.context, example.output) == TALK
    assert (example.tools, example.weights, example.calls) == ((TOOL,), (1,), ("t1/0", "t1/1"))


def test_a_trajectory_that_ends_with_the_user_is_trimmed_after_the_last_answer():
    (example,) = harvest(judged(a_trace(*TALK, user("thanks")), 1.0))
    assert (*example.context, example.output) == TALK


def test_a_path_below_good_is_refused_with_its_score():
    (refused,) = harvest(judged(a_trace(*TALK), 0.5))
    assert (refused.code, refused.detail) == (Refusal.NOT_GOOD, "score 0.50 < 0.80")
    assert len(harvest(judged(a_trace(*TALK), 0.5), good=0.0)) == 1


def test_a_path_that_nobody_judged_is_refused():
    assert codes(harvest(judged(a_trace(*TALK)))) == [Refusal.NOT_JUDGED]


def test_a_correction_is_learned_whatever_the_score():
    trace = a_trace(*TALK)
    said = an_opinion(trace, correction="It ships tomorrow.", call="t1/1")
    (example,) = harvest(judged(trace, said, 0.0))
    assert example.output == says("It ships tomorrow.")
    assert example.producers == ("person:ann",)
    assert example.weights == (0,), "the turns before it were not good"


def test_the_turns_before_a_correction_are_learned_when_the_run_was_good():
    trace = a_trace(*TALK)
    said = an_opinion(trace, correction="It ships tomorrow.", call="t1/1")
    (example,) = harvest(judged(trace, said, resolved=True))
    assert example.weights == (1,)


def test_a_bad_verdict_on_the_corrected_turn_alone_masks_no_other():
    trace = a_trace(*TALK)
    thumb = an_opinion(trace, score=0.0, call="t1/1")
    said = an_opinion(trace, correction="Tomorrow.", call="t1/1").model_copy(update={"id": "c"})
    (example,) = harvest(judged(trace, thumb, said, resolved=True))
    assert (example.output, example.weights) == (says("Tomorrow."), (1,))


def test_a_corrected_turn_in_the_middle_gives_a_row_and_is_masked_in_the_other():
    trace = a_trace(*TALK)
    right = calls(arguments='{"id": 2}')
    said = an_opinion(trace, correction=right, call="t1/0")
    fixed, whole = harvest(judged(trace, said, resolved=True))
    assert (fixed.context, fixed.output) == (TALK[:2], right)
    assert (whole.weights, whole.output) == ((0,), says("Here."))


def test_a_turn_that_was_judged_bad_is_masked_in_a_good_path():
    trace = a_trace(*TALK)
    bad_turn = an_opinion(trace, score=0.0, call="t1/0")
    (example,) = harvest(judged(trace, bad_turn, resolved=True))
    assert example.weights == (0,)


def test_what_was_said_in_earlier_runs_is_context_and_not_learned_again():
    trace = a_trace(system(), user("hi"), says("old"), user("and?"), says("new"))
    only_new = trace.model_copy(update={"calls": trace.calls[1:]})
    (example,) = harvest(judged(only_new, 1.0))
    assert (example.weights, example.output) == ((0,), says("new"))


def test_a_handoff_makes_two_rows_and_none_mixes_two_agents():
    tools = (TOOL, HANDOFF)
    first = a_trace(
        system("triage"), user("refund"), calls("transfer_to_billing", "{}"), tools=tools
    )
    second = a_trace(
        system("billing"),
        user("refund"),
        calls("transfer_to_billing", "{}"),
        returns('{"assistant": "billing"}'),
        says("Refunded."),
        agent="billing",
        tools=(),
    )
    handed = first.model_copy(update={"calls": (*first.calls, second.calls[1])})
    triage, billing = harvest(judged(handed, 1.0), agents=("support", "billing"))
    assert [m.text for m in triage.context] == ["triage", "refund"]
    assert (billing.weights, billing.output) == ((0,), says("Refunded."))
    assert [e.context for e in harvest(judged(handed, 1.0))] == [triage.context]


def test_a_run_that_failed_is_never_imitated():
    failed = a_trace(*TALK, error="ValueError: boom")
    assert codes(harvest(judged(failed, 1.0))) == [Refusal.RUN_FAILED]


def test_an_incomplete_call_makes_no_row():
    trace = a_trace(*TALK)
    last = trace.calls[-1].model_copy(update={"incomplete": "only the delta was sent"})
    trace = trace.model_copy(update={"calls": (*trace.calls[:-1], last)})
    (refused,) = harvest(judged(trace, 1.0))
    assert (refused.code, refused.detail) == (Refusal.INCOMPLETE, "only the delta was sent")


def test_runs_to_measure_with_are_never_learned():
    assert codes(harvest(judged(a_trace(*TALK, held_out=True), 1.0))) == [Refusal.HELD_OUT]


def test_a_condition_selects_traces():
    found = harvest(judged(a_trace(*TALK), 1.0), where=lambda j: j.trace.id != "t1")
    assert codes(found) == [Refusal.FILTERED]


def test_an_unanswered_request_gives_nothing():
    trace = a_trace(system(), user("hi"))
    assert codes(harvest(judged(trace, 1.0))) == [Refusal.NO_ANSWER]


def test_parallel_agents_do_not_hide_each_other():
    one = a_trace(system("a"), user("x"), says("1"))
    other = a_trace(system("b"), user("x"), says("2")).calls[0]
    both = one.model_copy(update={"calls": (*one.calls, other.model_copy(update={"id": "t1/9"}))})
    assert [e.output for e in harvest(judged(both, 1.0))] == [says("1"), says("2")]


def test_a_message_keeps_what_we_do_not_know():
    odd = Message.model_validate({"role": "assistant", "content": "x", "annotations": []})
    (example,) = harvest(judged(a_trace(system(), user("hi"), odd), 1.0))
    assert example.output.to_dict() == {"role": "assistant", "content": "x", "annotations": []}


def test_a_run_without_consent_is_refused_with_what_to_do_and_its_correction_too():
    trace = a_trace(*TALK, consent=False)
    said = an_opinion(trace, correction="It ships tomorrow.", call="t1/1")
    (refused,) = harvest(judged(trace, said, 1.0))
    assert refused.code is Refusal.NO_CONSENT
    assert "consent=True" in refused.code.sentence


def masked(trace, *opinions, **knobs):
    """The weights of the row that a good trace gives, and what it ends with."""
    (example,) = harvest(judged(trace, *opinions, resolved=True), **knobs)
    return example.weights, example.output


FAILURES = [
    "An error occurred while running the tool. Please try again.",
    "An error occurred while running the tool. Please try again. Error: no such order",
    "Tool 'find' timed out after 0.05 seconds.",
    "Tool 'find' not found.",
    '{"isError": true, "content": []}',
]
IN_OTHER_WORDS = [
    "Error: there is no order 7",
    '{"error": "there is no order 7"}',
    '{"error": {"code": 404}}',
    '{"error": true}',
]
FINE = [
    "found",
    "The error: none",
    '{"error": null, "order": 7}',
    '{"error": 0.25, "rate": 3}',
    '{"order": {"error": "a field of the order"}}',
    '{"error": "half',
    '["error"]',
    "Tool 'hammer' is in stock.",
]


@pytest.mark.parametrize("told", FAILURES)
def test_a_turn_whose_tool_call_failed_is_masked_and_the_rest_is_learned(told):
    again = (calls(id="c2"), returns("found", id="c2"), says("Here."))
    trace = a_trace(system(), user("where is 1?"), calls(), returns(told), *again)
    assert masked(trace) == ((0, 1), says("Here."))


@pytest.mark.parametrize("told", IN_OTHER_WORDS)
def test_what_a_tool_says_of_an_error_in_its_own_words_masks_on_request(told):
    trace = a_trace(system(), user("where is 1?"), calls(), returns(told), says("Here."))
    assert masked(trace) == ((1,), says("Here."))
    assert masked(trace, mask_errors=True) == ((0,), says("Here."))


@pytest.mark.parametrize("told", FINE)
def test_a_tools_answer_that_only_speaks_of_errors_masks_nothing(told):
    trace = a_trace(system(), user("where is 1?"), calls(), returns(told), says("Here."))
    assert masked(trace, mask_errors=True) == ((1,), says("Here."))


@pytest.mark.parametrize("mark", [{"is_error": True}, {"error": True}, {"status": "error"}])
def test_a_tools_answer_that_is_marked_as_an_error_masks_the_turn(mark):
    told = message("tool", "no", tool_call_id="c1", **mark)
    assert masked(a_trace(*TALK[:3], told, says("Here."))) == ((0,), says("Here."))


def test_one_failed_call_of_several_masks_the_turn():
    both = message(
        "assistant", None, tool_calls=[calls(id=id).calls[0].to_dict() for id in ("c1", "c2")]
    )
    answers = (returns("found"), returns('{"isError": true}', id="c2"))
    assert masked(a_trace(system(), user(), both, *answers, says("Here."))) == ((0,), says("Here."))


def failed_step(**fields):
    data = {"input": '{"id": 1}', "output": "it said kaput"}
    given = {"kind": SpanKind.TOOL, "name": "find", "data": data, "error": {"message": "kaput"}}
    return a_span(**(given | fields))


def test_of_a_failure_in_the_users_own_words_the_step_tells():
    said = (*TALK[:3], returns("it said kaput"), says("Here."))
    assert masked(a_trace(*said, spans=[failed_step()])) == ((0,), says("Here."))
    assert masked(a_trace(*said, spans=[failed_step(error=None)])) == ((1,), says("Here."))
    assert masked(a_trace(*said, spans=[failed_step(name="other")])) == ((1,), says("Here."))


def test_the_same_call_that_failed_first_and_went_well_then_is_masked_once():
    again = (calls(id="c2"), returns("found", id="c2"), says("Here."))
    trace = a_trace(*TALK[:3], returns("it said kaput"), *again, spans=[failed_step()])
    assert masked(trace) == ((0, 1), says("Here."))


def test_a_call_of_a_tool_that_the_agent_does_not_have_is_masked():
    said = (system(), user(), calls("transfer_to_billing", "{}"), returns(), says("Here."))
    assert masked(a_trace(*said)) == ((0,), says("Here."))
    assert masked(a_trace(*said, tools=(TOOL, HANDOFF))) == ((1,), says("Here."))


def test_a_trace_whose_source_does_not_say_what_tools_there_were_is_learned_whole():
    said = (system(), user(), calls(), returns(), says("Here."))
    assert masked(a_trace(*said, tools=(), source="chat")) == ((1,), says("Here."))
    assert masked(a_trace(*said, tools=(), source="sdk")) == ((0,), says("Here."))


def test_a_path_ends_with_the_last_turn_that_is_learned():
    trace = a_trace(*TALK, user("more"), calls(id="c2"), returns(FAILURES[0], id="c2"))
    (example,) = harvest(judged(trace, 1.0))
    assert (example.output, example.weights, example.calls[-1]) == (says("Here."), (1,), "t1/1")


def test_a_path_of_which_nothing_is_learned_is_refused_with_the_reason():
    trace = a_trace(system(), user(), calls("nope"))
    (refused,) = harvest(judged(trace, 1.0))
    assert refused.code is Refusal.NOTHING_TO_LEARN
    assert refused.detail == "it calls 'nope', and the agent has no such tool"


def test_a_correction_that_calls_a_tool_that_the_agent_does_not_have_is_refused():
    trace = a_trace(*TALK)
    said = an_opinion(trace, correction=calls("nope"), call="t1/0")
    (refused,) = [r for r in harvest(judged(trace, said, 0.0)) if r.call == "t1/0"]
    assert (refused.code, refused.detail) == (
        Refusal.UNKNOWN_TOOL,
        "'nope' is not among its tools",
    )


def test_of_the_last_turn_alone_all_before_it_is_masked():
    two = (*TALK, user("thanks"), says("Bye."))
    assert masked(a_trace(*two), turns=Turns.LAST) == ((0, 0), says("Bye."))
    assert masked(a_trace(*TALK[:3]), turns=Turns.LAST) == ((), calls())


def test_the_last_turn_alone_is_refused_when_it_is_no_example():
    trace = a_trace(*TALK, user("more"), calls("nope", id="c2"))
    assert codes(harvest(judged(trace, 1.0), turns=Turns.LAST)) == [Refusal.NOTHING_TO_LEARN]


def test_the_final_answer_alone_is_learned_where_the_run_ended_with_one():
    assert masked(a_trace(*TALK), turns=Turns.FINAL) == ((0,), says("Here."))
    (refused,) = harvest(judged(a_trace(*TALK[:3]), 1.0), turns=Turns.FINAL)
    assert (refused.code, refused.detail) == (Refusal.NOT_FINAL, "it calls a tool")


def test_the_answer_of_an_agent_that_another_one_asked_is_not_the_final_answer():
    asked = a_trace(system("a"), user("x"), says("1"), agent="expert")
    final = a_trace(system("b"), user("x"), says("2")).calls[0].model_copy(update={"id": "t1/9"})
    both = asked.model_copy(update={"calls": (*asked.calls, final)})
    agents = ("support", "expert")
    refused, example = harvest(judged(both, 1.0), agents=agents, turns=Turns.FINAL)
    assert (refused.code, refused.detail) == (Refusal.NOT_FINAL, "the run went on after it")
    assert example.output == says("2")


def test_a_correction_in_the_middle_of_a_run_is_no_final_answer():
    trace = a_trace(*TALK)
    said = an_opinion(trace, correction=calls(arguments='{"id": 2}'), call="t1/0")
    found = harvest(judged(trace, said, resolved=True), turns=Turns.FINAL)
    assert codes(found) == [Refusal.NOT_FINAL]
    assert [e.output for e in found if isinstance(e, SFTExample)] == [says("Here.")]


def test_the_producers_of_a_row_are_those_of_the_turns_that_are_learned():
    trace = a_trace(*TALK)
    first = trace.calls[0].model_copy(update={"served_model": "other"})
    trace = trace.model_copy(update={"calls": (first, trace.calls[1])})
    (example,) = harvest(judged(trace, 1.0))
    assert example.producers == ("m", "other")
    (example,) = harvest(judged(trace, 1.0), turns=Turns.LAST)
    assert example.producers == ("m",)
    said = an_opinion(trace, correction="Tomorrow.", call="t1/1")
    (example,) = harvest(judged(trace, said, resolved=True))
    assert example.producers == ("other", "person:ann")
