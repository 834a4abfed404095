"""Calibration: what a grader and people have in common, and what that says."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop import graders
from agentloop.base.errors import ConfigError, GraderError
from agentloop.graders import Address, Rated, calibrate, sample_of
from agentloop.graders.calibration import Counts, spearman

from .makers import multi, python, score_model, string_check
from .servers import judged

ANSWERS = (
    sample_of({"role": "assistant", "content": "yes"}),
    sample_of({"role": "assistant", "content": "no"}),
)


def rated(good, reward, n=1):
    """`n` answers that people settled at `good` and the grader `ITS_OWN` at `reward`."""
    return [Rated(f"t{good}-{reward}-{k}", ANSWERS[0], {"reward": reward}, good) for k in range(n)]


ITS_OWN = python("return item['reward']")


def found(answers, spec=ITS_OWN, **said):
    with graders.compile(spec) as grader:
        return calibrate(grader, answers, **said)


# ------------------------------------------------------------------------------- what it says


def test_a_grader_that_says_what_people_say_agrees():
    told = found([*rated(1.0, 0.9, 30), *rated(0.0, 0.1, 30)])
    assert told.says == "agrees"
    assert told.counts == Counts(both=30, grader=0, people=0, neither=30)
    assert (told.accuracy.value, told.kappa.value, told.spearman.value) == (1.0, 1.0, 1.0)
    assert told.kappa.low > 0.6
    assert told.apart == ()
    assert "agentloop tune" in told.next


def test_a_grader_that_says_the_opposite_disagrees():
    told = found([*rated(1.0, 0.1, 30), *rated(0.0, 0.9, 30)])
    assert told.says == "disagrees"
    assert told.kappa.value == pytest.approx(-1.0)
    assert told.spearman.value == -1.0
    assert "do not train with it" in told.next


def test_a_grader_that_likes_all_is_no_better_than_chance_however_often_it_is_right():
    told = found([*rated(1.0, 1.0, 90), *rated(0.0, 1.0, 10)])
    assert told.accuracy.value == 0.9
    assert told.kappa.value == 0.0
    assert told.spearman is None
    assert told.says == "disagrees"
    assert told.found == ("it gives all answers the same reward, 1: nothing is learned of it",)


def test_where_few_answers_cannot_tell_it_says_how_many_more_would():
    told = found([*rated(1.0, 0.9, 9), *rated(0.0, 0.1, 9), *rated(0.0, 0.9), *rated(1.0, 0.1)])
    assert told.says == "cannot tell yet"
    assert told.kappa.low < 0.6 < told.kappa.value
    more = int(re.search(r"about (\d+) more tell", told.next)[1])
    k = math.ceil((20 + more) / 20)
    again = [*rated(1.0, 0.9, 9 * k), *rated(0.0, 0.1, 9 * k)]
    assert found([*again, *rated(0.0, 0.9, k), *rated(1.0, 0.1, k)]).says == "agrees"


def test_where_it_errs_and_which_way_is_named():
    told = found(
        [
            *rated(1.0, 0.9, 30),
            *rated(0.0, 0.1, 30),
            *rated(0.0, 0.6, 3),
            *rated(0.0, 1.0, 2),
            *rated(1.0, 0.4),
        ]
    )
    (errs,) = told.found
    assert errs == (
        "of 35 answers that people reject it passes 5, of 31 that they like it rejects 1 "
        "(pass mark 0.5)"
    )
    assert [one.reward for one in told.apart] == [1.0, 1.0, 0.6, 0.6, 0.6]


def test_a_pass_mark_that_suits_better_is_said_and_not_taken():
    told = found([*rated(1.0, 0.4, 20), *rated(0.0, 0.1, 20)])
    assert told.counts == Counts(both=0, grader=0, people=20, neither=20)
    assert told.better == 0.4
    assert "at a pass mark of 0.4" in told.found[1]
    assert found([*rated(1.0, 0.4, 20), *rated(0.0, 0.1, 20)], passes=0.4).says == "agrees"


def test_the_pass_mark_is_the_graders_own():
    answers = [*rated(1.0, 3.0, 20), *rated(0.0, 1.0, 20)]
    assert found(answers).passes == 0.5
    assert found(answers, {**ITS_OWN, "pass_threshold": 2}).passes == 2
    assert found(answers, {**ITS_OWN, "pass_threshold": 2}, passes=3).passes == 3


def test_what_counts_as_good_is_the_callers_to_say():
    answers = [*rated(0.7, 1.0, 20), *rated(0.2, 0.0, 20)]
    assert found(answers).counts is None
    assert found(answers, good=0.5).says == "agrees"


# ------------------------------------------------------------------------------- too little known


@pytest.mark.parametrize(
    ("good", "bad", "lack"),
    [
        (0, 0, "0 answers with a verdict of a person are known, and 20 are needed"),
        (10, 9, "19 answers with a verdict of a person are known, and 20 are needed"),
        (30, 4, "of 34 answers people find 30 good and 4 bad; 5 of each are needed"),
        (4, 30, "of 34 answers people find 4 good and 30 bad; 5 of each are needed"),
    ],
)
def test_where_too_little_is_known_it_says_what_is_missing_and_grades_nothing(
    good, bad, lack, monkeypatch
):
    with graders.compile(ITS_OWN) as grader:
        monkeypatch.setattr(grader, "grade_many", None)
        told = calibrate(grader, [*rated(1.0, 1.0, good), *rated(0.0, 0.0, bad)])
    assert (told.says, told.found) == ("cannot tell yet", (lack,))
    assert (told.counts, told.accuracy, told.kappa, told.spearman) == (None, None, None, None)
    assert "agentloop rate" in told.next


def test_answers_that_cannot_be_graded_count_in_no_figure_and_are_named():
    told = found([*rated(1.0, 0.9, 20), *rated(0.0, 0.1, 20), *rated(1.0, "so-so", 3)])
    assert told.counts.n == 40
    assert told.failed == {"python_grader_runtime_error": 3}
    assert told.found[0].startswith(
        "3 of 43 answers cannot be graded, and count in no figure: python_grader_runtime_error 3 "
        "(first: TypeError: grade returned str, not a number"
    )


def test_a_grader_that_asks_for_what_rows_do_not_have_says_so():
    answers = [*rated(1.0, 1.0, 20), *rated(0.0, 0.0, 20)]
    told = found(answers, string_check())
    assert told.says == "cannot tell yet"
    assert told.failed == {"invalid_variable_error": 40}
    assert "agentloop grader run" in told.next


# ------------------------------------------------------------------------------- judges


def by_judge(spec, judges, **said):
    answers = [Rated(f"g{n}", ANSWERS[0], {"label": "yes"}, 1.0) for n in range(15)]
    answers += [Rated(f"b{n}", ANSWERS[1], {"label": "yes"}, 0.0) for n in range(15)]
    with graders.compile(spec, judges=judges) as grader:
        return calibrate(grader, answers, **said)


@pytest.mark.parametrize("spec", [score_model(), multi("a", a=score_model())])
def test_a_judge_is_asked_once_an_answer_and_only_when_that_is_confirmed(scripted, spec):
    def says(body):
        liked = body["messages"][-1]["content"].endswith("Answer: yes")
        return judged(f'{{"steps": [], "result": {float(liked)}}}')

    server = scripted(says)
    with pytest.raises(ConfigError, match="asks others, 30 times, which may cost money"):
        by_judge(spec, server.judges)
    assert server.asked == []
    assert by_judge(spec, server.judges, confirm=True).says == "agrees"
    assert len(server.asked) == 30


def test_a_judge_that_nobody_knows_is_an_error():
    def nobody(model) -> Address | None:
        return None

    with pytest.raises(GraderError, match=r"'judge' cannot grade here: .*AGENTLOOP_JUDGE_BASE_URL"):
        by_judge(score_model(), nobody, confirm=True)


# ------------------------------------------------------------------------------- the figures

values = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=4, max_size=30)


@settings(deadline=None)  # scipy takes its time to load
@given(values, st.randoms(use_true_random=False))
def test_rho_is_that_of_scipy(a, random):
    from scipy import stats

    b = random.sample(a, len(a))
    figure = spearman(a, b)
    if len(set(a)) == 1:
        assert figure is None
        return
    assert figure.value == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert -1.0 <= figure.low <= figure.value <= figure.high <= 1.0


@given(values)
def test_rho_asks_for_the_order_alone(a):
    cubed = [value**3 + 7 for value in a]
    figure = spearman(a, cubed)
    assert figure is None if len(set(a)) == 1 else figure.value == 1.0


counts = st.builds(
    Counts, **dict.fromkeys(("both", "grader", "people", "neither"), st.integers(0, 50))
)


@given(counts.filter(lambda c: c.n > 0))
def test_kappa_is_agreement_beyond_chance(c):
    figure = c.kappa()
    if c.chance == 1.0:
        assert figure is None
        return
    assert -1.0 - 1e-9 <= figure.value <= 1.0 + 1e-9
    assert figure.low <= figure.value + 1e-9
    assert figure.value <= figure.high + 1e-9
    swapped = Counts(both=c.both, grader=c.people, people=c.grader, neither=c.neither).kappa()
    assert swapped.value == pytest.approx(figure.value)
    at_odds = c.both * c.neither - c.grader * c.people
    assert (figure.value > 1e-12) == (at_odds > 0)
