"""Two datasets beside each other."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.base.errors import NotFound
from agentloop.base.records import Dataset, Refusal, Refused
from agentloop.base.store import InLedger, Store, compare
from tests.makers import TOOL, a_row, says, user


def row(said, answer="yes", *, trace=None, split="train", calls=None, **body):
    trace = trace or said
    made = a_row(user(said), says(answer), traces=(trace,), calls=calls or (f"{trace}/0",))
    return made.model_copy(update={"split": split, "body": {**made.body, **body}})


def a_dataset(*rows, valid=(), **fields):
    given = {"method": "sft", "agents": ("support",), "recipe": {"good": 0.8, "limit": None}}
    valid = tuple(one.model_copy(update={"split": "valid"}) for one in valid)
    return Dataset(**(given | {"rows": rows, "valid": valid} | fields))


def between(store, a, b, **options):
    for made in (a, b):
        store.ledger.put_dataset(made)
    return compare(InLedger(store.ledger, a.id), InLedger(store.ledger, b.id), **options)


def test_a_dataset_differs_in_nothing_from_itself(store):
    made = a_dataset(row("a"), row("b"), valid=[row("c")])
    found = between(store, made, made)
    assert found.same
    assert (found.both, found.recipe, found.refused, found.funnel) == (3, {}, {}, {})


def test_rows_are_told_apart_by_what_became_of_them(store):
    a = a_dataset(row("same"), row("changed"), row("moves"), row("gone"))
    b = a_dataset(row("new"), row("changed", "no"), row("same"), valid=[row("moves")])
    found = between(store, a, b)
    assert (found.both, found.moved, found.changed) == (2, 1, 1)
    assert (found.only_a, found.only_b) == (1, 1)
    assert [str(one) for one in (*found.only_a_rows, *found.only_b_rows)] == [
        "train.jsonl:4 (gone)",
        "train.jsonl:1 (new)",
    ]
    (moved,) = found.moved_rows
    assert (moved.a.file, moved.a.line, moved.b.file, moved.b.line) == (
        *("train.jsonl", 3),
        *("valid.jsonl", 1),
    )
    (changed,) = found.changed_rows
    assert (changed.a.line, changed.b.line) == (2, 2)
    assert changed.what == ("messages.1.content",)


def test_a_run_that_went_on_is_one_that_changed_though_it_has_more_calls(store):
    a = a_dataset(row("a", calls=("t/0",), trace="t"))
    b = a_dataset(row("b", calls=("t/0", "t/1"), trace="t", tools=[TOOL]))
    (changed,) = between(store, a, b).changed_rows
    assert changed.what == ("messages.0.content", "tools")


def test_rows_of_one_run_are_matched_by_their_calls_first(store):
    def both(x, y):
        return a_dataset(
            row(x, trace="t", calls=("t/0",)), row(y, trace="t", calls=("t/1",)), parent=None
        )

    found = between(store, both("one", "two"), both("two!", "one!"))
    assert [(one.a.line, one.b.line) for one in found.changed_rows] == [(1, 1), (2, 2)]


def test_rows_that_came_from_nowhere_are_never_the_same_row_in_another_form(store):
    found = between(
        store,
        a_dataset(a_row(user("a"), says())),
        a_dataset(a_row(user("b"), says())),
    )
    assert (found.changed, found.only_a, found.only_b) == (0, 1, 1)


def test_recipe_refusals_and_funnel_are_compared(store):
    refused = Refused(code=Refusal.NOT_GOOD, traces=("x",))
    a = a_dataset(row("a"), refused=(refused, refused), considered=3)
    b = a_dataset(row("a"), recipe={"good": 0.9, "limit": None, "new": 1}, considered=1)
    found = between(store, a, b)
    assert found.recipe == {"good": (0.8, 0.9), "new": (None, 1)}
    assert found.refused == {"not_good": (2, 0)}
    assert found.funnel == {"considered": (3, 1)}


def test_of_many_rows_some_are_told_and_all_are_counted(store):
    a = a_dataset(*(row(f"a{n}") for n in range(30)))
    b = a_dataset(*(row(f"b{n}") for n in range(700)))
    found = between(store, a, b, examples=5)
    assert (found.only_a, found.only_b) == (30, 700)
    assert (len(found.only_a_rows), len(found.only_b_rows)) == (5, 5)


names = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["yes", "no"]), st.booleans()), max_size=8
)


@settings(deadline=None, max_examples=40)
@given(names, names)
def test_every_row_is_counted_once(a, b):
    def dataset(said):
        made = [
            row(one, answer, split="valid" if valid else "train") for one, answer, valid in said
        ]
        rows = tuple(one for one in made if one.split == "train")
        return a_dataset(*rows, valid=[one for one in made if one.split == "valid"])

    with Store("sqlite://") as store:
        left, right = dataset(a), dataset(b)
        found = between(store, left, right)
        other = compare(InLedger(store.ledger, right.id), InLedger(store.ledger, left.id))
    assert found.both + found.changed + found.only_a == len(a)
    assert found.both + found.changed + found.only_b == len(b)
    lines = [Counter(one.line for one in (*x.rows, *x.valid)) for x in (left, right)]
    assert found.both == (lines[0] & lines[1]).total()
    assert (found.only_a, found.only_b) == (other.only_b, other.only_a)
    assert (found.both, found.moved, found.changed) == (other.both, other.moved, other.changed)


def test_a_dataset_that_is_not_there_is_not_found(store):
    with pytest.raises(NotFound, match="'nope'"):
        InLedger(store.ledger, "nope")
