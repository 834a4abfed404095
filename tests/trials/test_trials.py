"""Trials: who meets which arm, what is counted, and what may be said."""

import pytest

from agentloop.base.errors import ConfigError
from agentloop.base.records import Interval, Pairs, Tally, Trial, now
from agentloop.trials import Counts, arm, begin, count, verdict
from tests.harvest.makers import a_trace, judged, says, system, user

TRIAL = Trial(
    id="trial_1",
    agents=("support",),
    candidate="v2",
    control=None,
    share=0.3,
    metric="resolved",
    started_at=now(),
)


def arms(trial, n=4_000):
    return {f"u{k}": arm(trial, f"u{k}") for k in range(n)}


def test_a_unit_always_meets_the_same_arm():
    assert arms(TRIAL) == arms(TRIAL.model_copy())


def test_the_candidate_serves_about_its_share():
    served = sum(side == "candidate" for side in arms(TRIAL).values())
    assert 0.27 < served / 4_000 < 0.33


def test_a_growing_share_takes_units_along_and_gives_none_back():
    few, many = arms(TRIAL), arms(TRIAL.model_copy(update={"share": 0.6}))
    assert all(many[unit] == "candidate" for unit, side in few.items() if side == "candidate")


def test_trials_are_independent_of_each_other():
    one, two = arms(TRIAL), arms(TRIAL.model_copy(update={"id": "trial_2"}))
    both = sum(one[unit] == two[unit] == "candidate" for unit in one)
    assert 0.06 < both / 4_000 < 0.12


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.1])
def test_a_share_of_all_or_nothing_is_no_trial(share):
    with pytest.raises(ConfigError, match=str(share)):
        begin(("a",), candidate="v", control=None, share=share, metric="score", running=())


def test_a_version_is_not_compared_with_itself():
    with pytest.raises(ConfigError, match="'v' would be compared with itself"):
        begin(("a",), candidate="v", control="v", share=0.5, metric="score", running=())


def test_an_agent_is_in_one_trial_at_a_time():
    with pytest.raises(ConfigError, match="trial_1"):
        begin(
            ("support", "billing"),
            candidate="v",
            control=None,
            share=0.5,
            metric="score",
            running=(TRIAL,),
        )


def a_run(n, side, resolved, user_id):
    trace = a_trace(
        system(), user("hi"), says("x"), id=f"r{n}", trial="trial_1", arm=side, user=user_id
    )
    return judged(trace, resolved=resolved)


def test_units_are_counted_and_not_requests():
    runs = [a_run(n, "control", n < 5, "u1") for n in range(10)]
    runs.append(a_run(99, "control", True, "u2"))
    assert count(runs, metric="resolved").control == Tally(1.5, 2)


def test_an_unknown_outcome_is_in_neither_tally():
    runs = [a_run(1, "candidate", None, "u1"), a_run(2, "candidate", True, "u2")]
    counts = count(runs, metric="resolved")
    assert (counts.candidate, counts.unknown) == (Tally(1, 1), 1)


def test_runs_outside_the_trial_do_not_count():
    runs = [a_run(1, None, True, "u1")]
    assert count(runs, metric="resolved") == Counts(Tally(0, 0), Tally(0, 0), 0)


@pytest.mark.parametrize(
    ("control", "candidate", "says"),
    [
        ((45, 100), (80, 100), "better"),
        ((80, 100), (45, 100), "worse"),
        ((50, 100), (55, 100), "cannot tell yet"),
        ((0, 0), (0, 0), "cannot tell yet"),
    ],
)
def test_a_verdict_says_what_the_interval_says(control, candidate, says):
    found = verdict(TRIAL, Counts(Tally(*control), Tally(*candidate), 0))
    assert found.says == says
    assert found.difference in found.interval


def test_an_interval_of_nothing_is_everything():
    assert Tally(0, 0).interval() == Interval(0.0, 1.0)
    assert Pairs(0, 0, 0, 0).interval() == Interval(-1.0, 1.0)


@pytest.mark.parametrize("pairs", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (5, 0, 0, 5)])
def test_a_paired_interval_holds_its_difference_at_the_edges(pairs):
    low, high = Pairs(*pairs).interval()
    assert -1.0 <= low <= Pairs(*pairs).difference <= high <= 1.0
