"""Advice: each answer is reached by its evidence, and not reached just below its bar."""

import random
import weakref
from datetime import timedelta
from itertools import count

import pytest

from agentloop.harvest import Branch, advise, evidence
from agentloop.harvest.advice.figures import FEW_RUNS
from agentloop.harvest.advice.rules import BARS
from agentloop.registry.gates import FEWEST_TASKS
from tests import makers
from tests.harvest.makers import an_opinion, judged
from tests.makers import START, a_span, asks, returns, says, system, user

_ids = count()

SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "kind": {"enum": ["a", "b"]}},
    "required": ["id"],
}
FIND = {"type": "function", "function": {"name": "find", "parameters": SCHEMA}}
WORDS = (
    "amber birch cedar delta ember fjord grove heath inlet jetty knoll larch mango north".split()
)


def words(seed, n=12):
    """So many words that have nothing to do with those of another seed."""
    dice = random.Random(seed)
    return " ".join(f"{dice.choice(WORDS)}{dice.randrange(1000)}x" for _ in range(n))


def a_run(*opinions, n=None, said=None, asked=None, prompt="You help.", resolved=None, **fields):
    """A run of its own request; opinions are scores of people, or made from the trace."""
    n = next(_ids) if n is None else n
    told = fields.pop("reference", None)
    conversation = (system(prompt), user(asked or words(n)), *(said or (says(words(-n - 1)),)))
    trace = makers.a_trace(*conversation, id=f"t{n}", user=f"u{n}", **fields)
    made = [o(trace) if callable(o) else o for o in opinions]
    return judged(trace, *made, resolved=resolved, reference=told)


def corrected(text, *, by="ann"):
    """The opinion that the last call should have said this."""
    return lambda trace: an_opinion(trace, author=by, call=trace.calls[-1].id, correction=text)


def good(n):
    return [a_run(1.0) for _ in range(n)]


def bad(n):
    return [a_run(0.0) for _ in range(n)]


def forks(n, *, better=1.0, worse=0.0):
    """Contexts with two answers of opposite thumbs."""
    for _ in range(n):
        k = next(_ids)
        runs = [a_run(score, n=k, said=(says(words(f"{k}-{score}")),)) for score in (better, worse)]
        yield [Branch(run.trace.calls[0], run) for run in runs]


def tasks(n, *values):
    """Contexts that were run once for each value of their checked outcome."""
    for _ in range(n):
        k = next(_ids)
        runs = [
            judged(
                makers.a_trace(system(), user(words(k)), says(words(f"{k}{m}")), id=f"t{k}-{m}"),
                resolved=value,
                reference="yes",
            )
            for m, value in enumerate(values)
        ]
        yield [Branch(run.trace.calls[0], run) for run in runs]


def advice(runs, **given):
    return advise(evidence(runs, agents=("support",), **given))


def suggestion(made, method):
    return next(one for one in made.suggestions if one.method == method)


# ---------------------------------------------------------------------- not yet, and nothing


def test_an_empty_store_says_not_yet_and_how_many_runs_to_judge():
    made = advice([])
    assert made.says == "not yet"
    assert suggestion(made, "prompt").more == FEW_RUNS
    assert "judge 20 more runs" in made.why


def test_noise_says_not_yet():
    """Verdicts, corrections and comments of people who throw dice."""
    dice = random.Random(7)
    runs = []
    for _ in range(300):
        remarks = [float(dice.random() < 0.5) for _ in range(2)]
        n = next(_ids)
        if dice.random() < 0.3:
            said = words(f"right {n}", n=dice.randrange(4, 30))
            runs.append(a_run(*remarks, corrected(said, by="eve"), n=n))
        else:
            runs.append(a_run(*remarks, n=n))
    made = advice(runs)
    assert made.says == "not yet", made.why
    assert made.evidence.repeats == ()
    assert not any(one.ready for one in made.suggestions)
    assert "agree on what is good first" in made.why


def test_people_who_agree_are_no_noise():
    runs = [a_run(score, score) for score in [1.0] * 60 + [0.0] * 40]
    made = advice(runs)
    assert str(made.evidence.agreement) == "100 of 100"
    assert made.says == "sft"


