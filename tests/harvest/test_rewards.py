"""RFT: tasks whose outcome varies, and the grader that their references call for."""

import pytest

from agentloop import graders
from agentloop.base.records import Judged, Refusal, RFTExample
from agentloop.harvest import Branch, rft
from agentloop.harvest.rewards import grader
from tests.harvest.makers import a_trace, calls, judged, says, system, user
from tests.makers import an_outcome

CONTEXT = (system(), user("cancel 7"))
REFERENCE = {"name": "cancel", "arguments": {"id": "7"}}


def rollouts(*values, reference=REFERENCE, **options):
    (item,) = rft([a_context(*values, reference=reference)], **options)
    return item


def a_context(*values, reference=REFERENCE, refusing=()):
    """What several runs made of one context; those of these numbers without consent."""
    fork = []
    for n, value in enumerate(values):
        one = judged(
            a_trace(*CONTEXT, says(f"{n}"), id=f"t{n}", consent=n not in refusing),
            resolved=value,
            reference=reference,
        )
        fork.append(Branch(one.trace.calls[0], one))
    return fork


def test_a_run_without_consent_is_no_rollout():
    *refused, item = rft([a_context(True, False, True, False, refusing=(0, 1))])
    assert [(r.code, r.traces) for r in refused] == [
        (Refusal.NO_CONSENT, ("t0",)),
        (Refusal.NO_CONSENT, ("t1",)),
    ]
    assert item.traces == ("t2", "t3")
    nothing = rft([a_context(True, False, refusing=(0, 1))])
    assert [r.code for r in nothing] == [Refusal.NO_CONSENT] * 2


def test_a_context_that_passes_now_and_then_is_an_item_with_its_reference():
    item = rollouts(True, False)
    assert isinstance(item, RFTExample)
    assert item.context == CONTEXT
    assert (item.pass_rate, item.rollouts) == (0.5, 2)
    assert item.fields == {"reference_answer": REFERENCE}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ((True, True), Refusal.TOO_EASY),
        ((False, False), Refusal.TOO_HARD),
        ((None, None), Refusal.NO_OUTCOME),
    ],
)
def test_what_has_nothing_to_teach_is_refused(values, code):
    assert rollouts(*values).code is code


def test_the_band_can_be_widened():
    assert isinstance(rollouts(True, True, band=(0.0, 1.0)), RFTExample)


def test_an_unknown_outcome_counts_as_no_rollout():
    item = rollouts(True, False, None)
    assert (item.pass_rate, item.rollouts) == (0.5, 2)


def test_without_a_reference_nothing_can_be_graded():
    assert rollouts(True, False, reference=None).code is Refusal.NO_REFERENCE


def test_a_reference_that_was_known_before_the_outcome_counts():
    fork = []
    for id, value in (("a", True), ("b", False)):
        known = [an_outcome(id, "wanted", None, reference="shipped")]
        said = a_trace(*CONTEXT, says(id), id=id)
        one = Judged(trace=said, outcomes=[*known, an_outcome(id, "resolved", value)])
        fork.append(Branch(said.calls[0], one))
    (item,) = rft([fork])
    assert item.fields == {"reference_answer": "shipped"}


def beside(*outcomes):
    """The item of runs that ended now well, now badly, each with one more outcome."""
    fork = []
    for n, outcome in enumerate(outcomes):
        said = a_trace(*CONTEXT, says(f"{n}"), id=f"t{n}")
        made = [an_outcome(f"t{n}", "resolved", n % 2 == 0, reference=REFERENCE)]
        if outcome is not None:
            made.append(outcome.model_copy(update={"trace_id": f"t{n}"}))
        fork.append(Branch(said.calls[0], Judged(trace=said, outcomes=made)))
    (item,) = rft([fork], outcome="resolved")
    return item


@pytest.mark.parametrize(
    ("outcome", "field"),
    [
        (an_outcome(name="intent", value="refund"), "refund"),
        (an_outcome(name="intent", value=None, reference={"class": 3}), {"class": 3}),
        (an_outcome(name="intent", value=False, reference="refund"), "refund"),
    ],
)
def test_what_other_outcomes_say_of_the_task_are_fields_of_their_names(outcome, field):
    item = beside(outcome, outcome, None)
    assert item.fields == {"reference_answer": REFERENCE, "intent": field}


