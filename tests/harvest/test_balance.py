"""Balance: what rows teach, and which are more than enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.errors import ConfigError
from agentloop.base.records import DPOExample, RFTExample, SFTExample
from agentloop.harvest.balance import NO_TOOL, OTHER, Balance, Cap, teaches
from tests.makers import calls, returns, says, system, user

WHERE = {"unit": "u", "traces": ("t",), "calls": ("c",)}


def asks(*names, id="c"):
    return calls(*((name, "{}", f"{id}{n}") for n, name in enumerate(names)))


def row(*context, output=None, weights=()):
    return SFTExample(context=context, output=output or says(), weights=weights, **WHERE)


def test_a_row_teaches_the_tools_that_it_calls():
    talk = (system(), user(), asks("find", "refund"), returns(id="c0"), returns(id="c1"))
    assert teaches(row(*talk)) == ("find", "refund")
    assert teaches(row(system(), user())) == (NO_TOOL,)
    assert teaches(row(system(), user(), output=asks("find"))) == ("find",)


def test_a_masked_call_is_not_taught():
    talk = (system(), user(), asks("find"), returns(id="c0"))
    assert teaches(row(*talk, weights=(0,))) == (NO_TOOL,)


def test_a_pair_teaches_what_is_preferred():
    beside = {"margin": 1.0, "source": "trial", "context": (user(),), **WHERE}
    pair = DPOExample(preferred=asks("find"), rejected=asks("refund"), **beside)
    assert teaches(pair) == ("find",)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("shipped", "shipped"),
        (True, "true"),
        ({"name": "cancel", "arguments": {"id": 7}}, "cancel"),
        ({"status": "shipped"}, OTHER),
        ("a longer\ntext", OTHER),
        ("x" * 65, OTHER),
        (0.5, OTHER),
        (None, OTHER),
    ],
)
def test_a_task_is_of_the_class_that_its_reference_names(reference, name):
    fields = {"reference_answer": reference}
    task = RFTExample(context=(user(),), fields=fields, rollouts=2, pass_rate=0.5, **WHERE)
    assert teaches(task) == (name,)


def over(cap, *rows, counted=None):
    balance = Balance()
    for taught in rows:
        balance.take(taught)
    return list(balance.over(Cap.of(cap), counted or [True] * len(rows)))


def test_the_first_rows_of_a_class_stay():
    rows = [("find",), ("find",), ("refund",), ("find",)]
    assert over(2, *rows) == [(3, "find")]
    assert over(1, *rows) == [(1, "find"), (3, "find")]


def test_a_row_belongs_to_the_rarest_of_what_it_teaches():
    rows = [("find",), ("find", "refund"), ("find", "refund"), ("find",)]
    assert over(1, *rows) == [(2, "refund"), (3, "find")]


def test_times_the_median_is_asked_of_the_classes():
    rows = [("a",)] * 9 + [("b",)] * 2 + [("c",)]
    assert over("2x", *rows) == [(n, "a") for n in range(4, 9)]


def test_rows_that_are_not_there_count_in_no_class():
    rows = [("find",), ("find",), ("find",)]
    assert over(1, *rows, counted=[False, True, True]) == [(2, "find")]
    assert over(1, *rows, counted=[False] * 3) == []


@pytest.mark.parametrize("said", ["0", "x", "-3", "3.5", "2xx", "many", "²", ""])
def test_what_is_no_number_of_rows_is_refused(said):
    with pytest.raises(ConfigError, match="balance is rows a class, as 200, or as 3x"):
        Cap.of(said)


TAUGHT = st.sets(st.sampled_from("abcd"), min_size=1, max_size=3).map(lambda s: tuple(sorted(s)))


@given(st.lists(TAUGHT, min_size=1, max_size=40), st.integers(1, 5))
def test_what_is_left_out_had_enough_of_its_class_before_it(rows, most):
    gone = dict(over(most, *rows))
    sizes = {name: sum(name in taught for taught in rows) for name in "abcd"}

    def rarest(taught):
        return min(taught, key=lambda name: (sizes[name], name))

    for n, taught in enumerate(rows):
        before = sum(rarest(other) == rarest(taught) for other in rows[:n])
        assert (n in gone) == (before >= most)
    for name in "abcd":
        kept = sum(n not in gone and name in taught for n, taught in enumerate(rows))
        assert kept >= min(most, sizes[name], 1)