def test_nearly_all_good_and_all_agree_is_not_taken_for_chance():
    """Where nearly all is good, dice would agree nearly always too."""
    runs = [a_run(1.0, 1.0) for _ in range(60)] + [a_run(0.0, 0.0) for _ in range(6)]
    assert suggestion(advice(runs), "sft").ready


def test_few_failures_leave_nothing_to_win():
    made = advice(good(60) + bad(1))
    assert made.says == "nothing"
    assert "harvest sft" in made.next, "what is good could still teach a smaller model"
    assert advice(good(60) + bad(4)).says == "sft"


# ---------------------------------------------------------------------- the prompt


def test_what_hardly_ever_goes_well_wants_another_prompt():
    assert advice(good(5) + bad(30)).says == "prompt"
    assert advice(good(6) + bad(30)).says != "prompt"


def test_another_prompt_is_judged_by_its_own_runs():
    old = good(5) + bad(30)
    new = [a_run(float(n % 2), prompt="You help, and look it up.") for n in range(FEW_RUNS)]
    assert advice(new + old).says != "prompt"
    assert advice(new[:-1] + old + bad(60)).says == "prompt", "too few to tell"


def test_a_tool_that_often_fails_is_mended_first():
    def runs(failing):
        for n in range(40):
            error = {"message": "no connection"} if n < failing else None
            talk = (asks("find", f'{{"id": {n}}}'), returns(), says(words(f"{failing} {n}")))
            one = a_run(float(n % 2), said=talk, tools=(FIND,))
            spans = (a_span(one.trace.id, name="find", error=error),)
            trace = one.trace.model_copy(update={"spans": spans})
            yield one.model_copy(update={"trace": trace})

    made = advice(runs(8))
    assert made.says == "prompt"
    assert "find failed in 8 of its latest 40 executions" in made.why
    assert advice(runs(7)).says != "prompt"


def executed(arguments, *, error=None):
    """A run in which the tool ran once."""
    talk = (asks("find", arguments), returns(), says(words(next(_ids))))
    one = a_run(1.0, said=talk, tools=(FIND,))
    span = a_span(one.trace.id, name="find", error=error, data={"input": arguments})
    return one.model_copy(update={"trace": one.trace.model_copy(update={"spans": (span,)})})


def test_a_tool_that_was_mended_is_forgiven():
    broken = [executed('{"id": 1}', error={"message": "no"}) for _ in range(60)]
    mended = [executed('{"id": 1}') for _ in range(50)]
    assert "find failed in 50 of its latest 50" in advice(broken + mended).why
    assert advice(mended + broken).says != "prompt"


def test_where_no_steps_were_recorded_a_tool_failed_when_the_model_was_told_so():
    told = "An error occurred while running the tool. Please try again. Error: no"
    runs = [
        a_run(1.0, said=(asks("find", '{"id": 1}'), returns(text), says(words(n))), tools=(FIND,))
        for n, text in enumerate([told, "found"])
    ]
    (tool,) = evidence(runs, agents=("support",)).tools
    assert (tool.failed, str(tool.latest)) == (1, "1 of 2")


def test_what_a_tool_makes_of_wrong_arguments_is_the_models_fault():
    runs = [executed('{"id": "one"}', error={"message": "no integer"}) for _ in range(30)]
    (tool,) = advice(runs).evidence.tools
    assert (tool.misfit, tool.failed) == (30, 0)
    assert advice(runs).says != "prompt"


def test_a_failure_of_another_agents_tool_is_not_ours():
    talk = (asks("find", '{"id": 1}'), returns(), says("it is here"))
    one = a_run(1.0, said=talk, tools=(FIND,))
    agents = [
        a_span(one.trace.id, id=name, kind="agent", name=name) for name in ("support", "billing")
    ]
    failed = [
        a_span(one.trace.id, id=f"{a.id}/find", parent_id=a.id, error={"message": "no"})
        for a in agents
    ]
    trace = one.trace.model_copy(update={"spans": (*agents, *failed)})
    (tool,) = evidence([one.model_copy(update={"trace": trace})], agents=("support",)).tools
    assert tool.failed == 1


def shortened(n, of, **fields):
    """Runs that were corrected: the first n to a third of the words."""
    for k in range(of):
        m = next(_ids)
        right = words(f"right {m}", n=4 if k < n else 12)
        yield a_run(corrected(right), n=m, **fields)