@pytest.mark.parametrize("value", [0.7, True, None])
def test_the_result_of_a_run_is_no_field_of_the_task(value):
    outcome = an_outcome(name="speed", value=value)
    assert beside(outcome, outcome).fields == {"reference_answer": REFERENCE}


def test_a_label_that_differs_from_run_to_run_is_no_field_of_the_task():
    labels = (an_outcome(name="ended", value=said) for said in ("early", "late"))
    assert beside(*labels).fields == {"reference_answer": REFERENCE}


@pytest.mark.parametrize("name", ["messages", "tools", "reference_answer"])
def test_an_outcome_with_the_name_of_a_key_of_rows_is_refused(name):
    outcome = an_outcome(name=name, value="x")
    refused = beside(outcome, outcome)
    assert (refused.code, refused.detail) == (
        Refusal.RESERVED_NAME,
        f"an outcome is called {name!r}",
    )


def test_a_run_that_was_not_captured_whole_does_not_spoil_the_others():
    fork = []
    for id, value, why in (("a", False, "cut off"), ("b", True, None), ("c", False, None)):
        one = judged(a_trace(*CONTEXT, says(id), id=id), resolved=value, reference=REFERENCE)
        fork.append(Branch(one.trace.calls[0].model_copy(update={"incomplete": why}), one))
    (item,) = rft([fork])
    assert (item.traces, item.pass_rate) == (("b", "c"), 0.5)
    (item,) = rft([fork[:1]])
    assert (item.code, item.detail) == (Refusal.INCOMPLETE, "cut off")


def test_an_outcome_may_be_named():
    assert rollouts(True, False, outcome="resolved").pass_rate == 0.5
    assert rollouts(True, False, outcome="other").code is Refusal.NO_OUTCOME


def test_references_that_contradict_each_other_are_refused():
    fork = []
    for n, name in enumerate(("cancel", "refund")):
        one = judged(
            a_trace(*CONTEXT, says(f"{n}"), id=f"t{n}"),
            resolved=bool(n),
            reference={"name": name, "arguments": {}},
        )
        fork.append(Branch(one.trace.calls[0], one))
    (item,) = rft([fork])
    assert item.code is Refusal.REFERENCES_DIFFER


def reward(reference, message):
    spec = grader([reference])
    with graders.compile(spec) as compiled:
        sample = graders.sample_of(message.to_dict())
        return compiled.grade(sample, {"reference_answer": reference}).reward


def test_a_tool_call_is_graded_by_name_and_by_arguments():
    assert reward(REFERENCE, calls("cancel", '{"id": "7"}')) == 1.0
    assert reward(REFERENCE, calls("cancel", '{"id":"7"}')) == 1.0, "spaces are not meaning"
    assert reward(REFERENCE, calls("cancel", '{"id": "8"}')) == 0.5
    assert reward(REFERENCE, calls("refund", '{"id": "7"}')) == 0.0
    assert reward(REFERENCE, says("Cancelled.")) == 0.0


def test_a_tool_call_without_arguments_is_right_when_it_has_none():
    handoff = {"name": "transfer_to_billing", "arguments": {}}
    assert reward(handoff, calls("transfer_to_billing", "{}")) == 1.0
    assert reward(handoff, calls("transfer_to_billing", '{"x": 1}')) == 0.5


def test_json_is_graded_by_the_share_of_right_fields():
    wanted = {"status": "shipped", "days": 2}
    assert reward(wanted, says('{"status": "shipped", "days": 3}')) == 0.5


def test_a_label_is_graded_by_being_it():
    assert (reward("refund", says("refund")), reward("refund", says("Refund!"))) == (1.0, 0.0)


def test_a_text_is_graded_by_likeness():
    wanted = "Your order was sent on Monday and should be with you soon."
    assert reward(wanted, says(wanted)) == 1.0
    assert 0.0 < reward(wanted, says("Your order was sent on Tuesday.")) < 1.0


def test_a_number_is_graded_by_equality():
    assert (reward(7, says("7")), reward(7, says("8"))) == (1.0, 0.0)


def test_references_of_mixed_kinds_call_for_no_grader():
    assert grader(["a", {"b": 1}]) is None
    assert grader([]) is None
