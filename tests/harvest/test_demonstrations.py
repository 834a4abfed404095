"""SFT: which paths are imitated, what of them is masked, and why others are refused."""

from agentloop.base.records import Message, Refusal, SFTExample
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
    first = a_trace(system("triage"), user("refund"), calls("transfer_to_billing", "{}"))
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