def test_an_instruction_that_most_corrections_repeat_belongs_in_the_prompt():
    made = advice([*shortened(18, 24), *good(60)])
    assert made.says == "prompt"
    assert made.why == "18 of 24 corrections are shorter (median 0.3 of the words)"
    assert suggestion(made, "sft").ready, "what else is ready is said too"


@pytest.mark.parametrize(("n", "of", "says"), [(15, 25, "prompt"), (14, 25, "few-shot")])
def test_six_of_ten_corrections_are_enough_and_fewer_are_not(n, of, says):
    assert advice(shortened(n, of)).says == says


def test_ten_corrections_are_enough_and_nine_are_not():
    assert advice(shortened(10, 10)).says == "prompt"
    assert advice(shortened(9, 9)).says == "few-shot"


def test_one_request_put_right_many_times_is_one_correction():
    runs = [
        a_run(corrected("in four words only"), asked="the same", said=(says(words(n)),))
        for n in range(12)
    ]
    assert advice(runs).evidence.repeats == ()


def test_a_prompt_that_asks_for_it_already_is_not_the_remedy():
    prompt = "You help. Keep it short."
    judged_too = [a_run(float(n % 2), prompt=prompt) for n in range(20)]
    made = advice([*shortened(24, 24, prompt=prompt), *judged_too])
    assert made.evidence.repeats[0].told
    assert not suggestion(made, "prompt").ready
    assert "the prompt says already" in suggestion(made, "prompt").why


def test_what_was_put_right_under_an_older_prompt_counts_until_the_new_one_has_served():
    old = list(shortened(24, 24))
    new = [a_run(float(n % 2), prompt="You help, and are brief.") for n in range(FEW_RUNS)]
    assert advice([*new, *old]).says != "prompt"
    assert advice([*new[1:], *old]).evidence.repeats[0].n == 24


def test_todays_date_makes_no_new_prompt():
    old = list(shortened(24, 24, prompt="You help. It is 2026-11-23."))
    new = [a_run(1.0, prompt="You help. It is 2026-11-24.") for _ in range(FEW_RUNS)]
    assert advice([*new, *old]).says == "prompt"


# ---------------------------------------------------------------------- few-shot


def test_a_handful_of_good_runs_can_stand_in_the_prompt():
    assert advice(good(5) + bad(6)).says == "few-shot"
    made = advice(good(4) + bad(6))
    assert made.says == "not yet"
    assert suggestion(made, "few-shot").more == 1


def test_where_nothing_fails_no_example_is_wanted():
    assert advice(good(8)).says == "not yet"


# ---------------------------------------------------------------------- SFT


def test_fifty_good_runs_are_enough_for_sft():
    assert advice(good(50) + bad(20)).says == "sft"
    made = advice(good(49) + bad(20))
    assert made.says == "few-shot"
    assert suggestion(made, "sft").more == 1
    assert suggestion(made, "sft").missing == "1 more good or corrected runs"


def test_the_same_run_twice_is_one_row():
    runs = [a_run(1.0, n=n % 25, said=(says("here"),)) for n in range(100)]
    assert evidence(runs, agents=("support",)).positives.rows == 25


def test_many_answers_to_few_requests_are_no_spread():
    runs = [a_run(1.0, asked=f"request {n % 10}") for n in range(100)]
    made = advice(runs + bad(60))
    assert made.evidence.positives.rows == 100
    assert made.evidence.positives.usable == 30
    assert made.says == "few-shot"
    assert "30 of 10 requests" in suggestion(made, "sft").why


def test_good_runs_of_few_users_teach_their_habits():
    def of_users(n):
        for k, one in enumerate(good(60) + bad(20)):
            trace = one.trace.model_copy(update={"user": f"user {k % n}"})
            yield one.model_copy(update={"trace": trace})

    made = advice(of_users(9))
    assert made.says == "not yet"
    assert made.why.startswith("sft: good runs of 1 more user")
    assert advice(of_users(10)).says == "sft"


def test_rows_that_all_use_one_tool_are_said():
    def used(name):
        return a_run(1.0, said=(asks(name, "{}"), returns(), says(words(next(_ids)))), tools=())

    made = advice([used("find") for _ in range(45)] + [used("stop") for _ in range(10)] + bad(20))
    assert "45 of 55 rows use find: rate runs of other kinds" in suggestion(made, "sft").notes


