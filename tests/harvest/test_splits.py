"""Sides: by unit alone, and nothing on both that is nearly the same."""

import random

from agentloop.base.records import Method, Refusal
from agentloop.harvest.duplicates import outline
from agentloop.harvest.splits import Apart, Kept, Sides, position, split

SAID = " ".join(f"word{n}" for n in range(200))


def variant(n):
    """The same, but for a word of its own."""
    return outline(SAID.replace("word50", f"own{n}"))


def taken(*sides):
    """Rows that are all nearly the same, each on its side, in this order."""
    apart = Apart(0.9)
    said = [apart.take(Kept(n, f"t{n}"), side, variant(n)) for n, side in enumerate(sides)]
    return [why and why[0] for why in said], apart.leaks


def test_the_later_of_two_on_one_side_is_left_out():
    assert taken("train", "train") == ([None, Refusal.NEAR_DUPLICATE], {})
    assert taken("valid", "valid") == ([None, Refusal.NEAR_DUPLICATE], {})


def test_of_two_across_the_line_the_one_to_train_on_is_left_out_whichever_came_first():
    assert taken("valid", "train") == ([None, Refusal.LEAK], {})
    assert taken("train", "valid") == ([None, None], {0: "t1"})


def test_what_is_left_out_names_the_trace_that_it_is_like():
    apart = Apart(0.9)
    apart.take(Kept(0, "first"), "train", variant(0))
    assert apart.take(Kept(1, "t1"), "train", variant(1)) == (
        Refusal.NEAR_DUPLICATE,
        "nearly the same as in trace first",
    )


def test_in_whatever_order_rows_come_none_that_trains_is_nearly_one_that_validates():
    """Five conversations, each said by eight users in their own words, but for one."""
    dice = random.Random(4)
    texts = {talk: [str(dice.randrange(10**6)) for _ in range(150)] for talk in range(5)}
    rows = [
        (f"{talk}-{n}", " ".join([*texts[talk][:-1], str(n)]), "valid" if n == 3 else "train")
        for talk in texts
        for n in range(8)
        if (talk, n) != (4, 3)
    ]
    for _ in range(5):
        dice.shuffle(rows)
        apart, kept = Apart(0.9), {"train": set(), "valid": set()}
        for n, (id, said, side) in enumerate(rows):
            if apart.take(Kept(n, id), side, outline(said)) is None:
                kept[side].add((n, id))
        left = {id.split("-")[0] for n, id in kept["train"] if n not in apart.leaks}
        assert left == {"4"}, "the conversation that nobody validates"
        assert {id for _, id in kept["valid"]} == {"0-3", "1-3", "2-3", "3-3"}


def test_the_first_unit_of_a_reinforcement_without_validation_is_moved_there():
    sides = Sides(Method.RFT)
    units = ["a", "b", "b", "c"]
    for n, unit in enumerate(units):
        sides.see(Kept(n, unit), unit, "train", variant(n))
    sides.settle(0.0)
    first = min(units, key=position)
    for n, unit in enumerate(units):
        assert sides.of(unit, "train") == ("valid" if unit == first else "train")
        assert sides.trains(n) == (unit != first)
    assert [row.trace for row, _ in sides.moved] == [unit for unit in units if unit == first]


def test_the_only_unit_of_a_reinforcement_trains():
    sides = Sides(Method.RFT)
    for n in range(3):
        sides.see(Kept(n, "a"), "a", split("a", share=1.0), None)
    sides.settle(0.5)
    assert sides.of("a", "valid") == "train"
    assert all(map(sides.trains, range(3)))
