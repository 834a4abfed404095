"""DPO: two answers to the same context, judged alike, and nothing that only looks like it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.base.records import DPOExample, Refusal
from agentloop.harvest import Branch, branches, dpo, parted
from tests.harvest.makers import (
    a_trace,
    an_opinion,
    calls,
    judged,
    returns,
    says,
    system,
    user,
)

CONTEXT = (system(), user("hi"))


def answered(text, *scores, id, at=-1, tools=None, resolved=None, **fields):
    output = says(text) if isinstance(text, str) else text
    options = fields if tools is None else {**fields, "tools": tools}
    one = judged(
        a_trace(*CONTEXT, output, id=id, **options),
        *scores,
        resolved=resolved,
    )
    return Branch(one.trace.calls[at], one)


def pairs(*fork, **knobs):
    return list(dpo([list(fork)], **knobs))


def codes(found):
    return [item.code for item in found if not isinstance(item, DPOExample)]


def test_two_answers_to_one_context_with_opposite_thumbs_are_a_pair():
    (pair,) = pairs(answered("good", 1.0, id="a"), answered("bad", 0.0, id="b"))
    assert (pair.context, pair.preferred, pair.rejected) == (CONTEXT, says("good"), says("bad"))
    assert (pair.margin, pair.source, pair.traces) == (1.0, "regeneration", ("a", "b"))


def test_an_answer_without_consent_is_in_no_pair():
    good, bad = answered("good", 1.0, id="a"), answered("bad", 0.0, id="b", consent=False)
    (refused,) = pairs(good, bad)
    assert (refused.code, refused.traces) == (Refusal.NO_CONSENT, ("b",))
    task = a_trace(system(), user("hi"), says("a"), task_id="k", consent=False, id="c")
    other = a_trace(system(), user("ho"), says("b"), task_id="k", id="d")
    assert list(parted([judged(task, 1.0), judged(other, 0.0)])) == []


def test_two_arms_of_a_trial_are_said_to_be_such():
    (pair,) = pairs(
        answered("good", 1.0, id="a", arm="control"), answered("bad", 0.0, id="b", arm="candidate")
    )
    assert pair.source == "trial"


def test_equal_verdicts_give_no_pair():
    found = pairs(answered("x", 1.0, id="a"), answered("y", 1.0, id="b"))
    assert codes(found) == [Refusal.NO_CONTRAST]


def test_an_answer_that_nobody_judged_gives_no_pair():
    found = pairs(answered("x", 1.0, id="a"), answered("y", id="b"))
    assert codes(found) == [Refusal.NOT_JUDGED]


def test_an_answer_that_people_disagree_about_gives_no_pair():
    found = pairs(
        answered("x", 1.0, id="a"),
        answered("x", 0.0, id="b"),
        answered("y", 0.0, id="c"),
    )
    assert codes(found) == [Refusal.UNDECIDED]


def test_what_a_person_disliked_is_not_worse_than_what_only_a_rule_liked():
    found = pairs(answered("x", 0.0, id="a"), answered("y", id="b", resolved=True))
    assert codes(found) == [Refusal.DIFFERENT_JUDGES]


def test_two_outcomes_compare_with_each_other():
    (pair,) = pairs(
        answered(calls(arguments='{"id": 1}'), id="a", resolved=True),
        answered(calls(arguments='{"id": 2}'), id="b", resolved=False),
    )
    assert pair.preferred.calls[0].function.arguments == '{"id": 1}'


def test_answers_with_different_tools_at_hand_do_not_compare():
    found = pairs(answered("x", 1.0, id="a"), answered("y", 0.0, id="b", tools=()))
    assert codes(found) == [Refusal.DIFFERENT_TOOLS]


def test_answers_of_different_agents_do_not_compare():
    found = pairs(answered("x", 1.0, id="a"), answered("y", 0.0, id="b", agent="other"))
    assert codes(found) == [Refusal.DIFFERENT_AGENTS]


def test_a_correction_is_preferred_to_what_it_corrects():
    trace = a_trace(*CONTEXT, says("bad"))
    one = judged(trace, an_opinion(trace, correction="good", call="t1/0"))
    (pair,) = pairs(Branch(trace.calls[0], one))
    assert (pair.preferred, pair.rejected, pair.source) == (says("good"), says("bad"), "correction")
    assert pair.producers == ("person:ann",)


def test_a_correction_that_changes_nothing_is_no_pair():
    trace = a_trace(*CONTEXT, says("same"))
    one = judged(trace, an_opinion(trace, correction="same", call="t1/0"))
    assert pairs(Branch(trace.calls[0], one)) == []


def test_equal_tool_calls_are_one_answer_whatever_their_ids():
    found = pairs(
        answered(calls(id="a1"), id="a", resolved=True),
        answered(calls(id="b1"), id="b", resolved=False),
    )
    assert found == []


def test_one_context_gives_at_most_so_many_pairs():
    fork = [answered(f"good {n}", 1.0, id=f"g{n}") for n in range(4)]
    fork += [answered(f"bad {n}", 0.0, id=f"b{n}") for n in range(4)]
    found = pairs(*fork, pairs=2)
    assert sum(isinstance(item, DPOExample) for item in found) == 2
    assert codes(found) == [Refusal.TOO_MANY] * 2


def test_the_pairs_of_one_context_stay_together_though_several_users_gave_it():
    fork = [
        answered(f"{n}", score, id=f"{n}-{score}", user=f"u{n}")
        for n, score in ((3, 1.0), (1, 1.0), (2, 0.0), (4, 0.0))
    ]
    assert [pair.unit for pair in pairs(*fork)] == ["u1", "u1"]


def test_runs_of_one_task_that_part_at_the_user_are_no_pair():
    one = judged(a_trace(*CONTEXT, says("so?"), user("a"), says("A"), id="a", task_id="7"), 1.0)
    two = judged(a_trace(*CONTEXT, says("so?"), user("b"), says("B"), id="b", task_id="7"), 0.0)
    (refused,) = parted([one, two])
    assert (refused.code, refused.traces) == (Refusal.PARTED_AT_USER, ("a", "b"))
    assert refused.detail == "task runs part at message 4: user"


def test_runs_of_one_task_that_part_at_a_tools_answer_are_no_pair():
    def run(answer, said, **fields):
        return a_trace(*CONTEXT, calls(), returns(answer), says(said), task_id="7", **fields)

    found = list(parted([judged(run("1", "A", id="a"), 1.0), judged(run("2", "B", id="b"), 0.0)]))
    assert [refused.code for refused in found] == [Refusal.PARTED_AT_USER]


def test_runs_of_one_task_that_part_at_the_assistant_are_left_to_the_pairs():
    one = judged(a_trace(*CONTEXT, says("A"), id="a", task_id="7"), 1.0)
    two = judged(a_trace(*CONTEXT, says("B"), id="b", task_id="7"), 0.0)
    assert list(parted([one, two])) == []


def test_branches_are_the_calls_of_the_traces_that_are_selected():
    one, two = (answered("x", 1.0, id=id) for id in ("a", "b"))
    made = [(b.call.id, b.judged) for b in (one, two)]
    assert branches(made, lambda j: j.trace.id == "a") == [one]
    assert branches(made, lambda _: False) == []


def test_what_calls_a_tool_that_the_agent_does_not_have_is_not_preferred():
    found = pairs(answered(calls("nope"), 1.0, id="a"), answered("bad", 0.0, id="b"))
    assert [(r.code, r.detail) for r in found] == [
        (Refusal.UNKNOWN_TOOL, "'nope' is not among its tools")
    ]
    (pair,) = pairs(answered("good", 1.0, id="a"), answered(calls("nope"), 0.0, id="b"))
    assert pair.rejected == calls("nope"), "that it was called is what was bad"


def test_calls_of_tools_are_compared_unless_texts_alone_are_wanted():
    right, wrong = (calls(arguments=text) for text in ('{"id": 1}', '{"id": 2}'))
    fork = answered(right, 1.0, id="a"), answered(wrong, 0.0, id="b")
    assert isinstance(pairs(*fork)[0], DPOExample)
    assert codes(pairs(*fork, tool_pairs=False)) == [Refusal.TOOL_PAIR]
    trace = a_trace(*CONTEXT, wrong, id="t1")
    fixed = judged(trace, an_opinion(trace, correction=right, call="t1/0"))
    corrected = Branch(trace.calls[0], fixed)
    assert codes(pairs(corrected, tool_pairs=False)) == [Refusal.TOOL_PAIR]


def test_two_runs_that_tried_one_task_are_the_best_and_the_worst_of_several():
    good, bad = (
        answered("good", 1.0, id="a", task_id="7"),
        answered("bad", 0.0, id="b", task_id="7"),
    )
    assert pairs(good, bad)[0].source == "best_of_n"
    other = answered("bad", 0.0, id="b", task_id="8")
    assert pairs(good, other)[0].source == "regeneration"


def test_a_pair_names_who_wrote_either_answer():
    good, bad = answered("good", 1.0, id="a"), answered("bad", 0.0, id="b")
    theirs = bad.call.model_copy(update={"served_model": "gpt-4.1-2025-04-14"})
    (pair,) = pairs(good, bad._replace(call=theirs))
    assert (pair.producers, pair.against) == (("m",), ("gpt-4.1-2025-04-14",))


def test_answers_of_very_different_length_are_refused_on_request():
    fork = answered("g" * 30, 1.0, id="a"), answered("b" * 10, 0.0, id="b")
    assert isinstance(pairs(*fork)[0], DPOExample)
    assert isinstance(pairs(*fork, length_ratio=3.0)[0], DPOExample)
    (refused,) = pairs(*fork, length_ratio=2.0)
    assert refused.code is Refusal.LENGTH_DIFFERS
    assert refused.detail == "30 and 10 characters: 3.00 times, at most 2.00"


def test_a_correction_of_very_different_length_is_refused_on_request():
    trace = a_trace(*CONTEXT, says("b" * 10), id="t1")
    fixed = judged(trace, an_opinion(trace, correction="g" * 30, call="t1/0"))
    found = pairs(Branch(trace.calls[0], fixed), length_ratio=2.0)
    assert codes(found) == [Refusal.LENGTH_DIFFERS]


def test_where_length_counts_the_answers_most_alike_in_it_are_paired():
    fork = [answered("g" * n, 1.0, id=f"g{n}") for n in (10, 100)]
    fork += [answered("b" * n, 0.0, id=f"b{n}") for n in (100, 1000)]
    found = pairs(*fork, length_ratio=2.0)
    assert [len(p.preferred.text) for p in found if isinstance(p, DPOExample)] == [100]
    assert codes(found) == [Refusal.LENGTH_DIFFERS]


answers = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 40)), min_size=1, max_size=7
)


@settings(deadline=None)
@given(answers, st.integers(1, 4), st.one_of(st.none(), st.floats(1, 5)))
def test_however_many_answers_there_are_pairs_keep_their_bounds(made, most, ratio):
    fork = [answered(f"{n}" + "x" * length, s, id=f"a{n}") for n, (s, length) in enumerate(made)]
    found = pairs(*fork, pairs=most, length_ratio=ratio)
    kept = [p for p in found if isinstance(p, DPOExample)]
    assert len(kept) <= most
    assert len({(p.preferred, p.rejected) for p in kept}) == len(kept), "no pair twice"
    scores = {b.call.output: s for b, (s, _) in zip(fork, made, strict=True)}
    for pair in kept:
        assert (scores[pair.preferred], scores[pair.rejected], pair.margin) == (1.0, 0.0, 1.0)
        lengths = sorted(len(m.text) for m in (pair.preferred, pair.rejected))
        assert ratio is None or lengths[1] / lengths[0] <= ratio
    if ratio is None and {s for s, _ in made} == {0.0, 1.0}:
        good = sum(s for s, _ in made)
        assert len(kept) == min(most, max(good, len(made) - good))
