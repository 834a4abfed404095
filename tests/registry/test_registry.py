"""Versions, aliases and gates: what may go live, what is, and what was."""

import pytest

from agentloop.base.errors import TransitionError
from agentloop.base.records import Outcome, State, now
from agentloop.registry import gate, live, of_job, rollback, swap
from tests.harvest.makers import a_trace, judged, says, system, user
from tests.jobs.test_openai import a_record


def moved(*versions, back=0):
    moves = [swap("support", version) for version in versions]
    for _ in range(back):
        moves.append(rollback("support", moves))
    return moves


def test_the_last_move_says_what_is_live():
    assert live([]) is None
    assert live(moved("v1", "v2")) == "v2"


def test_a_rollback_makes_live_what_was_live_before():
    assert live(moved("v1", "v2", back=1)) == "v1"
    assert live(moved("v1", "v2", back=2)) is None


def test_after_a_rollback_a_swap_goes_forward_again():
    moves = moved("v1", "v2", back=1)
    moves.append(swap("support", "v2"))
    assert (live(moves), live([*moves, rollback("support", moves)])) == ("v2", "v1")


def test_the_same_version_twice_is_one_step():
    assert live(moved("v1", "v1", back=1)) is None


def test_there_is_no_way_back_from_the_beginning():
    with pytest.raises(TransitionError, match="on its own model"):
        rollback("support", [])
    with pytest.raises(TransitionError, match="on its own model"):
        rollback("support", moved("v1", back=1))


def test_a_job_that_succeeded_is_a_version_and_always_the_same():
    job = a_record(id="job_7").advance(State.SUCCEEDED, tuned_model="ft:x")
    version = of_job(job, base_url="http://x/v1", api="chat")
    assert (version.id, version.model, version.job) == ("v_7", "ft:x", "job_7")
    assert (version.dataset, version.dataset_sha) == ("sft-1", "abc")


def test_a_job_that_did_not_succeed_is_no_version():
    failed = a_record().advance(State.FAILED, error="Example 3 …")
    with pytest.raises(TransitionError, match=r"'failed': Example 3"):
        of_job(failed, base_url="http://x/v1", api="chat")


def runs(results, metric="resolved", error=None):
    made = []
    for task, value in results.items():
        trace = a_trace(
            system(), user("hi"), says("x"), id=f"{metric}-{task}", task_id=task, error=error
        )
        one = judged(trace)
        outcome = Outcome(trace_id=trace.id, name=metric, value=value, recorded_at=now())
        made.append(one.model_copy(update={"outcomes": (outcome,)}))
    return made


def results(n, good):
    return {f"task-{k}": k < good for k in range(n)}


def gated(ours, theirs, **options):
    return gate("v2", "v1", runs(ours), runs(theirs), improves="resolved", **options)


def test_a_gate_opens_for_what_is_clearly_better_on_the_same_tasks():
    verdict = gated(results(100, 80), results(100, 45))
    assert verdict.open
    (figure,) = verdict.figures
    assert figure.difference == pytest.approx(0.35)
    assert figure.interval.low > 0.2
    assert figure.pairs == (45, 35, 0, 20)


def test_a_gate_stays_closed_for_what_may_be_luck():
    verdict = gated(results(100, 52), results(100, 50))
    assert not verdict.open
    assert verdict.reasons[0].startswith("not clearly better: resolved 0.520 against 0.500 on 100")


def test_a_gate_stays_closed_when_something_else_got_lost():
    ours, theirs = runs(results(100, 90)), runs(results(100, 50))
    for one, n in ((ours, 60), (theirs, 90)):
        for k, liked in enumerate(runs(results(100, n), metric="liked")):
            one[k] = one[k].model_copy(update={"outcomes": (*one[k].outcomes, *liked.outcomes)})
    verdict = gate("v2", "v1", ours, theirs, improves="resolved", keeps={"liked": 0.02})
    assert not verdict.open
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["lost more than 0.020"]


def test_a_gate_wants_enough_tasks_that_both_versions_tried():
    verdict = gated(results(100, 90), {f"other-{k}": False for k in range(100)})
    assert verdict.reasons[0].startswith("resolved is known of 0 held-out tasks for both versions")


def test_of_several_runs_of_a_task_the_latest_counts():
    verdict = gate(
        "v2",
        None,
        [*runs(results(40, 0)), *runs(results(40, 40))],
        runs(results(40, 10)),
        improves="resolved",
    )
    assert verdict.figures[0].version.rate == 1.0


def test_a_run_that_failed_went_badly_and_an_unknown_outcome_is_left_out():
    failed = runs(dict.fromkeys(results(40, 0)), error="boom")
    unknown = runs(dict.fromkeys(results(40, 0)))
    verdict = gate("v2", None, failed, runs(results(40, 40)), improves="resolved")
    assert verdict.figures[0].version == (0, 40)
    verdict = gate("v2", None, unknown, runs(results(40, 40)), improves="resolved")
    assert verdict.figures[0].version == (0, 0)
