"""Intervals: beside the published examples in the docstrings, what must always hold."""

from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.records import Pairs, Tally

counts = st.integers(0, 200)
tallies = st.tuples(counts, counts).map(lambda c: Tally(min(c), max(c)))
pairs = st.builds(Pairs, counts, counts, counts, counts)


@given(tallies)
def test_a_rate_lies_in_its_interval_and_the_interval_in_0_to_1(tally):
    low, high = tally.interval()
    assert 0.0 <= low <= high <= 1.0
    assert not tally.n or low - 1e-12 <= tally.rate <= high + 1e-12


@given(tallies, tallies)
def test_a_difference_seen_from_the_other_side_is_its_mirror(a, b):
    low, high = a.minus(b)
    back = b.minus(a)
    assert abs(low + back.high) < 1e-12
    assert abs(high + back.low) < 1e-12
    assert -1.0 <= low <= high <= 1.0


@given(pairs)
def test_a_difference_of_pairs_lies_in_its_interval(pair):
    low, high = pair.interval()
    assert -1.0 <= low <= high <= 1.0
    assert low - 1e-9 <= pair.difference <= high + 1e-9


@given(pairs)
def test_swapping_the_sides_of_pairs_mirrors_the_interval(pair):
    mirrored = Pairs(pair.both, pair.second, pair.first, pair.neither)
    assert abs(pair.interval().low + mirrored.interval().high) < 1e-9


def test_without_data_nothing_is_known():
    assert Tally(0, 0).interval() == (0.0, 1.0)
    assert Pairs(0, 0, 0, 0).interval() == (-1.0, 1.0)
    assert 0.0 in Tally(0, 0).minus(Tally(0, 0))


def test_pairs_are_sharper_than_two_rates_when_tasks_are_their_own_control():
    paired = Pairs(40, 8, 1, 51).interval()
    apart = Tally(48, 100).minus(Tally(41, 100))
    assert paired.high - paired.low < apart.high - apart.low
    assert 0.0 not in paired
    assert 0.0 in apart


def test_more_data_gives_a_narrower_interval():
    few, many = Tally(5, 10).interval(), Tally(500, 1000).interval()
    assert many.high - many.low < few.high - few.low
