"""Each answer is reached by planted evidence, and not reached just below its bar."""

import pytest

from agentloop.base.records import Recipe
from agentloop.harvest import Branch, Gathering, advise, dpo, found, rft
from tests.harvest.makers import a_trace, an_opinion, calls, judged, returns, says, system, user
from tests.makers import at

SCHEMA = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "tags": {"type": ["array", "null"]}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
}


def run(n, score=1.0, *, users=20, arguments='{"id": 1}', tool=True, result="found", **fields):
    said = [system(), user(f"request {n}")]
    if tool:
        said += [calls(arguments=arguments), returns(result)]
    fields.setdefault("started_at", at(n * 3_600))
    trace = a_trace(
        *said, says(f"Done {n}."), id=f"t{n}", user=f"u{n % users}", tools=(SCHEMA,), **fields
    )
    return judged(trace) if score is None else judged(trace, score)


def advice(*runs, forks=(), contexts=()):
    gathering = Gathering(["support"], good=0.8, bad=0.2)
    recipe = Recipe.asked("sft", ["support"], {})
    for one in runs:
        gathering.see(one)
        gathering.learned(found(recipe, judged=[one]))
    gathering.learned(dpo(forks))
    gathering.learned(rft(contexts))
    return advise(gathering.evidence())


def of(advice, method):
    return next(one for one in advice.suggestions if one.method == method)


def pair(n):
    """One context with a good and a bad answer."""
    fork = []
    for text, score in ((f"Good {n}.", 1.0), (f"Bad {n}.", 0.0)):
        one = judged(a_trace(system(), user(f"pair {n}"), says(text), id=text), score)
        fork.append(Branch(one.trace.calls[0], one))
    return fork


def task(n, passed=(True, False)):
    """One context whose runs ended as told."""
    context = []
    for k, value in enumerate(passed):
        trace = a_trace(system(), user(f"task {n}"), says(f"{value} {k}"), id=f"k{n}-{k}")
        one = judged(trace, resolved=value, reference="label")
        context.append(Branch(one.trace.calls[0], one))
    return context


def half_good(n, **fields):
    """Runs of which half were good: every step is open."""
    return [run(k, float(k % 2), tool=k % 4 < 2, **fields) for k in range(n)]


def test_an_empty_store_says_not_yet_and_how_many_runs_to_judge():
    found = advice()
    assert found.says == "not yet"
    assert "judge 20 more" in of(found, "prompt").why
    assert (found.success, found.detectable) == (None, {})


def test_runs_that_nobody_judged_say_not_yet():
    found = advice(*(run(n, None) for n in range(200)))
    assert found.says == "not yet"
    assert "0 of 200 runs are judged" in of(found, "prompt").why


def test_fifty_good_runs_of_many_users_say_sft_and_one_less_says_how_many_are_missing():
    enough = advice(*half_good(100))
    assert enough.says == "sft"
    assert of(enough, "sft").next == "agentloop harvest sft support --out data/sft"
    less = advice(*half_good(98))
    assert less.says == "few-shot"
    assert "missing: 1 more good or corrected runs" in of(less, "sft").why


def test_good_runs_of_few_users_teach_their_habits():
    found = advice(*half_good(200, users=8))
    assert not of(found, "sft").ready
    assert "missing: runs of 6 more users or tasks" in of(found, "sft").why


def test_good_runs_that_all_do_the_same_teach_nothing_else():
    found = advice(*(run(n, float(n % 2)) for n in range(200)))
    assert "100 of them begin with 'find': more that do something else" in of(found, "sft").why
    assert found.says == "few-shot"


def test_few_good_runs_are_worth_showing_and_fewer_are_not():
    assert advice(*half_good(10)).says == "few-shot"
    few = advice(*half_good(8))
    assert few.says == "not yet"
    assert "1 more good or corrected runs" in of(few, "few-shot").why


def test_an_agent_that_hardly_ever_succeeds_needs_another_prompt():
    runs = [run(n, float(n % 10 == 0)) for n in range(100)]
    assert advice(*runs).says == "prompt"
    runs = [run(n, float(n % 5 == 0)) for n in range(100)]
    assert advice(*runs).says != "prompt"


def test_an_agent_that_always_succeeds_needs_nothing():
    assert advice(*(run(n, tool=n % 2 == 0) for n in range(100))).says == "nothing"