def test_rows_that_decline_are_said():
    decline = "I'm sorry, but I can't help with that, {}."
    runs = [a_run(1.0, said=(says(decline.format(words(n))),)) for n in range(20)]
    notes = suggestion(advice(good(40) + runs + bad(20)), "sft").notes
    assert any("20 of 60 rows decline" in note for note in notes)


# ---------------------------------------------------------------------- DPO and RFT


def disliked(n):
    return [a_run(0.0) for _ in range(n)]


def faulty(n):
    return [
        a_run(0.0, said=(asks("find", "{}"), returns(), says("?")), tools=(FIND,)) for _ in range(n)
    ]


def missed(n):
    return [a_run(resolved=False, reference="yes") for _ in range(n)]


def test_fifty_pairs_are_enough_for_dpo():
    runs = good(30) + disliked(30)
    assert advice(runs, forks=forks(50)).says == "dpo"
    made = advice(runs, forks=forks(49))
    assert made.says == "few-shot"
    assert suggestion(made, "dpo").more == 1


def test_answers_of_one_verdict_are_no_pairs():
    assert advice(good(30) + disliked(30), forks=forks(60, worse=1.0)).evidence.dpo == 0


def test_pairs_are_told_by_where_they_come_from():
    runs = list(shortened(0, 5))
    edits = [[Branch(run.trace.calls[0], run)] for run in runs]
    made = advice(runs, forks=[*edits, *forks(3)])
    assert made.evidence.pairs == {"correction": 5, "regeneration": 3}


def test_thirty_tasks_between_the_bands_are_enough_for_rft():
    runs = good(30) + missed(30)
    assert advice(runs, contexts=tasks(30, True, False)).says == "rft"
    made = advice(runs, contexts=tasks(29, True, False))
    assert made.says == "few-shot"
    assert suggestion(made, "rft").more == 1


def test_tasks_outside_the_band_are_counted_by_side():
    contexts = [
        *tasks(3, True, True),
        *tasks(4, False, False, False),
        *tasks(5, True),
        *tasks(2, True, False),
    ]
    made = advice(missed(1), contexts=contexts)
    assert made.evidence.tasks.model_dump() == {
        "contexts": 14,
        "verifiable": 14,
        "once": 5,
        "below": 4,
        "inside": 2,
        "above": 3,
        "disputed": 0,
        "rollouts": pytest.approx((6 + 12 + 5 + 4) / 14),
    }
    assert "5 were run once" in suggestion(made, "rft").why


def test_without_a_reference_contexts_are_not_even_read():
    def never():
        raise AssertionError
        yield

    assert advice(good(3), contexts=never()).evidence.tasks.contexts == 0


@pytest.mark.parametrize(
    ("failures", "says"),
    [
        ((30, 20, 10), "sft"),
        ((20, 30, 10), "dpo"),
        ((10, 20, 30), "rft"),
        ((20, 20, 20), "sft"),
    ],
)
def test_of_several_that_are_ready_the_one_is_said_that_mends_the_most(failures, says):
    a, b, c = failures
    runs = good(60) + faulty(a) + disliked(b) + missed(c)
    made = advice(runs, forks=forks(50), contexts=tasks(30, True, False))
    assert [one.method for one in made.suggestions if one.ready] == ["sft", "dpo", "rft"]
    assert made.evidence.causes.model_dump() == {
        "fault": a,
        "disliked": b,
        "missed": c,
        "other": 0,
    }
    assert made.says == says


# ---------------------------------------------------------------------- figures


def test_calls_are_held_against_the_tools_that_were_offered():
    arguments = ['{"id": 1}', '{"id": "1"}', "{}", '{"id": 1, "kind": "c"}', '{"id": 1', "[1]"]
    runs = [a_run(1.0, said=(asks("find", text),), tools=(FIND,)) for text in arguments]
    runs += [a_run(1.0, said=(asks("stop", "{}"),), tools=(FIND,))]
    runs += [a_run(1.0, said=(asks("stop", "{}"),), tools=())]
    tools = {tool.name: tool for tool in evidence(runs, agents=("support",)).tools}
    find, stop = tools["find"], tools["stop"]
    assert (find.calls, find.misfit, find.unparsable, find.unknown) == (6, 3, 2, 0)
    assert (stop.calls, stop.unknown) == (2, 1), "where nothing was recorded, nothing is unknown"


@pytest.mark.parametrize(
    "schema",
    [{"type": "nonsense"}, {"$ref": "https://elsewhere.example/schema"}, {"$ref": "#/nowhere"}],
)
def test_a_schema_that_is_none_is_not_held_against_the_model(schema):
    tool = {"type": "function", "function": {"name": "find", "parameters": schema}}
    runs = [a_run(1.0, said=(asks("find", '{"id": 1}'),), tools=(tool,))]
    (found,) = evidence(runs, agents=("support",)).tools
    assert found.wrong == 0


@pytest.mark.parametrize(
    ("text", "wrong"), [('{"id": 1}', 0), ('{"id": "x"}', 1), ("Here it is.", 1)]
)
@pytest.mark.parametrize("kind", ["json_schema", "json_object"])
def test_an_answer_has_the_format_that_was_asked_for(text, wrong, kind):
    shape = {"type": kind}
    if kind == "json_schema":
        shape["json_schema"] = {"name": "answer", "schema": SCHEMA}
    one = a_run(1.0, said=(says(text),))
    call = one.trace.calls[0].model_copy(update={"response_format": shape})
    trace = one.trace.model_copy(update={"calls": (call,)})
    made = evidence([one.model_copy(update={"trace": trace})], agents=("support",))
    expected = wrong if kind == "json_schema" else int(text[0] != "{")
    assert (made.structured.n, made.structured.total) == (expected, 1)


def test_success_has_an_interval_and_none_of_few():
    assert advice(good(9) + bad(10)).evidence.success is None
    success = advice(good(81) + bad(182)).evidence.success
    assert f"{success.low:.4f} {success.high:.4f}" == "0.2553 0.3662", "as Wilson's in `Tally`"


def test_what_a_trial_could_show_comes_from_the_users_of_the_last_weeks():
    def at(days, user):
        one = a_run(float(user % 2))
        when = START - timedelta(days=days)
        update = {"started_at": when, "user": f"user {user}"}
        return one.model_copy(update={"trace": one.trace.model_copy(update=update)})

    week = [at(1, n) for n in range(100)] + [at(2, n) for n in range(50)]
    young = advice(week).evidence.lifts
    assert [(one.by, one.units) for one in young] == [
        ("trial, 1 week", 100),
        ("trial, 4 weeks", 400),
        ("gate", 0),
    ]
    old = advice(week + [at(10, 200 + n) for n in range(30)] + [at(27, 7)]).evidence.lifts
    assert [one.units for one in old] == [100, 130, 0]
    assert young[0].gain > young[1].gain > 0
    assert young[2].gain is None


def test_held_out_tasks_are_what_the_gate_could_show():
    tried = [a_run(1.0, held_out=True, task_id=f"task {n % 40}") for n in range(80)] + [
        a_run(held_out=True, task_id="nobody judged it"),
        a_run(1.0, held_out=True),
    ]
    made = advice(good(60) + bad(30), held_out=tried)
    assert (made.evidence.held_out.runs, made.evidence.held_out.tasks) == (82, 40)
    assert 0 < made.evidence.lifts[-1].gain < 1 / 3
    assert not any("held_out=True" in note for note in suggestion(made, "sft").notes)
    few = advice(good(60) + bad(30), held_out=tried[:20])
    assert any(
        "run 10 more tasks with held_out=True" in note for note in suggestion(few, "sft").notes
    )


def test_the_bar_of_the_gate_is_the_gates():
    assert BARS["gate"].least == FEWEST_TASKS


def test_every_bar_says_whose_it_is():
    for bar in BARS.values():
        assert bar.source


def test_no_run_is_kept():
    """Ten thousand runs are walked through, and two of them at most are there at once."""
    made = [a_run(float(n % 2)) for n in range(50)]
    alive = most = 0

    def gone():
        nonlocal alive
        alive -= 1

    def runs():
        nonlocal alive, most
        for n in range(10_000):
            run = made[n % 50].model_copy()
            alive += 1
            most = max(most, alive)
            weakref.finalize(run, gone)
            yield run
            del run

    assert evidence(runs(), agents=("support",)).runs == 10_000
    assert most <= 2