def test_pairs_say_dpo_and_one_less_does_not():
    most = [run(n, float(n % 10 != 0), tool=n % 4 < 2) for n in range(40)]
    assert advice(*most, forks=[pair(n) for n in range(50)]).says == "dpo"
    less = advice(*most, forks=[pair(n) for n in range(49)])
    assert less.says == "few-shot"
    assert "49 pairs of a better and a worse answer (49 by regeneration)" in of(less, "dpo").why
    assert "missing: 1 more" in of(less, "dpo").why


def test_what_is_still_to_be_imitated_comes_before_preferences():
    pairs = [pair(n) for n in range(50)]
    assert advice(*half_good(120), forks=pairs).says == "sft"
    good = [run(n, float(n % 20 != 0), tool=n % 4 < 2) for n in range(120)]
    assert advice(*good, forks=pairs).says == "dpo"


def test_tasks_in_the_band_say_rft_and_one_less_does_not():
    enough = advice(*half_good(40), contexts=[task(n) for n in range(30)])
    assert enough.says == "rft"
    less = advice(*half_good(40), contexts=[task(n) for n in range(29)])
    assert less.says == "few-shot"
    assert (
        "29 tasks with a reference end now well, now badly (2.0 runs each)" in of(less, "rft").why
    )


def test_tasks_outside_the_band_are_told_apart():
    contexts = [
        *(task(n, (True, True)) for n in range(3)),
        *(task(n, (False,)) for n in range(5, 9)),
    ]
    why = of(advice(contexts=contexts), "rft").why
    assert "others: 4 never well, 3 always well" in why
    assert "try each task more often, or harder tasks" in why


def test_what_many_corrections_repeat_goes_into_the_prompt():
    long = "Thank you very much for your question, which we are happy to answer: it is done."

    def corrected(n, told):
        trace = a_trace(system(told), user(f"q{n}"), says(long), id=f"c{n}")
        return judged(trace, an_opinion(trace, correction="Done.", call=f"c{n}/0"))

    found = advice(*half_good(120), *(corrected(n, "You help.") for n in range(8)))
    assert found.says == "prompt"
    assert "8 of 8 corrections are shorter" in of(found, "prompt").why
    told = advice(*half_good(120), *(corrected(n, "Be brief.") for n in range(8)))
    assert told.says == "sft", "the instructions ask for it already"


@pytest.mark.parametrize(
    ("arguments", "fit"),
    [
        ('{"id": 1}', True),
        ('{"id": 1.0, "tags": null}', True),
        ('{"id": "1"}', False),
        ('{"id": true}', False),
        ('{"tags": []}', False),
        ('{"id": 1, "more": 2}', False),
        ("id=1", False),
        ("[1]", False),
    ],
)
def test_arguments_fit_their_schema_or_do_not(arguments, fit):
    (tool,) = advice(run(1, arguments=arguments)).evidence.tools
    assert (tool.name, tool.calls, tool.unfit) == ("find", 1, int(not fit))


def test_tool_errors_are_counted_by_who_made_them():
    other = {"type": "function", "function": {"name": "other"}}
    strange = run(2).trace
    changed = [call.model_copy(update={"tools": (other,)}) for call in strange.calls]
    found = advice(
        run(1, result="Error: no such order"),
        judged(strange.model_copy(update={"calls": tuple(changed)})),
        run(3),
    )
    (tool,) = found.evidence.tools
    assert (tool.calls, tool.unknown, tool.unfit, tool.failed) == (3, 1, 0, 1)
    assert "1 of 3 tool calls were of the wrong tool or arguments" in of(found, "sft").why


def test_structured_answers_that_are_no_json_are_counted():
    def shaped(n, text):
        trace = a_trace(system(), user(f"q{n}"), says(text), id=f"s{n}")
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
        (call,) = trace.calls
        call = call.model_copy(update={"response_format": asked})
        return judged(trace.model_copy(update={"calls": (call,)}))

    found = advice(shaped(1, '{"a": 1}'), shaped(2, "a is 1"))
    assert (found.evidence.structured, found.evidence.misshaped) == (2, 1)
    assert "1 of 2 structured answers are no JSON" in of(found, "sft").why


def test_the_traffic_says_what_gain_a_trial_could_show():
    found = advice(*half_good(100))
    assert found.success[0] == 0.5
    week, month = found.detectable["1 week"], found.detectable["4 weeks"]
    assert 0.2 < week < 0.25, "about 85 runs on each side"
    assert 0.08 < month < 0.13
    at_once = advice(*half_good(100, started_at=at(0)))
    assert list(at_once.detectable) == ["as many runs again"]
